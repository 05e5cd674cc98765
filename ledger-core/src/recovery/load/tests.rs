//! Snapshots whose checksums are right and whose words are not, as nobody wrote them: a file is taken apart, one thing in it
//! is changed, and it is sealed again. What cannot be is refused when it is loaded, and named; what could be, and was not,
//! is known to `verify`, which compares with the log.

use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::inspect::verify_storage;
use crate::journal::snapshot::{FileWriter, Header, Sink};
use crate::sim::{SimClock, SimDisk};
use crate::state::account::Frozen;
use crate::state::cut::FrozenSums;
use crate::state::history::RecordRef;
use crate::state::shard::HeldWithdrawal;
use crate::types::{Amount, Currency, IdempotencyKey, Timestamp, TransactionId, UserId};
use crate::withdrawals::{AttemptClass, Submission};
use crate::{Charge, Command, Transfer, Withdraw};

const SHARDS: usize = 4;
/// So many that each shard has some KiB of records, and so anchors, in each file.
const USERS: u64 = 24;
/// The last entry of the newest snapshot.
const LAST_SEQ: u64 = 320;
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000).expect("a time of this century");

fn options(clock: &SimClock) -> Options {
    let options = Options::default().threads(false).segment_bytes(1 << 20).shards(SHARDS);
    options.history_bytes(0).accept_clock(true).clock(clock.clone())
}

fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

fn euro() -> Currency {
    Currency::new("EUR").unwrap()
}

/// Two rounds of everything, each with a snapshot after it: holds of which some have matured, two currencies, transfers,
/// withdrawals that are open, paid and rejected.
fn write(disk: &SimDisk) {
    let clock = SimClock::at(START);
    let ledger = options(&clock).open_on(disk.clone()).unwrap();
    for round in 0..2 {
        for n in 1..=USERS {
            let names = ["charge", "held", "euros", "paid", "open", "out"].map(|what| format!("{what} {round} {n}"));
            let [charge, held, euros, paid, open, out] =
                names.each_ref().map(|name| IdempotencyKey::new(name).unwrap());
            let amount = |minor| Amount::new(minor).unwrap();
            let later = |seconds| ledger.now().saturating_add(Duration::from_secs(seconds));
            let commands: [Command<'_>; 6] = [
                Charge::new(user(n), amount(1_000 * n), charge).into(),
                Charge::new(user(n), amount(n), held).release_at(later(5 * n)).into(),
                Charge::new(user(n), amount(70 + n), euros).currency(euro()).into(),
                Transfer::new(user(n), user(n % USERS + 1), amount(30 + n), paid).into(),
                Withdraw::new(user(n), amount(40 + n), open).into(),
                Withdraw::new(user(n), amount(50 + n), out).into(),
            ];
            for command in commands {
                ledger.submit(command).and_then(|commit| commit.wait()).unwrap();
            }
        }
        for (n, due) in ledger.due_withdrawals(true, 8).into_iter().enumerate() {
            let class = if n % 2 == 0 { AttemptClass::Settled } else { AttemptClass::Rejected };
            let attempt = ledger.start_attempt(due.id).and_then(|commit| commit.wait()).unwrap();
            let ended = Submission { class, evidence: "so it was".into() };
            ledger.end_attempt(due.id, attempt.number, &ended).and_then(|commit| commit.wait()).unwrap();
        }
        clock.advance(Duration::from_secs(17));
        ledger.checkpoint().unwrap();
    }
    ledger.close().unwrap();
}

/// A file, taken apart.
struct Parts {
    name: String,
    header: Header,
    blocks: Vec<(Kind, u16, Vec<u8>)>,
}

impl Parts {
    fn of(file: &FileReader<'_>) -> Parts {
        let mut blocks = Vec::new();
        for section in file.sections() {
            let visit = &mut |payload: &[u8]| {
                blocks.push((section.kind, section.shard, payload.to_vec()));
                Ok(())
            };
            file.read_section(section, visit).unwrap();
        }
        Parts { name: file.name().to_owned(), header: *file.header(), blocks }
    }

