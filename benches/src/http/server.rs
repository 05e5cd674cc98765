//! What is measured: a server that is started here on a directory of its own, or one that runs already; and what it
//! takes of the machine.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::place;

use super::request::FIRST_USER;

/// Clock ticks of `/proc/*/stat` in a second: Linux shows user space this number, whatever its own is.
const TICKS_PER_SECOND: f64 = 100.0;

/// What to measure.
#[derive(Clone, Debug)]
pub enum Target {
    /// The program of the server, started for each measurement on an empty directory.
    Program(PathBuf),
    /// A server that runs already, and keeps what it is sent.
    Address(SocketAddr),
}

impl Target {
    /// The server that lies beside this program; built first, if cargo runs us, so that it is never an older one.
    ///
    /// # Errors
    /// There is none.
    pub fn built() -> io::Result<Target> {
        let this = std::env::current_exe()?;
        let folder = this.parent().unwrap_or(Path::new("."));
        let program = folder.join("ledger-server");
        if let Some(cargo) = std::env::var_os("CARGO") {
            let profile = match folder.file_name().and_then(OsStr::to_str) {
                Some("debug") | None => "dev",
                Some(profile) => profile,
            };
            let built =
                Command::new(cargo).args(["build", "-q", "-p", "ledger-server", "--profile", profile]).status()?;
            if !built.success() {
                return Err(io::Error::other("the server cannot be built"));
            }
        }
        match program.exists() {
            true => Ok(Target::Program(program)),
            false => Err(io::Error::other(format!(
                "{} is missing: build it with `cargo build --release -p ledger-server`, or name one with --server",
                program.display()
            ))),
        }
    }

    /// A running server that `url` names.
    ///
    /// # Errors
    /// It names none.
    pub fn at(url: &str) -> io::Result<Target> {
        let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let mut addresses = authority.to_socket_addrs()?;
        addresses.next().map(Target::Address).ok_or_else(|| io::Error::other(format!("{url:?} has no address")))
    }

    /// A server with these options beyond its directory.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, options: &[&str]) -> io::Result<Server> {
        match self {
            Target::Address(address) => Ok(Server { address: *address, child: None, directory: None }),
            Target::Program(program) => {
                let directory = place::directory();
                let mut command = Command::new(program);
                command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.path()).args(options);
                command.env("RUST_LOG", "error");
                let mut server = Server::spawn(command)?;
                server.directory = Some(directory);
                Ok(server)
            }
        }
    }
}

/// A running server. One that was started here is stopped when this is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    child: Option<Child>,
    directory: Option<TempDir>,
}

impl Server {
    /// Starts a program that says "listening on http://…" when it serves.
    pub(super) fn spawn(mut command: Command) -> io::Result<Server> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let mut lines = BufReader::new(output).lines();
        let address = lines.find_map(|line| {
            let line = line.ok()?;
            line.strip_prefix("listening on http://")?.trim().parse().ok()
        });
        match address {
            Some(address) => Ok(Server { address, child: Some(child), directory: None }),
            None => {
                let _ = child.kill();
                let status = child.wait()?;
                Err(io::Error::other(format!("the server ended before it served: {status}")))
            }
        }
    }

    /// CPU seconds that it has used; 0 for one that runs elsewhere.
    pub fn cpu_seconds(&self) -> f64 {
        self.child.as_ref().map_or(0.0, |child| cpu_seconds(&child.id().to_string()))
    }

    /// Its resident memory in bytes; 0 for one that runs elsewhere.
    pub fn resident_bytes(&self) -> u64 {
        let statm = self.child.as_ref().and_then(|child| {
            let statm = std::fs::read_to_string(format!("/proc/{}/statm", child.id())).ok()?;
            statm.split(' ').nth(1)?.parse::<u64>().ok()
        });
        statm.unwrap_or(0) * rustix::param::page_size() as u64
    }

    /// What its files hold, in bytes that lie on the disk.
    pub fn disk_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let Some(directory) = &self.directory else { return 0 };
        let files = std::fs::read_dir(directory.path()).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
    }

    /// Asks for a path, and returns the body.
    ///
    /// # Errors
    /// Another status than 200, or no answer.
    pub fn get(&self, path: &str) -> io::Result<String> {
        ask(self.address, &format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address))
    }

    /// Gives each of so many users this much money.
    ///
    /// # Errors
    /// The server refuses.
    pub fn fund(&self, users: u64, amount: u64) -> io::Result<()> {
        let key = crate::workload::Keys::anywhere().make();
        let key = String::from_utf8_lossy(&key).into_owned();
        for begin in (0..users).step_by(1_000) {
            let operations: Vec<String> = (begin..users.min(begin + 1_000))
                .map(|user| {
                    let id = FIRST_USER + user;
                    format!(r#"{{"type":"charge","user_id":{id},"amount":{amount},"idempotency_key":"{key}-{id}"}}"#)
                })
                .collect();
            let body = format!("{{\"operations\":[{}]}}", operations.join(","));
            let head = format!(
                "POST /batch HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n",
                self.address,
                body.len()
            );
            ask(self.address, &(head + &body))?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Some(pid) = Pid::from_raw(child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = child.wait();
    }
}

fn ask(address: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        Some((head, _)) => Err(io::Error::other(format!("answered {}", head.lines().next().unwrap_or_default()))),
        None => Err(io::Error::other("an answer without a head")),
    }
}

/// CPU seconds that this process has used.
pub(super) fn own_cpu_seconds() -> f64 {
    cpu_seconds("self")
}

fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}
