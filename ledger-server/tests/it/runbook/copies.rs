//! A directory that is lost, and its backups; a mirror with one side.

use std::path::Path;

use serde_json::Value;

use super::page::Page;
use super::shell::{Running, Said, Shell, until};

const SERVE: &str = "ledger-server --data-dir ledger-data";
const MIRRORED: &str = "ledger-server --data-dir ledger-data --mirror-dir mirror --mirror-go-on";
const SERVE_NEW: &str = "ledger-server --data-dir ledger-data.new";

/// A shell in which the other machine is reached, and the disk for backups is where a test may write.
struct Far {
    shell: Shell,
    page: Page,
}

impl Far {
    fn of(page: Page) -> Far {
        let shell = Shell::new();
        // The far end is this machine's; what is compressed comes back as it was.
        shell.install("ssh", "shift; exec sh -c \"$*\"");
        shell.install("zstd", "exec cat");
        std::fs::create_dir(shell.path("backups")).unwrap();
        Far { shell, page }
    }

    /// Types the page's command, with what it leaves open filled in.
    fn types(&self, command: &str, open: &[(&str, &str)]) -> Said {
        let line = self.page.takes(command).replace("/backups/", "backups/");
        self.shell.run(&open.iter().fold(line, |line, (name, value)| line.replace(name, value)))
    }

    fn remove(&self, directory: &str) {
        std::fs::remove_dir_all(self.shell.path(directory)).unwrap();
    }
}

/// The newest of the names that end so, in the directory.
fn newest(directory: &Path, end: &str) -> String {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(end) && (!end.is_empty() || !name.contains('.'))).max().expect("a backup")
}

fn status_of(running: &Running, id: &str) -> Value {
    running.get(&format!("/withdrawals/{id}")).good()["substatus"].clone()
}