    /// Writes the file again; its length and digest.
    fn seal(&self, disk: &SimDisk) -> (u64, u128) {
        let mut file = FileWriter::create(disk, &self.name, &self.header).unwrap();
        for (kind, shard, payload) in &self.blocks {
            file.block(*kind, *shard, payload).unwrap();
        }
        let sealed = file.finish().unwrap();
        disk.rename(&names::temporary(&self.name), &self.name).unwrap();
        sealed
    }

    /// The blocks of one kind.
    fn of_kind(&mut self, kind: Kind) -> impl Iterator<Item = &mut (Kind, u16, Vec<u8>)> {
        self.blocks.iter_mut().filter(move |block| block.0 == kind)
    }
}

/// The newest snapshot of a ledger of its own, which may be changed.
struct Forged {
    disk: SimDisk,
    uuid: Uuid,
    seq: Seq,
    snapshot: Parts,
    histories: Vec<Parts>,
    meta: Meta,
}

impl Forged {
    fn new() -> Forged {
        static WRITTEN: OnceLock<SimDisk> = OnceLock::new();
        let written = WRITTEN.get_or_init(|| {
            let disk = SimDisk::new(1);
            write(&disk);
            disk
        });
        let disk = written.after_kill();
        let uuid = wal::identity(&disk).unwrap().unwrap();
        let seq = snapshots(&disk).unwrap()[0];
        let Opened { snapshot, histories, meta } = Opened::new(&disk, uuid, seq).unwrap();
        let histories: Vec<Parts> = histories.iter().map(Parts::of).collect();
        assert_eq!((histories.len(), seq), (2, Seq::new(LAST_SEQ)));
        let snapshot = Parts::of(&snapshot);
        Forged { disk, uuid, seq, snapshot, histories, meta }
    }

    /// Seals everything: the snapshot names the history files as they are now.
    fn seal(mut self) -> (SimDisk, Uuid, Seq) {
        for (parts, file) in self.histories.iter().zip(&mut self.meta.histories) {
            (file.bytes, file.digest) = parts.seal(&self.disk);
        }
        self.seal_snapshot()
    }

    fn seal_snapshot(mut self) -> (SimDisk, Uuid, Seq) {
        if let Some((.., payload)) = self.snapshot.of_kind(Kind::Meta).next() {
            payload.clear();
            self.meta.encode(payload);
        }
        self.snapshot.seal(&self.disk);
        (self.disk, self.uuid, self.seq)
    }

    /// All rows of a kind, shard by shard, to be changed.
    fn change_sums(&mut self, change: impl FnOnce(&mut Vec<(u16, FrozenSums)>)) {
        let mut all = Vec::new();
        for (_, shard, payload) in self.snapshot.of_kind(Kind::Sums) {
            rows::take_sums(payload, &mut |sums| all.push((*shard, *sums))).unwrap();
            payload.clear();
        }
        change(&mut all);
        for (_, shard, payload) in self.snapshot.of_kind(Kind::Sums) {
            all.iter().filter(|(of, _)| of == shard).for_each(|(_, sums)| rows::put_sums(sums, payload));
        }
    }

    fn change_accounts(&mut self, change: impl FnOnce(&mut Vec<(u16, Frozen)>)) {
        let mut all = Vec::new();
        for (_, shard, payload) in self.snapshot.of_kind(Kind::Accounts) {
            let each = &mut |account: &Frozen| {
                all.push((*shard, *account));
                Ok(())
            };
            rows::take_accounts(payload, each).unwrap();
            payload.clear();
        }
        change(&mut all);
        for (_, shard, payload) in self.snapshot.of_kind(Kind::Accounts) {
            all.iter().filter(|(of, _)| of == shard).for_each(|(_, account)| rows::put_account(account, payload));
        }
    }

