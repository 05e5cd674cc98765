//! What an operator is told by the program itself: in its log, when something befalls it, and at its end, when it does not start.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::runbook::shell::{Running, Said, Shell, until};

const SERVE: &str = "ledger-server --data-dir ledger-data";
const MIRRORED: &str = "ledger-server --data-dir ledger-data --mirror-dir mirror";

fn limit(running: &Running, resource: Resource, current: u64) {
    let process = Pid::from_raw(running.id().try_into().unwrap());
    let maximum = getrlimit(resource).maximum;
    prlimit(process, resource, Rlimit { current: Some(current), maximum }).unwrap();
}

/// The lines of its log with this level.
fn lines(running: &Running, level: &str) -> Vec<String> {
    running.log().lines().filter(|line| line.contains(&format!(" {level} "))).map(str::to_owned).collect()
}

/// Has all of these words.
fn says(text: &str, words: &[&str]) {
    assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
}

#[test]
fn a_halt_is_told_in_the_log_when_it_comes_and_once() {
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    assert_eq!(running.charge("before").status, 200);
    assert_eq!(lines(&running, "ERROR"), Vec::<String>::new());
    // From here on no file is written behind its first blocks: the log's are longer, and what the server tells is not.
    limit(&running, Resource::Fsize, 8_192);
    assert!(running.charge("in flight").status >= 500);
    let line = running.logged("the ledger in ledger-data halted: ");
    says(&line, &["ERROR", running.health()["reason"].as_str().unwrap(), "start"]);
    running.ask("curl -s localhost:8080/health");
    let log = shell.path("log");
    assert_eq!(running.stop(), Some(1));
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
}

#[test]
fn a_lost_side_of_a_mirror_is_told_in_the_log_with_its_directory_and_what_failed() {
    for (lost, which) in [("mirror", "the mirror is lost: "), ("ledger-data", "the primary directory is lost: ")] {
        let shell = Shell::new();
        let running = shell.serve(&format!("{MIRRORED} --mirror-go-on"));
        assert_eq!(running.charge("before").status, 200);
        shell.run(&format!("mv {lost} gone && rm -r gone")).good();
        running.ask("POST /checkpoints").good();
        let line = running.logged(which);
        let health = running.health()["mirror_degraded"].as_str().unwrap().to_owned();
        says(&line, &["ERROR", &health]);
        says(&health, &[lost, "No such file or directory", "ing "]);
        assert_eq!(running.charge("after").status, 200);
        assert_eq!(running.stop(), Some(0));
        let log = std::fs::read_to_string(shell.path("log")).unwrap();
        assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    }
}

/// A connection that stays open, where no other can be accepted.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn post(&mut self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = "content-type: application/json\r\nhost: x";
        let request = format!("POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let head: Vec<_> = self.0.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut text = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn charge(&mut self, key: &str, note: &str) -> Value {
        let charge = json!({"user_id": 1, "amount": 5, "idempotency_key": key, "metadata": {"note": note}});
        self.post("/charge", &charge)
    }
}

#[test]
fn want_of_room_is_told_in_the_log_when_it_begins_and_when_it_ends_and_names_both_directories() {
    let shell = Shell::new();
    let running = shell.serve(MIRRORED);
    let mut connection = Connection(BufReader::new(TcpStream::connect(&running.address).unwrap()));
    connection.charge("first", "");
    // No descriptor for one more file: to the log that is a full disk, which a test may not have.
    limit(&running, Resource::Nofile, 3);
    let refused = (0..10_000).map(|n| connection.charge(&format!("{n}"), &"x".repeat(900)));
    let refused = refused.into_iter().find(|answer| answer["code"] == "storage_full").expect("there is always room");
    // A client is told no paths of the server.
    says(refused["detail"].as_str().unwrap(), &["the log has no room"]);
    assert!(!refused["detail"].as_str().unwrap().contains("ledger-data"), "{refused}");
    let line = running.logged("storage_full");
    says(&line, &["WARN", "ledger-data or mirror"]);
    (0..20).for_each(|n| assert_eq!(connection.charge(&format!("more {n}"), "")["code"], "storage_full"));
    limit(&running, Resource::Nofile, 1_024);
    until(|| connection.charge("last", "")["transaction"]["id"].is_u64().then_some(()));
    says(&running.logged("room again"), &["INFO"]);
    let told = running.log().matches("storage_full").count();
    assert_eq!(told, 1, "not for each: {}", running.log());
    assert_eq!(running.stop(), Some(0));
}

fn files(directory: &Path, kind: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == kind)).collect();
    files.sort();
    files
}

