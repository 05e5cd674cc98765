//! A client that reads HTTP byte by byte: a reply is whole, or the connection broke.
#![allow(dead_code, reason = "two test programs have it as a module, and each needs a part of it")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// One connection that is kept.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    /// Of the last reply, in lower case.
    head: Vec<String>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client { stream: BufReader::new(stream), head: Vec::new() })
    }

    /// Takes silence of this length for an error.
    pub(crate) fn give_up_after(&mut self, silence: Duration) {
        self.stream.get_ref().set_read_timeout(Some(silence)).expect("a length that is not zero");
    }

    /// The value of a header of the last reply; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn send(&mut self, request: &str) -> io::Result<(u16, Vec<u8>)> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.head.clear();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            self.head.push(line.to_lowercase());
        }
        let status = self.head.first().and_then(|line| line.strip_prefix("http/1.1 ")).expect("a status line");
        let status = status[..3].parse().expect("a status");
        let length = self.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }

    /// Sends a request with these headers, each with its line's end.
    pub(crate) fn post_text(&mut self, path: &str, headers: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}"))
    }

    /// The same, answered in JSON.
    pub(crate) fn post_with(&mut self, path: &str, headers: &str, body: &str) -> io::Result<(u16, Value)> {
        self.post_text(path, headers, body).map(json)
    }

    pub(crate) fn post_as(&mut self, path: &str, content_type: &str, body: &str) -> io::Result<(u16, Value)> {
        self.post_with(path, &format!("content-type: {content_type}\r\n"), body)
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> io::Result<(u16, Value)> {
        self.post_as(path, "application/json", body)
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<(u16, Value)> {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).map(json)
    }

    /// The body of a 200 that need not be JSON.
    pub(crate) fn get_text(&mut self, path: &str, headers: &str) -> io::Result<String> {
        let (status, body) = self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n"))?;
        assert_eq!(status, 200, "{path}");
        Ok(String::from_utf8(body).expect("a text"))
    }
}

/// An empty body is null.
fn json((status, body): (u16, Vec<u8>)) -> (u16, Value) {
    let value = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
    (status, value.expect("a reply is whole or it is not there"))
}

/// What a variable says, or a number for when it is not set.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}