    /// Of the newest history file.
    fn change_withdrawals(&mut self, change: impl FnOnce(&mut Vec<(u16, HeldWithdrawal)>)) {
        let (mut all, uuid) = (Vec::new(), self.uuid);
        let newest = self.histories.last_mut().unwrap();
        for (_, shard, payload) in newest.of_kind(Kind::Withdrawals) {
            let each = &mut |held| {
                all.push((*shard, held));
                Ok(())
            };
            rows::take_withdrawals(payload, uuid, each).unwrap();
            payload.clear();
        }
        change(&mut all);
        for (_, shard, payload) in newest.of_kind(Kind::Withdrawals) {
            all.iter().filter(|(of, _)| of == shard).for_each(|(_, held)| rows::put_withdrawal(held, payload));
        }
    }
}

/// That it is loaded, or why not.
fn load_forged((disk, uuid, seq): &(SimDisk, Uuid, Seq)) -> Result<(), String> {
    load_one(disk, *uuid, *seq).map(|_| ()).map_err(|refused| match refused {
        OpenError::Damaged { file, reason, .. } => format!("{file}: {reason}"),
        other => panic!("{other}"),
    })
}

/// That what was changed is refused, by these words among others; and that `verify` says so, and an opening passes it over.
fn refuses(what: &str, words: &str, change: impl FnOnce(&mut Forged)) {
    let mut forged = Forged::new();
    change(&mut forged);
    let sealed = forged.seal();
    is_refused(what, words, &sealed);
}

fn is_refused(what: &str, words: &str, sealed: &(SimDisk, Uuid, Seq)) {
    match load_forged(sealed) {
        Err(refused) => assert!(refused.contains(words), "{what}: {refused}"),
        Ok(()) => panic!("{what}: it was loaded"),
    }
    assert!(verify_storage(&sealed.0).is_err(), "{what}: verify was content");
    let opened = options(&SimClock::at(START)).open_on(sealed.0.after_kill()).unwrap();
    let recovered = opened.recovered();
    assert_eq!(recovered.passed_over.len(), if recovered.snapshot == Seq::ZERO { 2 } else { 1 }, "{what}");
    assert!(opened.audit_deep().unwrap().wait().unwrap().is_balanced(), "{what}");
}

/// That what was changed is loaded, since it could be, and is not what the log says.
fn verify_alone_refuses(what: &str, change: impl FnOnce(&mut Forged)) {
    let mut forged = Forged::new();
    change(&mut forged);
    let sealed = forged.seal();
    assert_eq!(load_forged(&sealed), Ok(()), "{what}");
    assert!(verify_storage(&sealed.0).is_err(), "{what}: verify was content");
}

#[test]
fn what_is_taken_apart_and_sealed_again_is_loaded() {
    let mut forged = Forged::new();
    forged.change_sums(|_| ());
    forged.change_accounts(|_| ());
    forged.change_withdrawals(|_| ());
    let sealed = forged.seal();
    assert_eq!(load_forged(&sealed), Ok(()));
    assert_eq!(verify_storage(&sealed.0).unwrap().snapshots, 2);
}

