//! Where an operator sits: a directory with `ledger-data` in it, the program on the path, and a server to ask.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a test waits for what is to come soon.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command that ended said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    /// What it printed, which went well.
    pub(crate) fn good(self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or(Value::Null)
    }
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    /// The status and the problem's code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn good(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }
}

pub(crate) struct Shell {
    directory: tempfile::TempDir,
}

impl Shell {
    pub(crate) fn new() -> Shell {
        Shell { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let program_directory = Path::new(env!("CARGO_BIN_EXE_ledger-server")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let own = self.path("bin");
        let mut command = Command::new(program);
        command
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", format!("{}:{}:{path}", own.display(), program_directory.display()))
            .env("LEDGER_LISTEN", "127.0.0.1:0")
            .env("LEDGER_SEGMENT_SIZE", "1MiB")
            .stdin(Stdio::null());
        command
    }

    /// Types a line, and waits for its end.
    pub(crate) fn run(&self, line: &str) -> Said {
        let output = self.command("bash").args(["-o", "pipefail", "-c", line]).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or_else(|| panic!("{line}: {}", output.status));
        Said { code, out: text(output.stdout), error: text(output.stderr) }
    }

    /// Types the line that starts a server, which serves.
    pub(crate) fn serve(&self, line: &str) -> Running {
        let log = self.path("log");
        let mut child = self
            .command("bash")
            // What a process may not write it is told, in place of being killed for it.
            .args(["-c", &format!("trap '' XFSZ; exec {line}")])
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("listening on http://")?.to_owned()));
        let running = Running { child, address: address.unwrap_or_default(), log };
        assert!(!running.address.is_empty(), "{line} does not serve: {}", running.log());
        running
    }

    /// A program of the operator's, where this machine has none.
    pub(crate) fn install(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(self.path("bin")).unwrap();
        let file = self.path("bin").join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

/// A server that serves.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: String,
    log: PathBuf,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The line of its log with these words, for which it has a while.
    pub(crate) fn logged(&self, words: &str) -> String {
        until(|| self.log().lines().find(|line| line.contains(words)).map(str::to_owned))
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let headers = [&[("connection", "close")], headers].concat();
        stream.write_all(written(method, path, &headers, body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, text: text.to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[("content-type", "application/json")], &body.to_string())
    }

    pub(crate) fn post_as(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.request("POST", path, headers, body)
    }

    /// A connection that stays open.
    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection(BufReader::new(stream))
    }

    /// What is in a file of the shell's directory.
    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.log.with_file_name(name)).unwrap()
    }

    /// Types a `curl` to `localhost:8080`, or what stands for one: `GET /path`.
    pub(crate) fn ask(&self, line: &str) -> Answer {
        let mut words = words(line).into_iter();
        let (mut method, mut path, mut headers, mut body) = (None, None, Vec::new(), None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "curl" | "-s" => {}
                "GET" | "POST" => method = Some(word),
                "-X" => method = words.next(),
                "-H" => headers.extend(words.next()),
                "-d" => body = words.next(),
                "--data-binary" => body = words.next().map(|file| self.file(file.strip_prefix('@').unwrap())),
                _ => path = Some(word.strip_prefix("localhost:8080").unwrap_or(&word).to_owned()),
            }
        }
        let headers: Vec<_> = headers.iter().map(|header| header.split_once(": ").unwrap()).collect();
        let method = method.unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
        self.request(&method, &path.expect("an address"), &headers, &body.unwrap_or_default())
    }

    pub(crate) fn charge(&self, key: &str) -> Answer {
        self.post("/charge", &json!({"user_id": 1, "amount": 5, "idempotency_key": key}))
    }

    /// Charges with notes, which fill one segment and a half: the next snapshot leads on from a later one than the last did.
    fn charge_much(&self, key: &str) {
        let note = "x".repeat(900);
        let charge = |n| {
            json!({"type": "charge", "user_id": 1, "amount": 5, "idempotency_key": format!("{key} {n}"),
                "metadata": {"note": note}})
        };
        for numbers in [0..800, 800..1_600] {
            let operations: Vec<_> = numbers.map(charge).collect();
            self.post("/batch", &json!({"operations": operations})).good();
        }
    }

    /// Goes on until some of the log was retired.
    pub(crate) fn charge_until_retired(&self) {
        for _ in 0..20 {
            if self.ask("POST /checkpoints").good()["segments_retired"] != 0 {
                return;
            }
            self.charge_much(&self.total().to_string());
        }
        panic!("nothing is retired, however much is charged");
    }

    pub(crate) fn withdraw(&self, key: &str) -> Answer {
        self.post("/withdraw", &json!({"user_id": 1, "amount": 5, "idempotency_key": key}))
    }

    /// The user's balance, in books that balance.
    pub(crate) fn total(&self) -> Value {
        assert_eq!(self.get("/audit?deep=true").good()["balanced"], true);
        self.get("/balance?user_id=1").good()["total"].clone()
    }

    pub(crate) fn health(&self) -> Value {
        self.get("/health").json()
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").text;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is not in\n{metrics}")).parse().unwrap()
    }

    /// Stops it in good order; the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let stopped = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap();
        assert!(stopped.success());
        self.end()
    }

    /// The exit code of one that is to end.
    pub(crate) fn end(&mut self) -> Option<i32> {
        until(|| self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// On which one asks again and again.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.0.get_mut().write_all(written(method, path, headers, body).as_bytes()).unwrap();
        let head: Vec<String> =
            self.0.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut text = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut text).unwrap();
        Answer { status, text: String::from_utf8(text).unwrap() }
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[("content-type", "application/json")], &body.to_string())
    }
}

/// A request as it is sent.
fn written(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    request + "\r\n" + body
}

/// What is to come about soon.
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "it does not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The words of a line, of which some are quoted.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
