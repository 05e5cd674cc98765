//! The two programs.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;

/// A bank with every fault at a rate of 20 %.
pub(crate) const FAULTS: &str = "--silent-unpaid-rate 0.2 --not-executed-rate 0.2 --rejected-rate 0.2 --accepted-rate 0.2 \
    --silent-paid-rate 0.2 --error-paid-rate 0.2 --reset-rate 0.2 --duplicate-refused-rate 0.2 \
    --contradictory-inquiry-rate 0.2 --late-notice-rate 0.2 --late-notice-delay 1s --notice-delay 50ms \
    --settles-after 200ms --latency 0ms..20ms";

/// What outlives every process.
pub(crate) struct World {
    directory: tempfile::TempDir,
    seed: u64,
    pub(crate) server_port: u16,
    bank_port: u16,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), "both sides know this one\n").unwrap();
        // Both are held until both are known, so that they differ.
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        World { directory, seed, server_port: port(&one), bank_port: port(&other) }
    }

    /// Where the ledger lies.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledger-server"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    // Nothing is behind it: whoever takes a proxy from the environment reaches nobody.
    command.env("http_proxy", "http://127.0.0.1:1").env("RUST_LOG", "error");
    command
}

/// Kills it, which must be what it dies of.
fn kill(child: &mut Child) {
    child.kill().unwrap();
    let ended = child.wait().unwrap();
    assert_eq!(ended.signal(), Some(9), "it had ended by itself before it was killed: {ended}");
}

/// Starts `command` and returns when it listens.
fn listening(command: &mut Command) -> Child {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listens = lines.any(|line| line.unwrap().starts_with("listening on http://"));
    assert!(listens, "the program says that it listens");
    child
}

pub(crate) struct Server(Child);

impl Server {
    /// With `options` beside what every server here needs.
    pub(crate) fn start(world: &World, options: &str) -> Server {
        let mut command = program();
        command.args(options.split_whitespace());
        command.args(["--listen", &format!("127.0.0.1:{}", world.server_port)]);
        command.args(["--bank", &format!("http://127.0.0.1:{}", world.bank_port)]);
        command.arg("--data-dir").arg(world.data());
        command.arg("--bank-webhook-secret-file").arg(world.path("secret"));
        Server(listening(&mut command))
    }

    pub(crate) fn kill(&mut self) {
        kill(&mut self.0);
    }

    /// The most memory that it had so far, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory_bytes_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }

    /// As an operator does.
    pub(crate) fn stop(mut self) {
        let terminated = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(terminated.success());
        assert!(self.0.wait().unwrap().success(), "a clean stop");
    }
}

pub(crate) struct Bank(Child, u16);

impl Bank {
    /// With `options` beside what every bank here needs.
    pub(crate) fn start(world: &World, options: &str) -> Bank {
        let mut command = program();
        command.arg("bank").args(options.split_whitespace());
        command.args(["--seed", &world.seed.to_string(), "--listen", &format!("127.0.0.1:{}", world.bank_port)]);
        command.args(["--notify", &format!("http://127.0.0.1:{}/withdrawals/notify", world.server_port)]);
        command.arg("--notify-secret-file").arg(world.path("secret"));
        command.arg("--book").arg(world.path("book"));
        Bank(listening(&mut command), world.bank_port)
    }

    pub(crate) fn kill(&mut self) {
        kill(&mut self.0);
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.1)
    }

    /// Its book, as CSV.
    pub(crate) fn statement(&self) -> String {
        Client::connect(&self.address()).unwrap().get_text("/statement", "").unwrap()
    }
}

/// A test that fails leaves no program behind.
impl Drop for Server {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the whole log once more, without the server.
pub(crate) fn verify(world: &World) {
    let verified = program().arg("verify").arg(world.data()).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// Looks again and again, without a guess at how long it takes.
pub(crate) fn until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < patience, "waited {patience:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