#[test]
fn a_directory_that_is_lost() {
    let far = Far::of(Page::of("The directory is lost"));
    let (shell, page) = (&far.shell, &far.page);
    // A bank that does not come back to what it was given in this test's time.
    let running = shell.serve(&format!("{SERVE} --bank-latency 30s"));
    let times: Vec<Value> =
        ["a", "b", "c"].map(|key| running.charge(key).good()["transaction"]["created_at"].clone()).into();
    let withdrawal = running.withdraw("w").good()["transaction"].clone();
    let id = withdrawal["id"].to_string();
    page.says("while the server runs; it checks the copy");
    let backup = "ledger-server backup /backups/$(date -u +%FT%H%M) --from ledger-data";
    far.types(backup, &[]).good();
    let stream = "ledger-server backup - --from ledger-data | zstd | ssh backups \"cat >$(date -u +%FT%H%M).tar.zst\"";
    assert_eq!(far.types(stream, &[]).code, 0);
    let whole = newest(shell.path("").as_path(), ".tar.zst");
    drop(running);
    far.remove("ledger-data");
    page.says("makes a new, empty ledger, and says `a new ledger was made in ledger-data: there was none` (`WARN`)");
    let running = shell.serve(SERVE);
    assert!(running.logged("a new ledger was made in ledger-data: there was none").contains("WARN"));
    drop(running);
    far.remove("ledger-data");
    page.says("With `--must-exist` it refuses, exits 2, and says `there is no ledger in ledger-data`");
    let refused = shell.run(&format!("{SERVE} --must-exist"));
    assert_eq!((refused.code, refused.error.contains("there is no ledger in ledger-data")), (2, true), "{refused:?}");

    page.says("Look at the exit code of the whole pipe (`set -o pipefail`)");
    let nothing = far.types(stream, &[("ledger-data", "nowhere"), ("%M", "%M-failed")]);
    assert_eq!(nothing.code, 2, "{nothing:?}");

    let name = newest(&shell.path("backups"), "");
    let restore = "ledger-server restore /backups/NEWEST --into ledger-data.new";
    let second = times[1].as_str().unwrap();
    let until_second = [
        (format!("{restore} --to-seq N"), ("--to-seq N", "--to-seq 2")),
        (format!("{restore} --to-time 2026-01-15T12:00:00Z"), ("2026-01-15T12:00:00Z", second)),
    ];
    for (command, open) in until_second {
        far.types(&command, &[("NEWEST", &name), open]).good();
        assert_eq!(shell.serve(SERVE_NEW).total(), 10, "{command}");
        far.remove("ledger-data.new");
    }
    let restore_stream = "ssh backups cat NEWEST.tar.zst | zstd -d | ledger-server restore - --into ledger-data.new";
    page.says("one that was cut off is refused by `restore` at any length");
    let bytes = std::fs::read(shell.path(&whole)).unwrap();
    std::fs::write(shell.path("cut.tar.zst"), &bytes[..bytes.len() / 2]).unwrap();
    let refused = far.types(restore_stream, &[("NEWEST", "cut")]);
    assert_eq!((refused.code, shell.path("ledger-data.new").exists()), (1, false), "{refused:?}");
    far.types(restore_stream, &[("NEWEST.tar.zst", &whole)]).good();
    assert_eq!(shell.serve(SERVE_NEW).total(), 15);
    far.remove("ledger-data.new");

    far.types(restore, &[("NEWEST", &name)]).good();
    let verified = far.types("ledger-server verify ledger-data.new", &[]).good();
    assert_eq!(verified["ok"], true);
    page.says("A server refuses to start on the backup itself (`backup.made` is in it)");
    let refused = shell.run(&format!("ledger-server --data-dir backups/{name}"));
    assert_eq!((refused.code, refused.error.contains("is a backup")), (2, true), "{refused:?}");

    let serve = page.takes(SERVE_NEW);
    let running = shell.serve(serve);
    page.says("The restored server performs no withdrawals (`\"executor\":\"stopped\"` in `/health`, alert");
    assert_eq!(running.health()["executor"], "stopped");
    page.says("every open one is `unknown`");
    let open = running.ask(page.takes("GET /withdrawals?substatus=unknown")).good();
    assert_eq!(open["withdrawals"][0]["id"].to_string(), id, "{open}");
    let told = running.get(&format!("/withdrawals/{id}")).good();
    let reference = told["bank_reference"].as_str().unwrap();
    let statement = format!("bank_reference,amount,currency,status\n{reference},5,USD,settled\n");
    let compare = page.takes("POST /reconciliations").strip_prefix("POST ").unwrap();
    let compared = running.post_as(compare, &[("content-type", "text/csv")], &statement).good();
    assert!(compared.to_string().contains(reference), "the bank has paid what is open here: {compared}");
    page.says("resolve what the bank knows");
    let resolve = Page::of("A withdrawal needs review");
    let resolve = resolve.takes(
        "curl -s localhost:8080/withdrawals/ID/resolve -H 'Content-Type: application/json' -d \
         '{\"outcome\":\"completed\",\"evidence\":\"statement 2026-01-15, line 7\",\"operator\":\"ann\",\"idempotency_key\":\"resolve-ID\"}'",
    );
    running.ask(&resolve.replace("ID", &id)).good();
    assert_eq!((status_of(&running, &id), running.total()), ("completed".into(), 10.into()));
    assert_eq!(running.stop(), Some(0));
    assert_eq!(far.types("ledger-server release ledger-data.new", &[]).good()["released"], true);
    let running = shell.serve(&format!("{serve} --bank-latency 1ms --bank-success-rate 1"));
    assert_eq!(running.health()["executor"], "running");
    let paid = running.withdraw("v").good()["transaction"]["id"].to_string();
    until(|| (status_of(&running, &paid) == "completed").then_some(()));
    assert_eq!(running.total(), 5);
    drop(running);
    with_a_mirror(&far, &name);
    half_way(&far, &name);
    page.is_done_but_for(&[]);
}

fn with_a_mirror(far: &Far, backup: &str) {
    let (shell, page) = (&far.shell, &far.page);
    far.remove("ledger-data.new");
    let mirrored = page.takes("--mirror-dir mirror");
    // The old mirror is longer than the backup.
    let running = shell.serve(&format!("{SERVE} {mirrored}"));
    (0..20).for_each(|n| assert_eq!(running.charge(&format!("{n}")).status, 200));
    assert_eq!(running.stop(), Some(0));
    far.remove("ledger-data");
    shell.run(&format!("ledger-server restore backups/{backup} --into ledger-data.new")).good();
    page.says(
        "A start that finds a longer history in it refuses, because it would undo the restore, and names the directory",
    );
    let serve = format!("{SERVE_NEW} {mirrored}");
    let refused = shell.run(&serve);
    assert!(refused.code != 0 && refused.error.contains("mirror"), "{refused:?}");
    shell.run(page.takes("mv mirror mirror.before")).good();
    let running = shell.serve(&serve);
    assert_eq!((running.total(), running.health()["executor"].clone()), (15.into(), "stopped".into()));
    assert_eq!(running.stop(), Some(0));
    page.says("the next start copies it back from the mirror");
    std::fs::remove_file(shell.path("ledger-data.new/executor.stopped")).unwrap();
    let running = shell.serve(&serve);
    assert_eq!(running.health()["executor"], "stopped");
    assert_eq!(running.stop(), Some(0));
    page.says("release the data directory: the next start takes it over to the mirror");
    shell.run("ledger-server release ledger-data.new").good();
    assert_eq!(shell.serve(&serve).health()["executor"], "running");
    assert!(!shell.path("mirror/executor.stopped").exists());
}