#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let name = |change: fn(&mut Meta)| move |forged: &mut Forged| change(&mut forged.meta);
    refuses("another seq", "under another's name", name(|meta| meta.seq = meta.seq.next()));
    refuses("an anchor before it", "under another's name", name(|meta| meta.anchor = Seq::new(meta.seq.get() - 1)));
    refuses("no shard", "under another's name", name(|meta| meta.shards = 0));
    refuses("too many shards", "under another's name", name(|meta| meta.shards = SHARDS_MAX as u16 + 1));
    refuses("fewer shards", "a section that does not belong", name(|meta| meta.shards -= 1));
    refuses("more shards", "cannot be", name(|meta| meta.shards += 1));
    refuses("another seed", "does not belong here", name(|meta| meta.key_seed ^= 1));
    refuses("an account less", "accounts and names", name(|meta| meta.accounts -= 1));
    refuses("an account more", "accounts and names", name(|meta| meta.accounts += 1));
    refuses("a record more", "not as many records and keys", name(|meta| meta.histories[0].records += 1));
    refuses("a key less", "not as many records and keys", name(|meta| meta.histories[1].keys -= 1));
    refuses("a gap", "a gap after seq 0", name(|meta| meta.histories[0].since = Seq::new(1)));
    refuses(
        "a file that ends where it begins",
        "a gap after",
        name(|meta| meta.histories[1].seq = meta.histories[1].since),
    );
    refuses("a file less", "its history ends with", name(|meta| meta.histories.truncate(1)));
    refuses("no file", "its history ends with seq 0", name(|meta| meta.histories.clear()));
    refuses(
        "another file's epoch",
        "it is missing",
        name(|meta| meta.histories[1].epoch = crate::types::Epoch::new(9)),
    );
    verify_alone_refuses("another time", name(|meta| meta.time = meta.time.saturating_add(Duration::from_micros(1))));
    refuses(
        "a much later time",
        "the holds of account",
        name(|meta| {
            meta.time = meta.time.saturating_add(Duration::from_secs(86_400));
        }),
    );
}

#[test]
fn a_history_file_that_is_not_the_one_that_is_named_is_refused() {
    let changes: [fn(&mut HistoryFile); 2] = [|file| file.bytes += 1, |file| file.digest ^= 1];
    for change in changes {
        let mut forged = Forged::new();
        change(&mut forged.meta.histories[1]);
        is_refused("named otherwise", "it is not the file that", &forged.seal_snapshot());
    }
    let headers: [fn(&mut Header); 3] = [
        |header| header.seq = header.seq.next(),
        |header| header.since = header.since.next(),
        |header| header.epoch = crate::types::Epoch::new(9),
    ];
    for change in headers {
        refuses("a header", "it is not the file that", |forged| change(&mut forged.histories[1].header));
    }
    refuses("another kind of file", "another kind of file", |forged| {
        forged.histories[1].header.kind = FileKind::Snapshot;
    });
    refuses("another ledger's", "it belongs to ledger", |forged| forged.histories[0].header.uuid = Uuid::nil());
    refuses("a snapshot of another seq", "under another's name", |forged| {
        forged.snapshot.header.seq = forged.snapshot.header.seq.next();
    });
}

#[test]
fn a_section_that_nobody_reads_or_that_comes_twice_is_refused() {
    use Kind::{Accounts, Anchors, Keys, Locator, Meta, Records, Sums, Withdrawals};
    let add = |file: fn(&mut Forged) -> &mut Parts, kind: Kind, shard: u16| {
        refuses(&format!("{kind:?} of {shard}"), "does not belong there", |forged| {
            file(forged).blocks.push((kind, shard, vec![0; 8]));
        });
    };
    let snapshot: fn(&mut Forged) -> &mut Parts = |forged| &mut forged.snapshot;
    let history: fn(&mut Forged) -> &mut Parts = |forged| &mut forged.histories[1];
    for kind in [Anchors, Records, Withdrawals, Keys, Locator] {
        add(snapshot, kind, 0);
        add(history, kind, super::Keys::LOCKS as u16);
    }
    for kind in [Meta, Sums, Accounts] {
        add(history, kind, 0);
        add(snapshot, kind, SHARDS as u16);
    }
    add(snapshot, Meta, 1);
    add(history, Locator, 1);
    // One of each is there already, and another stands between.
    for kind in [Sums, Accounts] {
        add(snapshot, kind, 0);
    }
    for kind in [Anchors, Records, Withdrawals, Keys] {
        refuses(&format!("{kind:?} again"), "does not belong there", |forged| {
            let blocks = &mut forged.histories[1].blocks;
            blocks.extend(blocks.iter().find(|block| block.0 == kind).cloned());
        });
    }
    refuses("no meta section", "it does not say what it is", |forged| {
        // It is last, and written anew where it is found.
        forged.snapshot.blocks.retain(|block| block.0 != Meta);
        forged.snapshot.blocks.push((Sums, 0, Vec::new()));
    });
}

