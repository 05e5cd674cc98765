//! The head of history: what is served, and what a check against it finds.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use ledger_core::Ledger;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::runbook::shell::{Shell, until};
use crate::support::Server;

fn verify(directory: &std::path::Path, expected: &str) -> (i32, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_ledger-server"))
        .args(["verify", "--expect-head", expected])
        .arg(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap_or(serde_json::Value::Null))
}

#[tokio::test]
async fn a_ledger_in_memory_has_no_head() {
    let server = Server::new();
    assert_eq!(server.get("/head").await.code(), "not_found");
    assert_eq!(server.get("/head?x=1").await.status, 400);
}

#[tokio::test]
async fn history_that_was_only_appended_to_leads_from_every_head_that_was_served() {
    let (server, _, directory) = Server::on_a_failing_disk();
    let mut heads = Vec::new();
    for n in 1..=5 {
        server.charge(1, n, &format!("k{n}")).await;
        let head = server.get("/head").await;
        assert_eq!(head.status, 200, "{}", head.text);
        let head = head.json();
        assert_eq!(head["ledger"], server.ledger.uuid().to_string());
        assert!(head.get("signature").is_none());
        heads.push(format!("{}@{}", head["head"].as_str().unwrap(), head["seq"]));
    }
    server.ledger.close().unwrap();
    let last = server.ledger.head().unwrap();
    assert_eq!(last.seq.get(), 5, "a closed ledger's head is its last entry's");
    heads.push(last.to_string());
    for head in &heads {
        let (code, found) = verify(directory.path(), head);
        assert_eq!((code, &found["ok"]), (0, &true.into()), "{head}: {found}");
        assert_eq!(found["head"], last.hex(), "{found}");
    }
}

#[test]
fn another_history_of_the_same_length_is_told_apart() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let ledger = Ledger::options().open(one.path()).unwrap();
    ledger.close().unwrap();
    // A copy of the empty ledger has the same identity; then the two go their own ways.
    for file in std::fs::read_dir(one.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), two.path().join(file.file_name())).unwrap();
    }
    let head = [(&one, 5), (&two, 6)].map(|(directory, amount)| {
        let ledger = Ledger::open(directory.path()).unwrap();
        let key = ledger_core::IdempotencyKey::new("k").unwrap();
        let (user, amount) = (ledger_core::UserId::new(1).unwrap(), ledger_core::Amount::new(amount).unwrap());
        ledger.charge(ledger_core::Charge::new(user, amount, key)).unwrap().wait().unwrap();
        ledger.close().unwrap();
        ledger.head().unwrap()
    });
    assert_ne!(head[0], head[1]);
    assert_eq!(verify(one.path(), &head[0].to_string()).0, 0);
    let (code, found) = verify(two.path(), &head[0].to_string());
    assert_eq!((code, &found["ok"], &found["seq"]), (1, &false.into(), &1.into()), "{found}");
    assert!(found["reason"].as_str().unwrap().contains(&head[1].hex()), "{found}");
    let beyond = ledger_core::Head { seq: ledger_core::Seq::new(2), ..head[0] };
    let (code, found) = verify(one.path(), &beyond.to_string());
    assert_eq!(code, 1);
    assert!(found["reason"].as_str().unwrap().contains("the log ends with seq 1"), "{found}");
    assert_eq!(verify(one.path(), "nonsense").0, 2);
}

/// The key of RFC 8032, 7.1, test 1, as openssl wrote it.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";
/// Its public part, as the RFC gives it.
const PUBLIC_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Each of what differs from `bytes` in one bit.
fn with_a_bit_flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut other = bytes.to_owned();
        other[bit / 8] ^= 1 << (bit % 8);
        other
    })
}

#[test]
fn the_program_signs_the_head_that_it_serves_so_that_who_has_the_public_key_can_check_it() {
    let shell = Shell::new();
    let mut key = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(shell.path("key")).unwrap();
    key.write_all(KEY.as_bytes()).unwrap();
    let running = shell.serve("ledger-server --data-dir ledger-data --signing-key-file key");
    running.charge("first").good();
    running.charge("second").good();
    // Callers are answered before the head is computed.
    let served = until(|| Some(running.get("/head").good()).filter(|served| served["seq"] == 2));
    let [ledger, head, signature, public_key] =
        ["ledger", "head", "signature", "public_key"].map(|name| served[name].as_str().unwrap());
    assert_eq!(public_key, PUBLIC_KEY);
    assert!(running.logged("opened ledger").contains(&format!("opened ledger {ledger} at seq 0")));

    let is_signed = |text: &[u8], signature: &[u8]| {
        UnparsedPublicKey::new(&ED25519, bytes(PUBLIC_KEY)).verify(text, signature).is_ok()
    };
    let (text, signature) = (format!("ledger head v1 {ledger} {head}@2").into_bytes(), bytes(signature));
    assert!(is_signed(&text, &signature), "{served}");
    assert!(!with_a_bit_flipped(&text).any(|other| is_signed(&other, &signature)));
    assert!(!with_a_bit_flipped(&signature).any(|other| is_signed(&text, &other)));
    for other in [&text[..text.len() - 1], &[&text[..], b"\n"].concat()] {
        assert!(!is_signed(other, &signature), "{}", String::from_utf8_lossy(other));
    }

    assert_eq!(running.stop(), Some(0));
    let data = shell.path("ledger-data");
    let (code, found) = verify(&data, &format!("{head}@2"));
    assert_eq!((code, &found["head"]), (0, &head.into()), "{found}");
    let other = head.replace(|digit| digit != '0', "1");
    for another in [format!("{head}@1"), format!("{other}@2")] {
        let (code, found) = verify(&data, &another);
        assert_eq!((code, &found["ok"]), (1, &false.into()), "{another}: {found}");
    }
}