/// A restore that was killed.
fn half_way(far: &Far, backup: &str) {
    let (shell, page) = (&far.shell, &far.page);
    far.remove("ledger-data.new");
    let restore = format!("ledger-server restore backups/{backup} --into ledger-data.new");
    // Killed by the first write to a file behind its first KiB.
    let killed = shell.run(&format!("(ulimit -f 1; {restore}); true"));
    page.says("leaves `restore.unfinished` in the new directory, and nothing starts on it, copies it or lets it go");
    assert!(shell.path("ledger-data.new/restore.unfinished").exists(), "{killed:?}");
    let copied = "ledger-server backup copy --from ledger-data.new";
    for line in [SERVE_NEW, "ledger-server verify ledger-data.new", copied, &restore] {
        assert_ne!(shell.run(line).code, 0, "{line}");
    }
    page.says("Empty it and restore again");
    far.remove("ledger-data.new");
    shell.run(&restore).good();
    assert_eq!(shell.serve(SERVE_NEW).total(), 15);
}

/// Charges with a mirror whose side `lost` is lost meanwhile, and what an operator does then; stopped in the end.
fn lose(shell: &Shell, page: &Page, lost: &str, left: &str, key: &str) {
    let running = shell.serve(page.takes(MIRRORED));
    assert_eq!(running.charge(&format!("{key} before")).status, 200);
    assert_eq!(running.metric("ledger_mirror_degraded"), 0.0);
    // At once, since the server may make a file in it meanwhile.
    shell.run(&format!("mv {lost} gone && rm -r gone")).good();
    // It is lost when something is to be done in it.
    running.ask("POST /checkpoints").good();
    page.says("`mirror_degraded` in `/health`: which directory is lost, and why. The status is still `ok`");
    let health = running.health();
    let why = health["mirror_degraded"].as_str().unwrap_or_default();
    let which = if lost == "mirror" { "the mirror is lost: " } else { "the primary directory is lost: " };
    assert!(why.starts_with(which) && why.len() > which.len() && health["status"] == "ok", "{health}");
    assert_eq!(running.metric("ledger_mirror_degraded"), 1.0, "an alert");
    page.says("everything is answered as always");
    assert_eq!(running.charge(&format!("{key} alone")).status, 200);
    page.says("make a backup of the side that is left");
    let backup = page.takes("ledger-server backup backup --from ledger-data");
    let backup = backup.replace("backup backup", &format!("backup '{key}.backup'")).replace("ledger-data", left);
    shell.run(&backup).good();
    shell.run(&page.takes("kill -TERM PID").replace("PID", &running.id().to_string())).good();
    let mut running = running;
    assert_eq!(running.end(), Some(0));
    assert!(!shell.path(lost).exists());
}