/// What is done to a row, and the words by which that is refused.
type Change<'a, T> = (&'static str, &'a dyn Fn(&mut T));

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn sums_that_are_not_those_of_the_accounts_are_refused(row in any::<Index>(), by in 1..1_000_000_u64) {
        let changes: [Change<'_, FrozenSums>; 9] = [
            ("accounts", &|sums| sums.accounts += by),
            ("accounts", &|sums| sums.accounts -= 1),
            ("accounts", &|sums| sums.total += u128::from(by)),
            ("accounts", &|sums| sums.reserved += u128::from(by)),
            ("come to", &|sums| sums.external += i128::from(by)),
            ("come to", &|sums| sums.suspense -= i128::from(by)),
            ("sums in", &|sums| sums.suspense = i128::MIN + i128::from(by)),
            ("sums in", &|sums| sums.external = i128::MAX - i128::from(by)),
            ("cannot be", &|sums| sums.currency = Currency::new("XTS").unwrap()),
        ];
        for (words, change) in changes {
            refuses("sums", words, |forged| forged.change_sums(|rows| change(&mut row.get_mut(rows).1)));
        }
    }

    #[test]
    fn an_account_that_cannot_be_is_refused(row in any::<Index>(), by in 1..1_000_000_u64) {
        let most = crate::types::INTEGER_MAX;
        let changes: [Change<'_, Frozen>; 11] = [
            ("cannot be", &|account| account.last_seq = Seq::ZERO),
            ("cannot be", &|account| account.last_seq = Seq::new(LAST_SEQ + by)),
            ("are not what their sums say", &|account| account.total += by),
            ("cannot be", &|account| {
                // Only where something is held or reserved is there a total below.
                (account.held, account.next_release_at) = (account.held + 1, Some(START));
                account.total = account.held + account.reserved - 1;
            }),
            ("cannot be", &|account| account.total = most + by),
            ("", &|account| account.reserved += 1),
            ("cannot be", &|account| account.reserved = account.total - account.held + by),
            ("cannot be", &|account| account.reserved = u64::MAX - by),
            ("", &|account| (account.held, account.next_release_at) = (account.held + 1, Some(START))),
            ("the holds of account", &|account| {
                (account.held, account.next_release_at) = match account.next_release_at {
                    Some(at) => (account.held, Some(at.saturating_add(Duration::from_secs(by)))),
                    None => (1, Some(START)),
                };
            }),
            ("cannot be", &|account| account.currency = Currency::new("XTS").unwrap()),
        ];
        for (words, change) in changes {
            refuses("an account", words, |forged| forged.change_accounts(|rows| {
                let account = &mut row.get_mut(rows).1;
change(account);
            }));
        }
    }

    #[test]
    fn a_withdrawal_that_is_not_its_record_is_refused(row in any::<Index>(), by in 1..1_000_u64) {
        let later = |id: TransactionId| TransactionId::new(id.get() + by).unwrap();
        let changes: [Change<'_, HeldWithdrawal>; 8] = [
            ("", &|held| held.withdrawal.id = later(held.withdrawal.id)),
            ("has no record", &|held| held.record = RecordRef::from_raw(held.record.get() + by as u32)),
            ("has no record", &|held| held.record = RecordRef::from_raw(u32::MAX)),
            ("an account that is not there", &|held| held.slot = u32::MAX - by as u32),
            ("has no record", &|held| held.slot = u32::from(held.slot == 0)),
            ("is not what its record says", &|held| held.withdrawal.user = user(1_000 + by)),
            ("is not what its record says", &|held| held.withdrawal.currency = euro()),
            ("is not what its record says", &|held| {
                held.withdrawal.amount = Amount::new(held.withdrawal.amount.minor() + by).unwrap();
            }),
        ];
        for (words, change) in changes {
            refuses("a withdrawal", words, |forged| forged.change_withdrawals(|rows| change(&mut row.get_mut(rows).1)));
        }
    }
}

