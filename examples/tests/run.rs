//! Runs every example, so that none of them rots.

use std::process::Command;

/// Runs a program to its end and returns what it printed.
fn run(program: &str) -> String {
    let output = Command::new(program).output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed: {errors}");
    String::from_utf8(output.stdout).expect("examples print text")
}

#[test]
fn embed_shows_what_both_own() {
    let printed = run(env!("CARGO_BIN_EXE_embed"));
    assert!(printed.contains("left alice 3750 cents"), "{printed}");
    assert!(printed.contains("bob owns 1250 cents and may spend 1250"), "{printed}");
    assert!(printed.contains("sum to 0"), "{printed}");
}

#[test]
fn holds_mature_by_themselves() {
    let printed = run(env!("CARGO_BIN_EXE_holds"));
    for line in [
        "   now: total 8000, held 8000, withdrawable    0",
        "  then: total 8000, held    0, withdrawable 8000",
        " later: total 8000, held    0, withdrawable 8000",
        "  paid: total    0, held    0, withdrawable    0",
        "before: total 8000, held 8000, withdrawable    0",
    ] {
        assert!(printed.contains(line), "{line:?} is missing in:\n{printed}");
    }
}

#[test]
fn a_retry_counts_once() {
    let printed = run(env!("CARGO_BIN_EXE_idempotent_retry"));
    assert!(printed.contains("charged in all:   1000 cents"), "{printed}");
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let printed = run(env!("CARGO_BIN_EXE_crash_and_recover"));
    assert!(printed.contains("balanced: true"), "{printed}");
}

#[test]
fn a_bank_of_ones_own_pays_once() {
    let printed = run(env!("CARGO_BIN_EXE_own_bank"));
    assert!(printed.contains("reserved: 5000, withdrawable: 0"), "{printed}");
    assert!(printed.contains("attempts: 1, the last one ambiguous"), "{printed}");
    assert!(printed.contains("completed, as was asked at the counter"), "{printed}");
    assert!(printed.contains("paid by the bank: [5000]"), "{printed}");
}
