//! The program: its arguments, its output, its exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ledger_server::config::{Config, Settings};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledger-server"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end, which must come soon; the exit code and both outputs.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = program(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("listening on http://")?.to_owned()));
        Running { address: address.expect("the program says where it listens"), child }
    }

    fn request(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn charge(&self, key: &str) -> String {
        let body = format!("{{\"user_id\":1,\"amount\":5,\"idempotency_key\":\"{key}\"}}");
        self.request(&format!(
            "POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn get(&self, path: &str) -> String {
        self.request(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    fn signal(&mut self, name: &str) -> ExitStatus {
        kill(&self.child, name);
        end(&mut self.child)
    }
}

fn kill(child: &Child, signal: &str) {
    let killed = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Waits for the end, which must come soon.
fn end(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the program does not stop");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The exit code and the error output of a server that does not serve; no code for one that does.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let code = child.try_wait().unwrap().and_then(|status| status.code());
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    (code, String::from_utf8(output.stderr).unwrap())
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serving(directory: &Path) -> Command {
    program(&["--listen", "127.0.0.1:0", "--segment-size", "1MiB", "--data-dir", directory.to_str().unwrap()])
}

#[test]
fn what_was_acknowledged_is_there_after_a_stop_and_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for (signal, key) in [("TERM", "a"), ("INT", "b")] {
        let mut running = Running::start(serving(&data));
        assert!(running.charge(key).starts_with("HTTP/1.1 200 OK"), "{key}");
        assert_eq!(running.signal(signal).code(), Some(0), "SIG{signal}");
    }
    let running = Running::start(serving(&data));
    assert!(running.charge("a").starts_with("HTTP/1.1 409 "));
    assert!(running.get("/balance?user_id=1").contains("\"total\":10,"));
}

#[test]
fn a_variable_that_sets_nothing_is_told_of_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = serving(directory.path());
    command.env("LEDGER_WORKER", "1").env("LEDGER_QUEUE", "1").stderr(Stdio::piped());
    let mut running = Running::start(command);
    running.signal("TERM");
    let mut said = String::new();
    running.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].contains("LEDGER_WORKER ") && warnings[0].contains("LEDGER_WORKERS"), "{said}");
}

#[test]
fn a_stopping_server_tells_so_until_its_bank_has_answered() {
    let directory = tempfile::tempdir().unwrap();
    let bank = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = serving(directory.path());
    command.args(["--bank", &format!("http://{}", bank.local_addr().unwrap())]);
    let mut running = Running::start(command);
    assert!(running.charge("a").starts_with("HTTP/1.1 200 OK"));
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let withdraw = post("/withdraw", "{\"user_id\":1,\"amount\":5,\"idempotency_key\":\"w\",\"destination\":\"d\"}");
    assert!(running.request(&withdraw).starts_with("HTTP/1.1 202 "));
    let (mut called, _) = bank.accept().unwrap();
    assert!(called.read(&mut [0; 64]).unwrap() > 0, "the bank has the payout, and does not answer");

    kill(&running.child, "TERM");
    let deadline = Instant::now() + Duration::from_secs(20);
    let health = loop {
        let health = running.get("/health");
        if !health.starts_with("HTTP/1.1 200 ") || Instant::now() > deadline {
            break health;
        }
    };
    assert!(health.starts_with("HTTP/1.1 503 ") && health.contains("\"status\":\"shutting_down\""), "{health}");
    assert!(running.charge("b").contains("\"code\":\"shutting_down\""));
    assert_eq!(running.child.try_wait().unwrap(), None);
    drop(called);
    assert_eq!(end(&mut running.child).code(), Some(0));
}

/// A directory whose log takes a while to be replayed.
fn long_log(directory: &Path) {
    use ledger_core::{Amount, Charge, IdempotencyKey, Ledger, UserId};
    let ledger = Ledger::options().segment_bytes(1 << 20).open(directory).unwrap();
    let (user, amount) = (UserId::new(1).unwrap(), Amount::new(5).unwrap());
    for batch in 0..20 {
        let keys: Vec<_> = (0..10_000).map(|n| format!("{batch}-{n}")).collect();
        let charges: Vec<ledger_core::Command<'_>> =
            keys.iter().map(|key| Charge::new(user, amount, IdempotencyKey::new(key).unwrap()).into()).collect();
        ledger.batch(&charges).unwrap().wait().unwrap();
    }
    ledger.close().unwrap();
}

#[test]
fn a_stop_during_an_opening_ends_it_and_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    long_log(directory.path());
    let started_and_stopped = |signal: &str| {
        let mut child = serving(directory.path()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut error = String::new();
        while !error.contains("opening the ledger") {
            assert!(said.read_line(&mut error).unwrap() > 0, "{error}");
        }
        kill(&child, signal);
        let status = end(&mut child);
        said.read_to_string(&mut error).unwrap();
        let mut output = String::new();
        child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert_eq!(status.code(), Some(0), "{error}");
        (output, error)
    };
    for signal in ["TERM", "INT"] {
        // Where the signal comes too late, it was an ordinary stop, and is tried again.
        let stopped = (0..20).map(|_| started_and_stopped(signal)).find(|(output, _)| !output.contains("listening on"));
        let (output, error) = stopped.expect("no stop ends an opening");
        assert!(error.contains("nothing was served"), "SIG{signal}: {error}");
        assert_eq!(output, "", "SIG{signal}");
    }
    let running = Running::start(serving(directory.path()));
    assert!(running.get("/balance?user_id=1").contains("\"total\":1000000,"));
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::start(serving(directory.path()));
    assert!(running.charge("a").starts_with("HTTP/1.1 200 OK"));
    running.signal("KILL");
    let running = Running::start(serving(directory.path()));
    assert!(running.get("/balance?user_id=1").contains("\"total\":5,"));
}

#[test]
fn a_directory_in_use_is_exit_2() {
    let directory = tempfile::tempdir().unwrap();
    let _running = Running::start(serving(directory.path()));
    let output = serving(directory.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn a_damaged_directory_is_exit_1() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::start(serving(directory.path()));
    for n in 0..20 {
        assert!(running.charge(&format!("k{n}")).starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(running.signal("TERM").code(), Some(0));
    // The largest file is a segment of the log: damage something in the middle of what was written to it.
    let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = files.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let written = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    for byte in &mut bytes[written / 2..written / 2 + 64] {
        *byte ^= 0x55;
    }
    std::fs::write(&log, bytes).unwrap();
    let output = serving(directory.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn bad_usage_is_exit_2_with_a_reason() {
    let cases: [(&[&str], &str); 14] = [
        (&["--nonsense"], "--nonsense"),
        (&["nonsense"], "nonsense"),
        (&["--queue", "many"], "many"),
        (&["--durability", "never"], "never"),
        (&["--listen", "0.0.0.0:0"], "--insecure-listen"),
        (&["--bank", "http://127.0.0.1:9", "--durability", "memory"], "durability is memory"),
        (&["--shutdown-timeout", "1s"], "shutdown-timeout"),
        (&["--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["--mirror-dir", "m", "--durability", "memory"], "mirror-dir"),
        (&["--mirror-go-on"], "--mirror-dir"),
        (&["--bank", "http://127.0.0.1:9", "--bank-latency", "1s"], "bank-latency"),
        (&["bank", "--late-notice-rate", "0.5"], "--notify"),
        (&["inspect", "/nowhere"], "/nowhere"),
        (&["--durability", "memory", "--listen", "192.0.2.1:1", "--insecure-listen"], "listen"),
    ];
    for (arguments, reason) in cases {
        let (code, _, error) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
    let (code, output, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert!(output.contains("--bank-ambiguous-unpaid-rate"), "{output}");
    let (code, output, _) = run(&["--version"]);
    assert_eq!((code, output.starts_with("ledger-server ")), (0, true));
}

#[test]
fn memory_makes_no_directory_and_variables_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = program(&["serve", "--durability", "memory"]);
    command.current_dir(directory.path()).env("LEDGER_LISTEN", "127.0.0.1:0").env("LEDGER_CURRENCY", "EUR");
    let mut running = Running::start(command);
    assert!(running.charge("a").contains("\"currency\":\"EUR\""));
    assert_eq!(running.signal("TERM").code(), Some(0));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_bad_variable_or_file_key_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.toml");
    std::fs::write(&file, "listn = \"127.0.0.1:0\"\n").unwrap();
    let (code, _, error) = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(error.contains("listn"), "{error}");
    let output = program(&[]).env("LEDGER_WORKERS", "0.5").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("LEDGER_WORKERS"), "{error}");
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused_or_taken_as_it_is() {
    let strange = std::ffi::OsStr::from_bytes(b"strange-\xff");
    let mut command = program(&["--listen", "127.0.0.1:0", "--durability", "memory"]);
    command.env("LEDGER_WORKERS", strange);
    let (code, error) = refused(command);
    assert_eq!((code, error.contains("LEDGER_WORKERS")), (Some(2), true), "{error}");
    // A path need not be UTF-8.
    let directory = tempfile::tempdir().unwrap();
    let mut command = program(&["--listen", "127.0.0.1:0", "--segment-size", "1MiB"]);
    command.current_dir(directory.path()).env("LEDGER_DATA_DIR", strange);
    assert_eq!(Running::start(command).signal("TERM").code(), Some(0));
    assert!(directory.path().join(strange).is_dir());
}

#[test]
fn a_password_in_the_address_of_a_bank_is_refused_and_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let address = "http://me:secret@bank.example";
    let file = directory.path().join("ledger.toml");
    std::fs::write(&file, format!("bank = \"{address}\"\n")).unwrap();
    let by_variable = |mut command: Command| {
        command.env("LEDGER_BANK", address);
        command
    };
    for command in [
        program(&["--bank", address]),
        program(&["serve", &format!("--bank={address}")]),
        by_variable(program(&[])),
        program(&["--config", file.to_str().unwrap()]),
    ] {
        let (code, error) = refused(command);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("without user, password") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn a_server_whose_standard_output_nobody_reads_serves_all_the_same() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (reads, writes) = std::io::pipe().unwrap();
    drop(reads);
    let mut command = program(&["--listen", &address, "--durability", "memory"]);
    let child = command.stdout(writes).stderr(Stdio::null()).spawn().unwrap();
    let mut running = Running { child, address };
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&running.address).is_err() {
        assert!(Instant::now() < deadline && running.child.try_wait().unwrap().is_none(), "it does not serve");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(running.get("/health").contains("\"status\":\"ok\""));
    assert_eq!(running.signal("TERM").code(), Some(0));
}

#[test]
fn a_server_whose_log_cannot_be_written_serves_all_the_same_and_ends_with_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let unheard = |mut command: Command| {
        let (reads, writes) = std::io::pipe().unwrap();
        drop(reads);
        command.stderr(writes);
        command
    };
    let mut running = Running::start(unheard(serving(directory.path())));
    assert!(running.charge("a").starts_with("HTTP/1.1 200 OK"));
    let in_use = unheard(serving(directory.path())).output().unwrap();
    assert_eq!(in_use.status.code(), Some(2));
    assert_eq!(running.signal("TERM").code(), Some(0));
}

#[tokio::test]
async fn a_server_that_halted_stays_up_and_says_so_at_its_end() {
    let (server, broken, directory) = crate::support::Server::on_a_failing_disk();
    let flags = Settings {
        listen: Some("127.0.0.1:0".to_owned()),
        data_dir: Some(directory.path().into()),
        ..Settings::default()
    };
    let config = Config::resolve(flags).unwrap();
    let listener = tokio::net::TcpListener::bind(config.listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ledger = server.ledger.clone();
    let running = tokio::spawn(async move {
        let until = async {
            let _ = stopped.await;
        };
        ledger_server::run(listener, ledger, &config, until).await.unwrap()
    });
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let asked = tokio::task::spawn_blocking(move || {
        let client = |text: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let body = "{\"user_id\":1,\"amount\":5,\"idempotency_key\":\"k\"}";
        let lost = client(&format!(
            "POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        let read = client("GET /balance?user_id=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        (lost, read)
    });
    let (lost, read) = asked.await.unwrap();
    assert!(lost.contains("\"code\":\"outcome_unknown\""), "{lost}");
    assert!(read.contains("\"code\":\"halted\""), "{read}");
    assert!(!running.is_finished());
    stop.send(()).unwrap();
    assert_eq!(running.await.unwrap(), ledger_server::Ended::Halted);
}

/// Runs to the end with `input`; the exit code and both outputs.
fn run_with(arguments: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
    let mut child = program(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // Who refuses a stream need not read all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_running_ledger_is_backed_up_to_a_stream_while_writers_run_and_a_stream_that_is_cut_off_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (data, restored) = (path("data"), path("restored"));
    let running = Running::start(serving(Path::new(&data)));
    let is_enough = std::sync::atomic::AtomicBool::new(false);
    let stream = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until the backup is there: it is made while they run.
            for n in 0.. {
                assert!(running.charge(&format!("{n}")).starts_with("HTTP/1.1 200 OK"), "{n}");
                if is_enough.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let post = "POST /checkpoints HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert!(running.charge("first").starts_with("HTTP/1.1 200 OK"));
        let checkpoint = running.request(post);
        let (code, stream, said) = run_with(&["backup", "-", "--from", &data], &[]);
        is_enough.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(checkpoint.starts_with("HTTP/1.1 200 OK"), "{checkpoint}");
        assert!(code == 0 && said.contains("\"snapshots\":1,"), "{code}: {said}");
        stream
    });
    drop(running);

    let (code, said, error) = run_with(&["restore", "-", "--into", &restored], &stream);
    assert_eq!(code, 0, "{error}");
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    let (code, verified, _) = run(&["verify", &restored]);
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    assert_eq!((code, &verified["seq"]), (0, &said["seq"]));
    // The original, which has gone on since, was the same then.
    let head = format!("{}@{}", verified["head"].as_str().unwrap(), verified["seq"]);
    assert_eq!(run(&["verify", &data, "--expect-head", &head]).0, 0);

    // Cut off anywhere: in a file, between two of them (a tar has blocks of 512 bytes), and before the end.
    let end = stream.windows(11).rposition(|name| name == b"backup.json").unwrap();
    let unpacked = path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    ledger_server::archive::unpack(&mut &stream[..], Path::new(&unpacked)).unwrap();
    let (code, error) = refused(serving(Path::new(&unpacked)));
    assert_eq!((code, error.contains("is a backup")), (Some(2), true), "{error}");
    let blocks = (0..=end / 512).step_by(97).map(|block| block * 512);
    let trailer = [1, 512, 1024].map(|less| stream.len() - less);
    for length in blocks.chain([1, 700, end / 2, end, end + 512, end + 520]).chain(trailer) {
        let into = path(&format!("cut-{length}"));
        let (code, _, error) = run_with(&["restore", "-", "--into", &into], &stream[..length]);
        assert_ne!(code, 0, "{length} of {} bytes", stream.len());
        assert!(error.contains("reading the stream") && error.contains("send it again"), "{length}: {error}");
        assert!(!Path::new(&into).exists(), "{length}");
    }
}

#[test]
fn a_running_ledger_is_backed_up_and_restored_and_its_withdrawals_wait_to_be_released() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (data, copy, restored) = (path("data"), path("copy"), path("restored"));
    let running = Running::start(serving(Path::new(&data)));
    for key in ["a", "b", "c"] {
        assert!(running.charge(key).starts_with("HTTP/1.1 200 OK"), "{key}");
    }
    let post = "POST /checkpoints HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let made = running.request(post);
    assert!(made.starts_with("HTTP/1.1 200 OK") && made.contains("{\"seq\":3,"), "{made}");
    assert!(running.charge("d").starts_with("HTTP/1.1 200 OK"));
    // While it serves.
    let (code, out, error) = run(&["backup", &copy, "--from", &data]);
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("{\"seq\":4,\"snapshots\":1,"), "{out}");
    assert_eq!(run(&["backup", &copy, "--from", &data]).0, 2, "not over another one");
    drop(running);
    // It would give references to the bank that the original gives too.
    let (code, error) = refused(serving(Path::new(&copy)));
    assert_eq!((code, error.contains("is a backup") && error.contains("restore")), (Some(2), true), "{error}");
    let mut mirrored = serving(Path::new(&path("new")));
    mirrored.args(["--mirror-dir", &copy]);
    assert_eq!(refused(mirrored).0, Some(2));
    assert!(run(&["verify", &copy]).0 == 0 && run(&["inspect", &copy]).0 == 0);
    assert_eq!(run(&["backup", &path("copy of the copy"), "--from", &copy]).0, 0);
    let salvaged = path("salvaged");
    assert_eq!(run(&["salvage", &copy, "--into", &salvaged, "--i-accept-losing-entries"]).0, 0);
    assert!(Running::start(serving(Path::new(&salvaged))).get("/balance?user_id=1").contains("\"total\":20,"));
    let (code, _, error) = run(&["restore", &copy, "--into", &restored, "--to-seq", "3"]);
    assert_eq!(code, 0, "{error}");
    let (code, out, error) = run(&["verify", &restored]);
    assert_eq!((code, out.contains("\"seq\":3")), (0, true), "{out}{error}");

    let running = Running::start(serving(Path::new(&restored)));
    assert!(running.get("/balance?user_id=1").contains("\"total\":15,"));
    let body = "{\"user_id\":1,\"amount\":5,\"idempotency_key\":\"w\"}";
    let withdraw = format!(
        "POST /withdraw HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(running.request(&withdraw).starts_with("HTTP/1.1 202 "));
    let health = running.get("/health");
    assert!(health.contains("\"executor\":\"stopped\""), "{health}");
    drop(running);
    assert_eq!(run(&["release", &restored]).0, 0);
    let running = Running::start(serving(Path::new(&restored)));
    assert!(running.get("/health").contains("\"executor\":\"running\""));
}

#[test]
fn nothing_is_written_into_what_is_read_and_what_is_refused_leaves_no_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (data, copy) = (path("data"), path("copy"));
    let running = Running::start(serving(Path::new(&data)));
    assert!(running.charge("a").starts_with("HTTP/1.1 200 OK"));
    std::os::unix::fs::symlink(&data, path("link")).unwrap();
    assert_eq!(run(&["backup", &copy, "--from", &data]).0, 0);
    let inside = |of: &str| format!("{of}/x/y");
    let names = |name: &str| {
        let mut names: Vec<_> = std::fs::read_dir(path(name))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let before = (names(""), names("data"), names("copy"));
    let salvage = "--i-accept-losing-entries";
    let cases: [(&[&str], [&str; 2]); 8] = [
        (&["backup", &inside(&data), "--from", &data], [&data, &inside(&data)]),
        (&["backup", &data, "--from", &data], [&data, &data]),
        (&["backup", &inside(&path("link")), "--from", &data], [&data, &inside(&path("link"))]),
        (&["restore", &copy, "--into", &inside(&copy)], [&copy, &inside(&copy)]),
        (&["salvage", &copy, "--into", &inside(&copy), salvage], [&copy, &inside(&copy)]),
        (&["backup", &path("new"), "--from", &path("nowhere")], ["nowhere", "nowhere"]),
        (&["restore", &path("nowhere"), "--into", &path("new")], ["nowhere", "nowhere"]),
        (&["restore", &copy, "--into", &path("new"), "--to-seq", "999"], ["999", "ends with seq 1"]),
    ];
    for (arguments, named) in cases {
        let (code, _, error) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(named.iter().all(|name| error.contains(name)), "{arguments:?}: {error}");
        assert_eq!((names(""), names("data"), names("copy")), before, "{arguments:?}");
    }
    // Beside it, and where the name only begins alike, is elsewhere.
    assert_eq!(run(&["backup", &path("data.copy"), "--from", &data]).0, 0);
}

#[test]
fn a_release_beside_a_server_says_that_it_is_to_be_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (data, restored) = (path("data"), path("restored"));
    drop(Running::start(serving(Path::new(&data))));
    assert_eq!(run(&["restore", &data, "--into", &restored]).0, 0);
    let mut running = Running::start(serving(Path::new(&restored)));
    let (code, said, told) = run(&["release", &restored]);
    assert_eq!((code, said.as_str()), (0, "{\"released\":true}\n"));
    assert!(told.contains("is in use") && told.contains("start its server again"), "{told}");
    assert!(running.get("/health").contains("\"executor\":\"stopped\""));
    assert_eq!(running.signal("TERM").code(), Some(0));
    let running = Running::start(serving(Path::new(&restored)));
    assert!(running.get("/health").contains("\"executor\":\"running\""));
}

#[test]
fn what_a_failed_backup_leaves_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (data, copy) = (path("data"), path("copy"));
    let mut running = Running::start(serving(Path::new(&data)));
    for n in 0..20 {
        assert!(running.charge(&format!("k{n}")).starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(running.signal("TERM").code(), Some(0));
    let log = Path::new(&data).join("0000000000000001.segment");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[5 * 4096 + 90] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let (code, _, error) = run(&["backup", &copy, "--from", &data]);
    assert_eq!((code, Path::new(&copy).exists()), (1, true), "{error}");
    assert!(error.contains(&format!("{copy} has what was written so far")) && error.contains("remove it"), "{error}");
}

#[test]
fn idle_connections_leave_the_ledger_the_files_that_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -n 100; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ledger-server")]);
    limited.args([
        "--listen",
        "127.0.0.1:0",
        "--segment-size",
        "1MiB",
        "--data-dir",
        directory.path().to_str().unwrap(),
    ]);
    limited.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let running = Running::start(limited);
    let mut client = TcpStream::connect(&running.address).unwrap();
    let mut ask = |request: String| {
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        let head = String::from_utf8(answer).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        client.read_exact(&mut body).unwrap();
        head
    };
    assert!(ask("GET /health HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()).starts_with("HTTP/1.1 200 "));
    let _silent: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(&running.address).unwrap()).collect();
    // Some three segments: for each the log opens files.
    for batch in 0..30 {
        let charge =
            |n| format!("{{\"type\":\"charge\",\"user_id\":1,\"amount\":5,\"idempotency_key\":\"{batch}-{n}\"}}");
        let charges = (0..2_000).map(charge).collect::<Vec<_>>().join(",");
        let body = format!("{{\"operations\":[{charges}]}}");
        let head = ask(format!(
            "POST /batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert!(head.starts_with("HTTP/1.1 200 "), "{batch}: {head}");
    }
}