#[test]
fn an_account_that_comes_twice_or_in_another_shard_is_refused() {
    refuses("twice", "cannot be", |forged| forged.change_accounts(|rows| rows.push(rows[0])));
    refuses("none", "", |forged| forged.change_accounts(|rows| rows.truncate(rows.len() - 1)));
    refuses("in another shard", "", |forged| {
        forged.change_accounts(|rows| {
            let (one, other) = (rows[0].0, rows.last().unwrap().0);
            assert_ne!(one, other);
            rows.iter_mut().for_each(|row| {
                row.0 = if row.0 == one {
                    other
                } else if row.0 == other {
                    one
                } else {
                    row.0
                }
            });
        });
    });
    refuses("of a user of another shard", "cannot be", |forged| {
        forged.change_accounts(|rows| {
            let shard = rows[0].0;
            let stranger = rows.iter().find(|row| row.0 != shard).unwrap().1.user;
            let own = rows[0].1.user;
            rows.iter_mut().filter(|row| row.1.user == own).for_each(|row| row.1.user = stranger);
        });
    });
}

#[test]
fn an_account_without_a_history_has_no_money() {
    let add = |total: u64| {
        move |forged: &mut Forged| {
            let tables = Tables::new(SHARDS);
            let stranger = (1_000..).map(user).find(|user| tables.shard_of(*user) == 0).unwrap();
            forged.change_sums(|rows| {
                let (_, sums) = rows.iter_mut().find(|row| row.0 == 0 && row.1.currency == euro()).unwrap();
                (sums.accounts, sums.total) = (sums.accounts + 1, sums.total + u128::from(total));
                sums.external -= i128::from(total);
            });
            forged.change_accounts(|rows| {
                let (held, reserved) = (0, 0);
                let last_seq = Seq::new(LAST_SEQ);
                let frozen =
                    Frozen { user: stranger, currency: euro(), total, reserved, held, next_release_at: None, last_seq };
                rows.push((0, frozen));
            });
            forged.meta.accounts += 1;
        }
    };
    refuses("money from nowhere", "has money and no history", add(1));
    verify_alone_refuses("nothing", add(0));
}

#[test]
fn withdrawals_that_records_do_not_know_are_refused() {
    refuses("one less", "withdrawals and", |forged| {
        let since = forged.meta.histories[1].since;
        forged.change_withdrawals(|rows| {
            let new = rows.iter().position(|row| row.1.withdrawal.id.seq() > since).unwrap();
            rows.remove(new);
        });
    });
    // In its record's place the charge with which its user's entries began: it was never pending.
    refuses("of a charge", "is not what its record says", |forged| {
        let tables = load_one(&forged.disk, forged.uuid, forged.seq).unwrap().0;
        let since = forged.meta.histories[1].since;
        forged.change_withdrawals(|rows| {
            let (shard, held) = rows.iter_mut().find(|row| row.1.withdrawal.id.seq() > since).unwrap();
            let shard = tables.shards[usize::from(*shard)].write();
            let list = &shard.accounts.get(held.slot).list;
            let charge = shard.history.nth(list, 0);
            (held.withdrawal.id, held.record) = (shard.history.get(charge).id, charge);
        });
    });
}

