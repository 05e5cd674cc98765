//! Bytes that are other ones than were written, and a history that is.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::page::Page;
use super::shell::{Running, Said, Shell, until};

const SERVE: &str = "ledger-server --data-dir ledger-data";

const BLOCK: u64 = 4096;

/// Where the log has its `nth` command, from 1, where each was waited for: before them stand the segment's header and its link.
fn offset(nth: u64) -> u64 {
    (2 + nth - 1) * BLOCK
}

fn rot(file: &Path, offset: u64) {
    let mut file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(offset + 90)).unwrap();
    file.write_all(b"rot").unwrap();
}

/// The directory's files of a kind, the oldest first.
fn files(directory: &Path, kind: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == kind)).collect();
    files.sort();
    files
}

fn name(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

/// Charges under the keys `from..to`.
fn charge(running: &Running, keys: std::ops::Range<u32>) {
    keys.for_each(|n| assert_eq!(running.charge(&format!("k{n}")).status, 200));
}

/// A backup of three entries and a directory of six, of which the fifth is damaged; the damaged file.
fn damaged_at_five(shell: &Shell) -> PathBuf {
    let running = shell.serve(SERVE);
    charge(&running, 1..4);
    shell.run("ledger-server backup backup --from ledger-data").good();
    charge(&running, 4..7);
    assert_eq!(running.stop(), Some(0));
    let log = files(&shell.path("ledger-data"), "segment").remove(0);
    rot(&log, offset(5));
    log
}

#[test]
fn a_damaged_log() {
    let page = Page::of("The log is damaged");
    from_a_backup(&page);
    with_no_backup(&page);
    with_a_mirror(&page);
    page.is_done_but_for(&[]);
}

fn from_a_backup(page: &Page) {
    let shell = Shell::new();
    let log = damaged_at_five(&shell);
    page.says("the server does not start, exits 1, and says which file `is damaged at byte` …, and the seq there");
    let refused = shell.run(SERVE);
    assert_eq!(refused.code, 1, "{refused:?}");
    let place = format!("{} is damaged at byte {} (seq 5)", name(&log), offset(5));
    assert!(refused.error.contains(&place), "{refused:?}");
    let judged = shell.run(page.takes("ledger-server verify ledger-data"));
    let json = judged.json();
    assert_eq!((judged.code, &json["ok"], &json["seq"]), (1, &false.into(), &5.into()), "{json}");
    assert_eq!((&json["file"], &json["offset"]), (&name(&log).into(), &offset(5).into()), "{json}");

    shell.run(page.takes("cp -a ledger-data ledger-data.damaged")).good();
    shell.run(page.takes("ledger-server restore backup --into ledger-data.new")).good();
    let verified = shell.run(page.takes("ledger-server verify ledger-data.new")).good();
    assert_eq!((&verified["ok"], &verified["seq"]), (&true.into(), &3.into()));
    let shown = shell.run(page.takes("ledger-server inspect ledger-data.damaged"));
    assert_eq!(shown.out.lines().count(), 4, "up to the damage: {shown:?}");
    let running = shell.serve(Page::of("The directory is lost").takes("ledger-server --data-dir ledger-data.new"));
    assert_eq!((running.total(), &running.health()["executor"]), (15.into(), &"stopped".into()));
    assert_eq!(running.charge("k4").status, 200, "entered again");
}

fn with_no_backup(page: &Page) {
    let shell = Shell::new();
    damaged_at_five(&shell);
    let salvage = page.takes("ledger-server salvage ledger-data --into ledger-data.new --i-accept-losing-entries");
    page.says("The report says what was given up, and how much of it had been durable");
    let report = shell.run(salvage).good();
    assert_eq!((&report["seq"], &report["known_durable_lost"]), (&4.into(), &2.into()), "{report}");
    assert_eq!(report["given_up"][0]["offset"], offset(5), "{report}");
    let verified = shell.run(page.takes("ledger-server verify ledger-data.new")).good();
    assert_eq!(verified["ok"], true);
    page.says("Its withdrawals wait for `ledger-server release ledger-data.new`");
    let serve = "ledger-server --data-dir ledger-data.new";
    let running = shell.serve(serve);
    assert_eq!((running.total(), &running.health()["executor"]), (20.into(), &"stopped".into()));
    assert_eq!(running.stop(), Some(0));
    let released = shell.run(page.takes("ledger-server release ledger-data.new")).good();
    assert_eq!(released["released"], true);
    assert_eq!(shell.serve(serve).health()["executor"], "running");
}

fn with_a_mirror(page: &Page) {
    let shell = Shell::new();
    let serve = format!("{SERVE} {}", page.takes("--mirror-dir mirror"));
    let running = shell.serve(&serve);
    charge(&running, 1..7);
    assert_eq!(running.stop(), Some(0));
    let sides = ["ledger-data", "mirror"];
    let damage = |side: &str, nth| rot(&files(&shell.path(side), "segment")[0], offset(nth));
    page.says("there is nothing to type: the start mends the damaged side from the other");
    for side in sides {
        damage(side, 3);
        assert_eq!(shell.run(&format!("ledger-server verify {side}")).code, 1);
        let running = shell.serve(&serve);
        assert_eq!(running.total(), 30);
        assert_eq!(running.stop(), Some(0));
        for side in sides {
            shell.run(&format!("ledger-server verify {side}")).good();
        }
    }
    page.says("neither side has everything that was durable, and the message says what each has");
    shell.run("cp -a mirror mirror.old").good();
    let running = shell.serve(&serve);
    charge(&running, 7..9);
    assert_eq!(running.stop(), Some(0));
    shell.run("mv mirror mirror.new && cp -a mirror.old mirror").good();
    damage("ledger-data", 3);
    let refused = shell.run(&serve);
    let has_each = refused.error.contains("up to seq 8") && refused.error.contains("ends with seq 6");
    assert_eq!((refused.code, has_each), (1, true), "{refused:?}");

    page.says("Where both are damaged, it names the damage of each");
    shell.run("rm -r mirror && mv mirror.new mirror").good();
    damage("mirror", 5);
    let refused = shell.run(&serve);
    let names_each = refused.error.contains("(seq 3)") && refused.error.contains("(seq 5)");
    assert_eq!((refused.code, names_each), (1, true), "{refused:?}");
    page.says("salvage the side that goes further");
    let report = shell.run("ledger-server salvage mirror --into new --i-accept-losing-entries").good();
    assert_eq!(report["seq"], 4, "{report}");
}

#[test]
fn a_damaged_snapshot() {
    let page = Page::of("A snapshot is damaged");
    let shell = Shell::new();
    let checkpoint = page.takes("curl -X POST localhost:8080/checkpoints");
    let running = shell.serve(SERVE);
    for keys in [1..3, 3..5] {
        charge(&running, keys);
        running.ask(checkpoint).good();
    }
    assert_eq!(running.stop(), Some(0));
    let snapshots = files(&shell.path("ledger-data"), "snapshot");
    assert_eq!(snapshots.len(), 2);
    rot(&snapshots[1], 0);
    page.says("`verify` exits 1 and names a file that ends in `.snapshot`");
    let judged = shell.run("ledger-server verify ledger-data");
    assert_eq!((judged.code, &judged.json()["file"]), (1, &name(&snapshots[1]).into()), "{judged:?}");
    page.says("`a snapshot was passed over` in the log at the start");
    let running = shell.serve(SERVE);
    let line = running.logged("a snapshot was passed over");
    assert!(line.contains(name(&snapshots[1])), "{line}");
    assert_eq!(running.total(), 20, "nothing is missing");
    page.says("once something new was recorded; the damaged snapshot is replaced");
    charge(&running, 5..6);
    running.ask(checkpoint).good();
    assert_eq!(running.stop(), Some(0));
    shell.run("ledger-server verify ledger-data").good();

    page.says("If no snapshot can be read and the log before them is gone, the server does not start and exits 1");
    let running = shell.serve(SERVE);
    running.charge_until_retired();
    let total = running.total();
    shell.run("ledger-server backup backup --from ledger-data").good();
    assert_eq!(running.stop(), Some(0));
    files(&shell.path("ledger-data"), "snapshot").iter().for_each(|snapshot| rot(snapshot, 0));
    let refused = shell.run(SERVE);
    assert_eq!((refused.code, refused.error.contains(".snapshot")), (1, true), "{refused:?}");
    shell.run(page.takes("ledger-server restore backup --into ledger-data.new")).good();
    assert_eq!(shell.serve("ledger-server --data-dir ledger-data.new").total(), total);
    without_the_log_of_the_older(&page);
    a_snapshot_of_a_mirror(&page);
    a_snapshot_of_a_copy(&page);
    a_snapshot_of_a_side_that_lost_its_log(&page);
    page.is_done_but_for(&[]);
}

/// The log is retired, and then its first segment is lost, which the older snapshot alone needs.
fn without_the_log_of_the_older(page: &Page) {
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    running.charge_until_retired();
    // Into the next segment, and what the newer snapshot needs with it.
    running.charge_until_retired();
    let total = running.total();
    assert_eq!(running.stop(), Some(0));
    let segments = files(&shell.path("ledger-data"), "segment");
    std::fs::remove_file(&segments[0]).unwrap();
    page.says("`verify` exits 1, though the server starts");
    assert_eq!(shell.run("ledger-server verify ledger-data").code, 1);
    page.says("`nothing could take the place of the snapshot` in the log at the start");
    let running = shell.serve(SERVE);
    running.logged("nothing could take the place of the snapshot");
    assert_eq!(running.total(), total, "nothing is missing");
    page.says("a backup takes the newer snapshot alone");
    let made = shell.run("ledger-server backup backup --from ledger-data").good();
    assert_eq!(made["snapshots"], 1, "{made}");
    charge(&running, 5..6);
    running.ask(page.takes("curl -X POST localhost:8080/checkpoints")).good();
    shell.run(page.takes("ledger-server verify ledger-data")).good();
    assert_eq!(running.stop(), Some(0));
    let running = shell.serve(SERVE);
    assert!(!running.log().contains("nothing could take the place"), "{}", running.log());
}

fn a_snapshot_of_a_mirror(page: &Page) {
    let shell = Shell::new();
    let serve = format!("{SERVE} {}", page.takes("--mirror-dir mirror"));
    let running = shell.serve(&serve);
    (0..2).for_each(|_| running.charge_until_retired());
    let total = running.total();
    assert_eq!(running.stop(), Some(0));
    page.says("the start copies the file from the side that has it");
    for side in ["ledger-data", "mirror"] {
        for kind in ["snapshot", "history"] {
            files(&shell.path(side), kind).iter().for_each(|file| rot(file, 100));
            assert_eq!(shell.run(&format!("ledger-server verify {side}")).code, 1);
            let running = shell.serve(&serve);
            assert_eq!(running.total(), total, "{kind} of {side}");
            running.logged(&format!(".{kind} at byte "));
            assert_eq!(running.stop(), Some(0));
            ["ledger-data", "mirror"]
                .iter()
                .for_each(|side| _ = shell.run(&format!("ledger-server verify {side}")).good());
        }
    }
    page.says("Only what is damaged on both sides is passed over or refused, and the message names the damage of each");
    let file = files(&shell.path("mirror"), "history").remove(0);
    rot(&file, 100);
    rot(&shell.path("ledger-data").join(name(&file)), 300);
    let refused = shell.run(&serve);
    let names_each =
        ["ledger-data", "mirror"].iter().all(|side| refused.error.contains(&format!("{side}/{}", name(&file))));
    assert_eq!((refused.code, names_each), (1, true), "{refused:?}");
}

/// A copy of the directory goes on by itself, and gets a snapshot of the original.
fn a_snapshot_of_a_copy(page: &Page) {
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    charge(&running, 1..3);
    assert_eq!(running.stop(), Some(0));
    shell.run("cp -a ledger-data original").good();
    let original = shell.serve("ledger-server --data-dir original");
    charge(&original, 3..5);
    original.ask("curl -X POST localhost:8080/checkpoints").good();
    assert_eq!(original.stop(), Some(0));
    let running = shell.serve(SERVE);
    charge(&running, 5..7);
    assert_eq!(running.stop(), Some(0));
    shell.run("cp original/*.snapshot original/*.history ledger-data").good();
    page.says("a snapshot and the log `are of two histories`");
    let refused = shell.run(SERVE);
    assert_eq!((refused.code, refused.error.contains("are of two histories")), (1, true), "{refused:?}");
    assert_eq!(shell.run("ledger-server verify ledger-data").code, 1);
    let line = "ledger-server salvage ledger-data --into ledger-data.new --i-accept-losing-entries";
    assert_eq!(shell.run(page.takes(line)).good()["seq"], 4);
    let running = shell.serve("ledger-server --data-dir ledger-data.new");
    charge(&running, 3..5);
}

/// One side went on alone, made a snapshot and lost its log; the other one is behind.
fn a_snapshot_of_a_side_that_lost_its_log(page: &Page) {
    let shell = Shell::new();
    let with_mirror = format!("{SERVE} --mirror-dir mirror");
    let running = shell.serve(&with_mirror);
    charge(&running, 1..3);
    assert_eq!(running.stop(), Some(0));
    let running = shell.serve(SERVE);
    charge(&running, 3..5);
    running.ask("curl -X POST localhost:8080/checkpoints").good();
    assert_eq!(running.stop(), Some(0));
    shell.run("rm ledger-data/*.segment ledger-data/*.mark").good();
    page.says("`the log of either side ends with` an earlier seq than a snapshot");
    let refused = shell.run(&with_mirror);
    let is_said =
        refused.error.contains("the log of either side ends with 2") && refused.error.contains("A snapshot is damaged");
    assert_eq!((refused.code, is_said), (1, true), "{refused:?}");
    let line = "ledger-server salvage mirror --into ledger-data.new --i-accept-losing-entries";
    assert_eq!(shell.run(page.takes(line)).good()["seq"], 2);
}

#[test]
fn a_torn_tail() {
    let page = Page::of("A torn tail");
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    charge(&running, 1..4);
    drop(running);
    // As much of a fourth command as the disk had got.
    let log = files(&shell.path("ledger-data"), "segment").remove(0);
    rot(&log, offset(4));
    page.says("`bytes that were never acknowledged stood behind the log; they are kept in ….torn` at the start");
    let running = shell.serve(SERVE);
    let line = running.logged("bytes that were never acknowledged stood behind the log; they are kept in ");
    let torn = files(&shell.path("ledger-data"), "torn").remove(0);
    assert!(line.ends_with(name(&torn)), "{line}");
    assert_eq!(running.total(), 15, "nobody was told of more");
    page.says("remove it when you like");
    std::fs::remove_file(torn).unwrap();
    charge(&running, 4..5);
    assert_eq!(running.stop(), Some(0));
    shell.run("ledger-server verify ledger-data").good();
    assert_eq!(shell.serve(SERVE).total(), 20);
    page.is_done_but_for(&[]);
}

/// The head that is served when it has come to the last entry, as it is kept elsewhere.
fn head(running: &Running, page: &Page) -> String {
    let ask = page.takes("curl -s localhost:8080/head");
    let last = running.health()["durable_seq"].clone();
    // Callers are answered before the head is computed.
    let served = until(|| Some(running.ask(ask).good()).filter(|served| served["seq"] == last));
    format!("{}@{}", served["head"].as_str().unwrap(), served["seq"])
}

#[test]
fn a_history_that_is_another_one() {
    let page = Page::of("The history is another one");
    let shell = Shell::new();
    let mirrored = page.takes("ledger-server --data-dir ledger-data --mirror-dir mirror");
    let running = shell.serve(mirrored);
    charge(&running, 1..3);
    let earlier = head(&running, &page);
    shell.run("ledger-server backup early --from ledger-data").good();
    assert_eq!(running.stop(), Some(0));
    shell.run("cp -a ledger-data forged").good();
    let running = shell.serve(mirrored);
    charge(&running, 3..4);
    let later = head(&running, &page);
    shell.run("ledger-server backup backup --from ledger-data").good();
    charge(&running, 4..5);
    assert_eq!(running.stop(), Some(0));
    // Who can write the files has a server write another third entry.
    let forger = shell.serve("ledger-server --data-dir forged");
    let dear = serde_json::json!({"user_id": 1, "amount": 500, "idempotency_key": "k3"});
    forger.post("/charge", &dear).good();
    charge(&forger, 4..5);
    assert_eq!(forger.stop(), Some(0));
    shell.run("rm -r ledger-data && mv forged ledger-data").good();

    let verify = |command: &str, head: &str| shell.run(&page.takes(command).replace("HEAD@SEQ", head));
    let is_another = |said: &Said, reason: &str| {
        let (head, json) = ("is not the one that the head was given for", said.json());
        assert_eq!((said.code, &json["ok"]), (1, &false.into()), "{said:?}");
        let text = json["reason"].as_str().unwrap();
        assert!(text.contains(head) && text.contains(reason), "{reason}: {text}");
    };
    page.says(
        "exits 1 and prints `\"ok\":false` with `the history up to seq … is not the one that the head was given for`",
    );
    let judged = verify("ledger-server verify ledger-data --expect-head HEAD@SEQ", &later);
    is_another(&judged, "the history up to seq 3 ");
    is_another(&judged, "the head there is ");
    page.says("though without the head it exits 0");
    shell.run("ledger-server verify ledger-data").good();
    page.says("where one side of a mirror is another history than the other, the start refuses and exits 1");
    let refused = shell.run(mirrored);
    assert_eq!((refused.code, refused.error.contains("is not that of")), (1, true), "{refused:?}");

    shell.run(page.takes("mv ledger-data ledger-data.evidence")).good();
    page.says("where `the head there is` another one or `no commit ended there`");
    let evidence = "ledger-server verify ledger-data.evidence --expect-head HEAD@SEQ";
    is_another(&verify(evidence, &later), "the head there is ");
    verify(evidence, &earlier).good();
    verify("ledger-server verify mirror --expect-head HEAD@SEQ", &later).good();
    let of_backup = "ledger-server verify backup --expect-head HEAD@SEQ";
    verify(of_backup, &later).good();
    page.says("one from before SEQ can pass with an earlier head alone");
    page.says("`the log ends with seq …` is an older copy");
    let of_early = of_backup.replace("backup", "early");
    is_another(&shell.run(&of_early.replace("HEAD@SEQ", &later)), "the log ends with seq 2");
    shell.run(&of_early.replace("HEAD@SEQ", &earlier)).good();
    let differ = "diff <(ledger-server inspect ledger-data.evidence) <(ledger-server inspect backup)";
    let shown = shell.run(page.takes(differ));
    let first = shown.out.lines().find(|line| line.starts_with('<')).unwrap_or_default();
    assert!(shown.code == 1 && first.contains("\"seq\":3,") && first.contains("\"amount\":500"), "{shown:?}");

    shell.run(page.takes("ledger-server restore backup --into ledger-data.new")).good();
    verify("ledger-server verify ledger-data.new --expect-head HEAD@SEQ", &later).good();
    assert_eq!(shell.serve("ledger-server --data-dir ledger-data.new").total(), 15);
    page.says("fills a new directory from it");
    let running = shell.serve(mirrored);
    assert_eq!(running.total(), 20);
    shell.run(&format!("ledger-server verify ledger-data --expect-head {later}")).good();
    page.says("snapshots have replaced the log up to there (`--keep-log` keeps it), so try a later head");
    (0..3).for_each(|_| running.charge_until_retired());
    let last = head(&running, &page);
    let judged = shell.run(&format!("ledger-server verify ledger-data --expect-head {later}"));
    let (json, kept) = (judged.json(), "the log begins with seq ");
    let reason = json["reason"].as_str().unwrap();
    assert!(judged.code == 1 && json["ok"] == false && reason.contains(kept), "{judged:?}");
    page.says("`the head at seq … cannot be checked` proves nothing");
    assert!(reason.contains("cannot be checked") && !reason.contains("is not the one"), "{reason}");
    assert!(reason.contains("--keep-log") && reason.contains("a later head"), "{reason}");
    shell.run(&format!("ledger-server verify ledger-data --expect-head {last}")).good();
    page.is_done_but_for(&[]);
}

/// Raises the format in a file's header by one, and the header's checksum with it.
fn renew(file: &Path, header_bytes: usize, format_at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[format_at] += 1;
    let (said, checksum) = bytes[..header_bytes].split_at_mut(header_bytes - 8);
    checksum.copy_from_slice(&xxh3_64_with_seed(said, xxh3_64(&said[16..32])).to_le_bytes());
    std::fs::write(file, bytes).unwrap();
}

/// All that is in a directory.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect()
}

