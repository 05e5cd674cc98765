//! The worst day: a directory that is refused, and what is made of it.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use ledger_core::{Amount, Charge, IdempotencyKey, Ledger, TransactionId, UserId, Withdraw};
use serde_json::Value;

fn server(arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ledger-server")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let json = serde_json::from_str(&text(output.stdout)).unwrap_or(Value::Null);
    (output.status.code().unwrap(), json, text(output.stderr))
}

fn charge(ledger: &Ledger, n: u64) {
    let key = format!("k{n}");
    let (user, amount) = (UserId::new(1).unwrap(), Amount::new(10).unwrap());
    ledger.charge(Charge::new(user, amount, IdempotencyKey::new(&key).unwrap())).unwrap().wait().unwrap();
}

/// Fourteen charges and a withdrawal in the first opening, ten charges in the second; the second's fifth is damaged.
fn damaged(directory: &Path) -> TransactionId {
    let ledger = Ledger::open(directory).unwrap();
    (0..14).for_each(|n| charge(&ledger, n));
    let key = IdempotencyKey::new("w").unwrap();
    let withdraw = Withdraw::new(UserId::new(1).unwrap(), Amount::new(7).unwrap(), key);
    let id = ledger.withdraw(withdraw).unwrap().wait().unwrap().transaction_id;
    ledger.close().unwrap();
    let ledger = Ledger::open(directory).unwrap();
    (14..24).for_each(|n| charge(&ledger, n));
    ledger.close().unwrap();
    let segments = || std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let last = segments().filter(|path| has_frame(path)).max().unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(last).unwrap();
    file.seek(SeekFrom::Start((2 + 4) * 4096 + 90)).unwrap();
    file.write_all(b"rot").unwrap();
    id
}

fn has_frame(path: &Path) -> bool {
    let is_segment = path.extension().is_some_and(|extension| extension == "segment");
    is_segment && std::fs::read(path).unwrap()[8192..].iter().any(|byte| *byte != 0)
}

#[test]
fn what_can_be_proved_goes_into_a_new_directory_and_open_withdrawals_are_in_doubt() {
    let parent = tempfile::tempdir().unwrap();
    let (old, new) = (parent.path().join("old"), parent.path().join("new"));
    let withdrawal = damaged(&old);
    let before = ledger_core::verify(&old);
    assert!(before.is_err());
    let [from, into] = [&old, &new].map(|path| path.to_str().unwrap());
    assert_eq!(server(&["salvage", from, "--into", into]).0, 2, "not without the words");
    let (code, report, error) = server(&["salvage", from, "--into", into, "--i-accept-losing-entries"]);
    assert_eq!(code, 0, "{error}");
    assert_eq!((&report["seq"], &report["known_durable_seq"]), (&19.into(), &25.into()), "{report}");
    assert_eq!((&report["known_durable_lost"], &report["withdrawals_in_doubt"]), (&6.into(), &1.into()), "{report}");
    assert!(report["epoch"].as_u64().unwrap() > 1 << 20, "{report}");
    let given_up = &report["given_up"][0];
    assert_eq!((&given_up["offset"], &given_up["last_seq"]), (&((2 + 4) * 4096).into(), &25.into()), "{report}");
    assert!(ledger_core::verify(&old).is_err(), "the source is as it was");

    let head = format!("{}@19", report["head"].as_str().unwrap());
    assert_eq!(server(&["verify", into, "--expect-head", &head]).0, 0);
    let ledger = Ledger::open(&new).unwrap();
    let user = UserId::new(1).unwrap();
    let balance = ledger.balance(user, ledger_core::Currency::USD).unwrap().wait().unwrap();
    assert_eq!((balance.total(), balance.reserved), (180, 7));
    let doubted = ledger.withdrawal(withdrawal).unwrap().wait().unwrap().unwrap();
    assert_eq!(doubted.substatus.as_str(), "unknown", "the bank is asked before anything is sent");
    charge(&ledger, 30);
    ledger.close().unwrap();

    let (code, _, error) = server(&["salvage", from, "--into", into, "--i-accept-losing-entries"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("is not empty"), "{error}");
    let nowhere = parent.path().join("nowhere");
    let salvage =
        ["salvage", nowhere.to_str().unwrap(), "--into", nowhere.to_str().unwrap(), "--i-accept-losing-entries"];
    assert_eq!(server(&salvage).0, 2, "no such directory");

    let (code, said, error) = server(&["release", into]);
    assert_eq!((code, &said["released"], error.as_str()), (0, &true.into(), ""));
    for released_before_or_never_restored in [into, from] {
        let (code, said, error) = server(&["release", released_before_or_never_restored]);
        assert_eq!((code, &said["released"]), (0, &false.into()), "{error}");
        assert!(error.contains("nothing to release"), "{error}");
    }
    assert_eq!(server(&["release", nowhere.to_str().unwrap()]).0, 2, "no such directory");
}

#[test]
fn a_log_that_is_gone_is_named_and_not_the_mark_that_is_whole() {
    let parent = tempfile::tempdir().unwrap();
    let (old, new) = (parent.path().join("old"), parent.path().join("new"));
    damaged(&old);
    for file in std::fs::read_dir(&old).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "segment") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let [from, into] = [&old, &new].map(|path| path.to_str().unwrap());
    let (code, _, error) = server(&["salvage", from, "--into", into, "--i-accept-losing-entries"]);
    assert_eq!((code, new.exists()), (1, false), "{error}");
    assert!(error.contains("no segment of the log is there") && !error.contains("durable.mark"), "{error}");
    assert!(error.contains("up to seq 25 was durable"), "{error}");
}

#[test]
fn what_cannot_be_salvaged_is_exit_1() {
    let parent = tempfile::tempdir().unwrap();
    let (old, new) = (parent.path().join("old"), parent.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    std::fs::write(old.join("0000000000000001.segment"), "nonsense").unwrap();
    let [from, into] = [&old, &new].map(|path| path.to_str().unwrap());
    let (code, _, error) = server(&["salvage", from, "--into", into, "--i-accept-losing-entries"]);
    assert_eq!(code, 1, "{error}");
}