#[test]
fn keys_that_lie_wrong_are_refused() {
    let change = |what: &str, words: &str, change: &dyn Fn(&mut Vec<u8>)| {
        refuses(what, words, |forged| change(&mut forged.histories[0].of_kind(Kind::Keys).next().unwrap().2));
    };
    change("a key that is cut off", "a key that is cut off", &|keys| keys.truncate(keys.len() - 1));
    change("an empty key", "a key that is cut off", &|keys| keys[0] = 0);
    change("a key of no transaction", "a key that is cut off", &|keys| keys[1..7].fill(0));
    change("another key", "does not belong here", &|keys| *keys.last_mut().unwrap() ^= 1);
    change("a key that is no text", "does not belong here", &|keys| *keys.last_mut().unwrap() = 0xFF);
    change("a key of a later transaction", "which is later", &|keys| keys[1..7].fill(0xFF));
    let last_of_first = |forged: &Forged| forged.meta.histories[0].seq;
    refuses("a key of the next transaction", "which is later", |forged| {
        let next = last_of_first(forged).next().get();
        let keys = &mut forged.histories[0].of_kind(Kind::Keys).next().unwrap().2;
        keys[1..7].copy_from_slice(&next.to_le_bytes()[..6]);
    });
}

#[test]
fn a_locator_that_is_wrong_is_refused() {
    let change = |what: &str, words: &str, change: &dyn Fn(&mut Vec<u8>)| {
        refuses(what, words, |forged| change(&mut forged.histories[0].of_kind(Kind::Locator).next().unwrap().2));
    };
    change("a shard that is not there", "seq 4 is said to be in shard 5", &|bytes| bytes[3] = SHARDS as u8 + 1);
    change("one seq more", "is said to be in shard", &|bytes| bytes.push(1));
    change("one seq less", "it locates the seqs up to", &|bytes| bytes.truncate(bytes.len() - 1));
    verify_alone_refuses("another shard", |forged| {
        let bytes = &mut forged.histories[0].of_kind(Kind::Locator).next().unwrap().2;
        bytes[0] = bytes[0] % SHARDS as u8 + 1;
    });
}

#[test]
fn records_that_do_not_follow_are_refused() {
    let change = |what: &str, words: &str, file: usize, change: &dyn Fn(&mut Vec<u8>)| {
        refuses(what, words, |forged| change(&mut forged.histories[file].of_kind(Kind::Records).next().unwrap().2));
    };
    change("no address", "records without an address", 0, &|bytes| bytes.truncate(7));
    change("a hole", "do not follow", 1, &|bytes| bytes[0] += 4);
    change("over each other", "do not follow", 1, &|bytes| bytes[0] -= 4);
    change("half a unit", "do not follow", 1, &|bytes| bytes[0] += 2);
    change("cut off", "no record at", 0, &|bytes| bytes.truncate(bytes.len() - 4));
    change("far away", "do not follow", 0, &|bytes| bytes[..8].copy_from_slice(&(1_u64 << 34).to_le_bytes()));
    refuses("without an anchor", "no record at", |forged| {
        forged.histories[0].of_kind(Kind::Anchors).next().unwrap().2.clear();
    });
    // The seqs of a KiB shift with its anchor.
    for (file, sign) in [(0, 1), (1, 1), (1, -1)] {
        refuses("seqs of another file", "a record of seq", |forged| {
            let by = sign * forged.meta.histories[0].seq.get() as i64;
            let anchors = &mut forged.histories[file].of_kind(Kind::Anchors).next().unwrap().2;
            for anchor in anchors.chunks_mut(16) {
                let seq = u64::from_le_bytes(anchor[..8].try_into().unwrap());
                anchor[..8].copy_from_slice(&seq.saturating_add_signed(by).max(1).to_le_bytes());
            }
        });
    }
}