#[test]
fn files_of_a_newer_version() {
    let page = Page::of("The files are of a newer version");
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    charge(&running, 1..4);
    shell.run("ledger-server backup backup --from ledger-data").good();
    assert_eq!(running.stop(), Some(0));
    let running = shell.serve(SERVE);
    charge(&running, 4..7);
    running.ask("POST /checkpoints").good();
    assert_eq!(running.stop(), Some(0));
    shell.run("mv ledger-data older").good();
    let data = shell.path("ledger-data");
    for (kind, what, header_bytes, format_at) in [
        ("mark", "a mark of format 2", 4096, 8),
        ("snapshot", "a snapshot of format 2", 64, 10),
        ("segment", "a log of format 3", 4096, 10),
    ] {
        shell.run("rm -rf ledger-data && cp -a older ledger-data").good();
        // Of the log, what the last start wrote.
        let is_written =
            |file: &PathBuf| kind != "segment" || std::fs::read(file).unwrap()[8192..].starts_with(b"LFRM");
        let file = files(&data, kind).into_iter().rfind(is_written).unwrap();
        renew(&file, header_bytes, format_at);
        let before = contents(&data);
        page.says(
            "does not start, exits 1, and says of a file that it `cannot be read by this version: a log of format …`",
        );
        let refused = shell.run(SERVE);
        let said = format!("{} cannot be read by this version: {what}", name(&file));
        assert_eq!((refused.code, refused.error.contains(&said)), (1, true), "{kind}: {refused:?}");
        let judged = shell.run(page.takes("ledger-server verify ledger-data"));
        assert_eq!((judged.code, &judged.json()["file"]), (1, &name(&file).into()), "{kind}: {judged:?}");
        page.says("Nothing is damaged, and nothing was changed");
        assert!(contents(&data) == before, "{kind}");
    }
    page.says("it gives up what it cannot read, as if that were damaged");
    let salvage = "ledger-server salvage ledger-data --into salvaged --i-accept-losing-entries";
    assert_ne!(shell.run(salvage).good()["known_durable_lost"], 0);
    let version = shell.run(page.takes("ledger-server --version"));
    assert_eq!(version.out, concat!("ledger-server ", env!("CARGO_PKG_VERSION"), "\n"));
    shell.run(page.takes("ledger-server restore backup --into ledger-data.new")).good();
    assert_eq!(shell.serve("ledger-server --data-dir ledger-data.new").total(), 15);
    page.is_done_but_for(&[]);
}

#[test]
fn a_look_at_what_is_there() {
    let page = Page::of("# Runbook");
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    charge(&running, 1..4);
    page.says("None changes anything, and all may be used while the server runs");
    let health = running.ask(page.takes("curl -s localhost:8080/health")).good();
    assert_eq!((&health["status"], &health["durable_seq"]), (&"ok".into(), &3.into()), "{health}");
    for _ in 0..2 {
        let verified = shell.run(page.takes("ledger-server verify ledger-data")).good();
        assert_eq!((&verified["ok"], &verified["seq"]), (&true.into(), &3.into()), "{verified}");
        let shown = shell.run(page.takes("ledger-server inspect ledger-data | tail"));
        assert_eq!((shown.code, shown.out.lines().count()), (0, 3), "{shown:?}");
    }
    assert_eq!((running.total(), running.stop()), (15.into(), Some(0)));
    shell.run(page.takes("cp -a ledger-data ledger-data.before")).good();
    assert_eq!(shell.serve("ledger-server --data-dir ledger-data.before").total(), 15);
    page.is_done_but_for(&[]);
}