/// Starts with both sides, of which one was put there anew, and has so much in the end.
fn is_whole(shell: &Shell, page: &Page, total: i64) {
    page.says("The start makes the lost side a copy of the better one, whether it is empty or has what it had before");
    let running = shell.serve(page.takes(MIRRORED));
    page.says(
        "`/health` has no `mirror_degraded`, `ledger_mirror_degraded` is 0, and both sides end with the same head",
    );
    assert_eq!(running.health().get("mirror_degraded"), None);
    assert_eq!(running.metric("ledger_mirror_degraded"), 0.0);
    let sides = ["ledger-server verify ledger-data", "ledger-server verify mirror"];
    let [one, two] = sides.map(|verify| shell.run(page.takes(verify)).good());
    assert_eq!((&one["ok"], &one["head"], &one["seq"]), (&true.into(), &two["head"], &two["seq"]));
    assert_eq!(running.total(), total);
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_mirror_that_goes_on_with_one_side() {
    let page = Page::of("A mirror goes on with one side");
    for (lost, left) in [("mirror", "ledger-data"), ("ledger-data", "mirror")] {
        let shell = Shell::new();
        lose(&shell, &page, lost, left, "first");
        std::fs::create_dir(shell.path(lost)).unwrap();
        is_whole(&shell, &page, 10);

        shell.run(&format!("cp -a {lost} old")).good();
        lose(&shell, &page, lost, left, "second");
        shell.run(&format!("cp -a old {lost}")).good();
        is_whole(&shell, &page, 20);

        page.says("Never start on the lost side alone: it lacks everything since");
        let running = shell.serve("ledger-server --data-dir old");
        assert_eq!((running.total(), running.charge("elsewhere").status), (10.into(), 200));
        assert_eq!(running.stop(), Some(0));
        page.says("once it has entries of its own a start with both refuses");
        shell.run(&format!("mv {lost} whole && cp -a old {lost}")).good();
        let refused = shell.run(page.takes(MIRRORED));
        assert_eq!((refused.code, refused.error.contains("is not that of")), (1, true), "{refused:?}");

        shell.run(&format!("rm -r {lost} && mv whole {lost} && rm -r old && cp -a {lost} old")).good();
        let running = shell.serve(page.takes(MIRRORED));
        (0..3).for_each(|_| running.charge_until_retired());
        let total = running.total();
        assert_eq!(running.stop(), Some(0));
        shell.run(&format!("rm -r {lost} && mv old {lost}")).good();
        page.says(
            "If it was lost for so long that the start refuses, the message says so: `empty it, and it is filled",
        );
        let refused = shell.run(page.takes(MIRRORED));
        let says_so = refused.error.contains("empty it, and it is filled from there");
        assert_eq!((refused.code, says_so), (1, true), "{refused:?}");
        shell.run(&format!("rm -r {lost}")).good();
        is_whole(&shell, &page, total.as_i64().unwrap());
    }
    page.is_done_but_for(&["dmesg | tail"]);
}

#[test]
fn a_mirror_that_was_mended() {
    let page = Page::of("A mirror was mended");
    let shell = Shell::new();
    let serve = "ledger-server --data-dir ledger-data --mirror-dir mirror";
    let verify = ["ledger-server verify ledger-data", "ledger-server verify mirror"].map(|verify| page.takes(verify));
    let nightly = "for side in ledger-data mirror; do ledger-server verify $side | grep -v '\"ok\":true'; done";
    page.says(&format!("`15 3 * * * {nightly}`"));
    let running = shell.serve(serve);
    (0..2).for_each(|_| running.charge_until_retired());
    let total = running.total();
    assert_eq!(shell.run(nightly).out, "", "both are sound, and in use");
    let mirror = shell.path("mirror");
    let history = newest(&mirror, ".history");
    shell.run(&format!("dd if=/dev/zero of=mirror/{history} bs=1 seek=300 count=40 conv=notrunc")).good();
    let found = shell.run(nightly);
    assert!(found.out.lines().count() == 1 && found.out.contains(&history), "{found:?}");
    page.says("`verify` exits 1 for one side and 0 for the other");
    assert_eq!(verify.map(|verify| shell.run(verify).code), [0, 1]);
    shell.run(&page.takes("kill -TERM PID").replace("PID", &running.id().to_string())).good();
    let mut running = running;
    assert_eq!(running.end(), Some(0));
    page.says("begin with `mirror:` and say which file of which directory was `copied from` the other");
    let running = shell.serve(serve);
    let line = running.logged(&format!("mirror: mirror/{history} at byte "));
    assert!(line.contains("WARN") && line.ends_with("; copied from ledger-data"), "{line}");
    assert_eq!(running.total(), total);
    assert_eq!(shell.run(nightly).out, "", "both are sound again");
    assert_eq!(running.stop(), Some(0));
    let running = shell.serve(serve);
    assert!(!running.log().contains("mirror:"), "nothing was to be mended: {}", running.log());
    running.charge("before the end");
    // A side of which one file was lost meanwhile, and one that is replaced.
    assert_eq!(running.stop(), Some(0));
    shell.run(&format!("rm ledger-data/{history}")).good();
    let running = shell.serve(serve);
    page.says("`it is missing`");
    let line = running.logged(&format!("mirror: ledger-data/{history} at byte 0: it is missing; copied from mirror"));
    assert!(line.contains("WARN"), "{line}");
    assert_eq!(running.stop(), Some(0));
    page.says("start with an empty directory in its place");
    shell.run("rm -r ledger-data && mkdir ledger-data").good();
    let running = shell.serve(serve);
    running.logged("copied from mirror: there was no log");
    assert_eq!(verify.map(|verify| shell.run(verify).code), [0, 0]);
    assert_eq!(running.stop(), Some(0));
    page.is_done_but_for(&["dmesg | tail"]);
}