#[test]
fn books_that_do_not_come_to_zero_are_refused() {
    const SUM_MAX: i128 = 1 << 100;
    let loaded = |change: &dyn Fn(&mut FrozenSums)| {
        let mut forged = Forged::new();
        forged.change_sums(|rows| change(&mut rows[0].1));
        load_forged(&forged.seal_snapshot()).map_err(|refused| refused.split_once(": ").unwrap().1.to_owned())
    };
    let currency = {
        let mut found = None;
        Forged::new().change_sums(|rows| found = Some(rows[0].1.currency));
        found.unwrap()
    };
    let come_to = |sum: i128| Err(format!("its accounts in {currency} come to {sum}, not to zero"));
    let cannot_be = Err(format!("its sums in {currency} cannot be"));
    assert_eq!(loaded(&|_| {}), Ok(()));
    assert_eq!(loaded(&|sums| sums.external += 7), come_to(7));
    assert_eq!(loaded(&|sums| sums.suspense -= 7), come_to(-7));
    // Paid after it was released: what suspense lacks came from the world outside.
    assert_eq!(loaded(&|sums| (sums.suspense, sums.external) = (sums.suspense - 7, sums.external + 7)), Ok(()));
    let no_more = |sum: i128| (SUM_MAX + 1) * sum.signum();
    for sign in [1, -1] {
        assert_eq!(loaded(&|sums| sums.suspense = no_more(sign)), cannot_be);
        assert_eq!(loaded(&|sums| sums.external = no_more(sign)), cannot_be);
        assert_eq!(loaded(&|sums| sums.suspense += SUM_MAX * sign), come_to(SUM_MAX * sign));
    }
}

#[test]
fn a_snapshot_of_a_newer_format_is_not_passed_over() {
    let Forged { disk, snapshot: Parts { name, .. }, .. } = Forged::new();
    let mut header = disk.read(&name).unwrap()[..64].to_vec();
    header[10] = 2;
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&header[..56], xxhash_rust::xxh3::xxh3_64(&header[16..32]));
    header[56..].copy_from_slice(&checksum.to_le_bytes());
    disk.overwrite(&name, 0, &header);
    match options(&SimClock::at(START)).open_on(disk.after_kill()).map(drop) {
        Err(OpenError::Unsupported { file, .. }) => assert_eq!(file, name),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_kept_is_the_snapshot_that_was_loaded_and_the_one_before_it() {
    let Forged { disk, uuid, seq, snapshot, .. } = Forged::new();
    let kept = |disk: &SimDisk| {
        let loaded = load(disk, Some(uuid), &options(&SimClock::at(START))).unwrap();
        (loaded.kept.iter().map(|kept| kept.base.seq).collect::<Vec<_>>(), loaded.passed_over.len())
    };
    let all = snapshots(&disk).unwrap();
    assert_eq!((all.len(), all[0]), (2, seq));
    assert_eq!(kept(&disk), (vec![all[1], seq], 0));
    disk.flip_bit(&snapshot.name, 70, 0);
    assert_eq!(kept(&disk), (vec![all[1]], 1));
    disk.erase(&snapshot.name);
    assert_eq!(kept(&disk), (vec![all[1]], 0));
}

#[test]
fn every_byte_of_a_snapshot_and_of_what_it_names_is_verified() {
    let Forged { disk, uuid, seq, .. } = Forged::new();
    let verify = |disk: &SimDisk| Opened::new(disk, uuid, seq).unwrap().verify();
    verify(&disk).unwrap();
    for name in Opened::new(&disk, uuid, seq).unwrap().file_names() {
        let bad = disk.after_kill();
        // In the payload of its first block.
        bad.flip_bit(&name, 64 + 16 + 3, 0);
        assert!(verify(&bad).is_err(), "{name}");
    }
}

#[test]
fn progress_is_told_every_four_mebibytes_by_the_share_that_was_read() {
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |progress: Progress| told.lock().unwrap().push((progress.done, progress.total));
    const MIB: u64 = 1 << 20;
    let progress = Told { tell: &tell, read: AtomicU64::new(0), bytes: 10 * MIB, entries: 1_000 };
    for (bytes, then) in [(MIB, None), (3 * MIB - 1, None), (1, Some(400)), (3 * MIB, None), (2 * MIB, Some(900))] {
        let before = told.lock().unwrap().len();
        progress.read(bytes as usize);
        assert_eq!(told.lock().unwrap()[before..], then.map(|done| (done, 1_000)).into_iter().collect::<Vec<_>>());
    }
}