/// Damages the entry `nth` of a directory's first segment, whose charges were committed alone, or the beginning of another file.
fn rot(file: &Path, nth: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = if nth == 0 { 90 } else { (nth + 1) * 4096 + 90 };
    bytes[at..at + 3].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(file, bytes).unwrap();
}

/// A stopped ledger of six entries.
fn six(shell: &Shell, serve: &str) {
    let running = shell.serve(serve);
    (1..7).for_each(|n| assert_eq!(running.charge(&format!("k{n}")).status, 200));
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_damaged_log_is_told_with_its_directory_and_what_helps_and_by_each_command_in_its_own_words() {
    let shell = Shell::new();
    six(&shell, SERVE);
    let log = files(&shell.path("ledger-data"), "segment").remove(0);
    rot(&log, 5);
    let place = " is damaged at byte 24576 (seq 5): ";
    let refused = shell.run(SERVE);
    assert_eq!(refused.code, 1, "{refused:?}");
    let helps = [
        "verify ledger-data",
        "restore BACKUP",
        "salvage ledger-data",
        "\"The log is damaged\"",
        "the ledger in ledger-data",
    ];
    says(&refused.error, &[&[place], &helps[..]].concat());
    let is_short = |said: &Said, words: &[&str]| {
        assert_eq!(said.code, 1, "{said:?}");
        says(&said.error, &[&["ledger-data", place], words].concat());
        assert!(
            !said.error.contains("restore the directory") && !said.error.contains("nothing was changed"),
            "{said:?}"
        );
    };
    is_short(&shell.run("ledger-server backup copy --from ledger-data"), &["was not backed up"]);
    is_short(&shell.run("ledger-server restore ledger-data --into new"), &["was not restored", "older backup"]);
    is_short(&shell.run("ledger-server inspect ledger-data"), &[]);
    let judged = shell.run("ledger-server verify ledger-data");
    assert_eq!((judged.code, judged.error.as_str()), (1, ""));
    assert!(!judged.out.contains("restore"), "{judged:?}");

    shell.run("rm -r ledger-data && mkdir ledger-data && echo nonsense >ledger-data/0000000000000001.segment").good();
    let salvaged = shell.run("ledger-server salvage ledger-data --into none --i-accept-losing-entries");
    assert_eq!(salvaged.code, 1, "{salvaged:?}");
    says(&salvaged.error, &["nothing was salvaged of ledger-data", "backup"]);
    assert!(!salvaged.error.contains("restore the directory"), "{salvaged:?}");
}

#[test]
fn a_refusal_with_a_mirror_names_it_and_another_ledger_in_it_is_no_damage() {
    let shell = Shell::new();
    six(&shell, MIRRORED);
    for side in ["ledger-data", "mirror"] {
        rot(&files(&shell.path(side), "segment")[0], 5);
    }
    let refused = shell.run(MIRRORED);
    assert_eq!(refused.code, 1, "{refused:?}");
    says(&refused.error, &["ledger-data (mirrored in mirror)", "verify ledger-data", "verify mirror", "salvage"]);
    assert!(!refused.error.contains("nothing was changed"), "{refused:?}");

    six(&shell, "ledger-server --data-dir one");
    six(&shell, "ledger-server --data-dir other");
    let refused = shell.run("ledger-server --data-dir one --mirror-dir other");
    assert_eq!(refused.code, 2, "{refused:?}");
    says(&refused.error, &["other holds another ledger than one", "name another directory"]);
    assert!(!refused.error.contains("damaged") && !refused.error.contains("backup"), "{refused:?}");
}

#[test]
fn a_snapshot_that_was_passed_over_is_told_without_advice_for_a_server_that_does_not_start() {
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    for key in ["a", "b"] {
        assert_eq!(running.charge(key).status, 200);
        running.ask("POST /checkpoints").good();
    }
    assert_eq!(running.stop(), Some(0));
    rot(&files(&shell.path("ledger-data"), "snapshot")[1], 0);
    let running = shell.serve(SERVE);
    let line = running.logged("a snapshot was passed over");
    says(&line, &["WARN", "is damaged at byte"]);
    assert!(!line.contains("restore") && !line.contains("nothing was changed"), "{line}");
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_new_ledger_is_told_and_where_there_must_be_one_none_is_made() {
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    says(&running.logged("a new ledger was made in ledger-data"), &["WARN", "--must-exist"]);
    assert_eq!(running.charge("a").status, 200);
    assert_eq!(running.stop(), Some(0));
    let must = format!("{SERVE} --must-exist");
    let running = shell.serve(&must);
    assert_eq!((running.total(), running.log().contains("a new ledger")), (5.into(), false));
    assert_eq!(running.stop(), Some(0));

    let is_refused = |line: &str, directory: &str| {
        let refused = shell.run(line);
        assert_eq!(refused.code, 2, "{line}: {refused:?}");
        says(&refused.error, &[&format!("there is no ledger in {directory}"), "mounted", "--must-exist"]);
    };
    shell.run("mv ledger-data elsewhere && mkdir empty && touch empty/lost+found").good();
    is_refused(&must, "ledger-data");
    is_refused(&format!("env LEDGER_MUST_EXIST=true {SERVE}"), "ledger-data");
    is_refused("ledger-server --data-dir empty --must-exist", "empty");
    is_refused("ledger-server --data-dir elsewhere --mirror-dir mirror --must-exist", "mirror");
    is_refused("ledger-server --data-dir elsewhere --mirror-dir empty --must-exist", "empty");
    is_refused("ledger-server --data-dir ledger-data --mirror-dir elsewhere --must-exist", "ledger-data");
    assert!(!shell.path("ledger-data").exists() && !shell.path("mirror").exists());
    assert_eq!(std::fs::read_dir(shell.path("empty")).unwrap().count(), 1);

    // What is damaged is there.
    files(&shell.path("elsewhere"), "mark").iter().for_each(|mark| std::fs::write(mark, "x").unwrap());
    let refused = shell.run("ledger-server --data-dir elsewhere --must-exist");
    assert_eq!((refused.code, refused.error.contains("is damaged")), (1, true), "{refused:?}");
}

/// As another user than root, who may read and write whatever the mode.
fn as_nobody(shell: &Shell, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledger-server"));
    command.args(arguments).env_clear().current_dir(shell.path("")).stdin(Stdio::null());
    command.args(["--listen", "127.0.0.1:0"].iter().filter(|_| arguments[0].starts_with("--")));
    if rustix::process::geteuid().is_root() {
        chown(shell.path(""), Some(65_534), None).unwrap();
        command.uid(65_534);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
}

#[test]
fn what_may_not_be_read_or_written_is_exit_2_with_a_remedy_and_says_nothing_of_the_ledger() {
    let shell = Shell::new();
    six(&shell, SERVE);
    let data = shell.path("ledger-data");
    let mode = |mode: u32| {
        let files = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
        files.for_each(|file| std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap());
    };
    let serve = ["--data-dir", "ledger-data"];
    let reads =
        [["verify", "ledger-data"].as_slice(), &["inspect", "ledger-data"], &["backup", "b", "--from", "ledger-data"]];
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        let own = |file: PathBuf| chown(file, Some(65_534), None).unwrap();
        std::fs::read_dir(&data).unwrap().for_each(|entry| own(entry.unwrap().path()));
        own(data.clone());
    }
    mode(0o400);
    let refused = as_nobody(&shell, &serve);
    assert_eq!(refused.code, 2, "{refused:?}");
    says(&refused.error, &["Permission denied", "ledger-data", "ls -la ledger-data"]);
    assert_eq!(as_nobody(&shell, reads[0]).code, 0, "reading is enough for a check");
    mode(0);
    for arguments in [&serve[..]].into_iter().chain(reads) {
        let refused = as_nobody(&shell, arguments);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{arguments:?}: {refused:?}");
        says(&refused.error, &["Permission denied", "ledger-data", "ls -la ledger-data"]);
    }
    for directory in ["nowhere", "log"] {
        for job in ["verify", "inspect", "backup b --from"] {
            let refused = shell.run(&format!("rm -rf b && ledger-server {job} {directory}"));
            assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{job}: {refused:?}");
            let is_helped =
                ["is its disk mounted?", "name a directory"].iter().any(|help| refused.error.contains(help));
            assert!(is_helped && refused.error.contains(directory), "{job}: {refused:?}");
        }
    }
    let refused = shell.run("ledger-server --data-dir log");
    assert_eq!(refused.code, 2, "{refused:?}");
    says(&refused.error, &["the ledger in log cannot be opened", "Not a directory", "name a directory"]);
    says(&shell.run("ledger-server verify nowhere").error, &["says nothing of a ledger"]);
}

#[test]
fn a_directory_that_is_not_sound_is_told_by_the_exit_code_where_it_cannot_be_by_words() {
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    assert_eq!(running.charge("before").status, 200);
    assert_eq!(running.stop(), Some(0));
    let verify = "ledger-server verify ledger-data > /dev/full";
    for (before, code, words) in [("true", 2, "is sound"), ("echo rot > ledger-data/durable.mark", 1, "is not sound")] {
        let refused = shell.run(&format!("{before} && {verify}"));
        assert_eq!(refused.code, code, "{refused:?}");
        says(&refused.error, &["what was found cannot be written", "No space left on device", words]);
    }
}
