//! One connection: bytes out, answers in. Bodies are passed over and not kept.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// More headers than any answer of the server has.
const HEADERS_MAX: usize = 32;
const READ_BYTES: usize = 64 << 10;

/// A request that was written and not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Which of the mix's kinds.
    pub(super) kind: usize,
    /// What its latency is taken from, in nanoseconds since the run's start.
    pub(super) due_ns: u64,
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) sent: VecDeque<Sent>,
    /// What is to be written, and how much of it was.
    out: Vec<u8>,
    out_at: usize,
    /// What was read of a head that is not whole.
    input: Vec<u8>,
    /// How much of a body is still to be passed over.
    skip: usize,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, sent: VecDeque::new(), out: Vec::new(), out_at: 0, input: Vec::new(), skip: 0 })
    }

    /// Where a request's bytes go, once it is noted.
    pub(super) fn send(&mut self, sent: Sent) -> &mut Vec<u8> {
        self.sent.push_back(sent);
        &mut self.out
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.out_at < self.out.len() {
            match self.stream.write(&self.out[self.out_at..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.out_at += written,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        self.out.clear();
        self.out_at = 0;
        Ok(())
    }

    /// Reads what is there; `answered` is told of every answer's status.
    pub(super) fn receive(&mut self, buffer: &mut Vec<u8>, mut answered: impl FnMut(Sent, u16)) -> io::Result<()> {
        buffer.resize(READ_BYTES, 0);
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == ErrorKind::Interrupted => continue,
                Err(err) => return Err(err),
            };
            self.take(&buffer[..read], &mut answered)?;
            // A short read has emptied the socket; the poll tells if more comes.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, read: &[u8], answered: &mut impl FnMut(Sent, u16)) -> io::Result<()> {
        let gathered = !self.input.is_empty();
        if gathered {
            self.input.extend_from_slice(read);
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = if gathered { &input[..] } else { read };
        loop {
            let passed = self.skip.min(rest.len());
            rest = &rest[passed..];
            self.skip -= passed;
            if rest.is_empty() {
                return Ok(());
            }
            let Some((head, status, body)) = head(rest)? else {
                self.input = rest.to_vec();
                return Ok(());
            };
            rest = &rest[head..];
            self.skip = body;
            let sent = self.sent.pop_front().ok_or_else(|| broken("an answer to nothing"))?;
            answered(sent, status);
        }
    }
}

/// The length of a head, its status and its body's length; `None` if it is not whole.
fn head(bytes: &[u8]) -> io::Result<Option<(usize, u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let body = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = body.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let body = body.ok_or_else(|| broken("an answer without a length"))?;
    Ok(Some((length, response.code.unwrap_or(0), body)))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
