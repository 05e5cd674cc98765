//! What is written is what is read, and there is one way to write it.

mod exact;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::types::INTEGER_MAX;
use crate::view::TransactionKind;
use crate::withdrawals::{
    AttemptClass, InquiryAnswer, NoticeOutcome, Reservation, Resolution, ReturnCredit, Substatus,
};

/// An entry with texts of its own, for a generator to make.
#[derive(Clone, Debug)]
enum Sketch {
    Transaction {
        words: (TransactionKind, Status),
        key: String,
        fingerprint: u128,
        postings: Vec<Posting>,
        destination: Option<String>,
        metadata: Option<Vec<u8>>,
        batch: Option<BatchPosition>,
    },
    Withdrawal {
        id: TransactionId,
        user: UserId,
        currency: Currency,
        amount: Amount,
        event: Event,
        to: Substatus,
        due: Option<Timestamp>,
        evidence: String,
        operator: String,
        command: (String, u128),
    },
}

impl Sketch {
    fn entry(&self) -> Entry<'_> {
        match self {
            Sketch::Transaction { words, key, fingerprint, postings, destination, metadata, batch } => {
                Entry::Transaction(TransactionEntry {
                    kind: words.0,
                    status: words.1,
                    key: IdempotencyKey::new(key).unwrap(),
                    fingerprint: Fingerprint::new(*fingerprint),
                    postings: postings.iter().copied().collect(),
                    destination: destination.as_deref().map(|text| Destination::new(text).unwrap()),
                    metadata: metadata.as_deref().map(|bytes| Metadata::new(bytes).unwrap()),
                    batch: *batch,
                })
            }
            Sketch::Withdrawal { id, user, currency, amount, event, to, due, evidence, operator, command } => {
                Entry::Withdrawal(WithdrawalEntry {
                    id: *id,
                    user: *user,
                    currency: *currency,
                    amount: *amount,
                    event: *event,
                    to: *to,
                    due: *due,
                    evidence,
                    operator: has_operator(*event).then(|| Operator::new(operator).unwrap()),
                    command: has_command(*event)
                        .then(|| (IdempotencyKey::new(&command.0).unwrap(), Fingerprint::new(command.1))),
                })
            }
        }
    }
}

/// Of every length in bytes, up to `max`.
fn number(max: u64) -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(move |(number, shift)| (number >> shift).clamp(1, max))
}

fn amount() -> impl Strategy<Value = Amount> {
    number(INTEGER_MAX).prop_map(|n| Amount::new(n).unwrap())
}

fn user() -> impl Strategy<Value = UserId> {
    number(INTEGER_MAX).prop_map(|n| UserId::new(n).unwrap())
}

fn currency() -> impl Strategy<Value = Currency> {
    "[A-Z0-9]{3,8}".prop_map(|code| Currency::new(&code).unwrap())
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (Timestamp::MIN.micros()..=Timestamp::MAX.micros()).prop_map(|micros| Timestamp::from_micros(micros).unwrap()),
        (-300..300i64).prop_map(|micros| Timestamp::from_micros(micros).unwrap()),
    ]
}

/// Up to so many bytes of UTF-8, not empty.
fn text(bytes_max: usize) -> impl Strategy<Value = String> {
    let short = "[!-~]{1,40}".prop_map(|text: String| text);
    prop_oneof![8 => short, 1 => Just("é".repeat(bytes_max / 2)), 1 => Just("x".repeat(bytes_max))]
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![3 => user().prop_map(Party::User), 1 => Just(Party::External), 1 => Just(Party::Suspense)]
}

fn posting() -> impl Strategy<Value = Posting> {
    (currency(), amount(), party(), party(), option::of(time())).prop_map(
        |(currency, amount, debit, credit, release_at)| Posting { currency, amount, debit, credit, release_at },
    )
}

fn transaction() -> impl Strategy<Value = Sketch> {
    let kinds = (1..=4).map(|code| kind_of(code).unwrap()).collect::<Vec<_>>();
    let words = (select(kinds), select(vec![Status::Pending, Status::Completed]));
    let metadata = prop_oneof![4 => vec(any::<u8>(), 1..40), 1 => Just(vec![0; Metadata::BYTES_MAX])];
    let batch = (any::<u32>(), any::<u32>())
        .prop_filter("an index below the count", |(index, count)| index < count)
        .prop_map(|(index, count)| BatchPosition { index, count });
    let key = text(IdempotencyKey::BYTES_MAX).prop_filter("a key", |key| IdempotencyKey::new(key).is_some());
    let postings = prop_oneof![4 => vec(posting(), 1..2), 1 => vec(posting(), 2..6)];
    let rest = (option::of(text(Destination::BYTES_MAX)), option::of(metadata), option::of(batch));
    (words, key, any::<u128>(), postings, rest).prop_map(|(words, key, fingerprint, postings, rest)| {
        let (destination, metadata, batch) = rest;
        Sketch::Transaction { words, key, fingerprint, postings, destination, metadata, batch }
    })
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        (any::<u32>(), select(AttemptClass::ALL.to_vec()))
            .prop_map(|(attempt, class)| Said::Attempt { attempt, class }),
        select(InquiryAnswer::ALL.to_vec()).prop_map(|answer| Said::Inquiry { answer }),
        select(NoticeOutcome::ALL.to_vec()).prop_map(|outcome| Said::Notice { outcome }),
        select(Resolution::ALL.to_vec()).prop_map(|outcome| Said::Operator { outcome }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let credits = vec![ReturnCredit::User, ReturnCredit::Suspense, ReturnCredit::Nobody];
    let says = vec![Reservation::Stands, Reservation::Paid, Reservation::Released];
    prop_oneof![
        any::<u32>().prop_map(|attempt| Event::AttemptStarted { attempt }),
        (0..9u32, select(AttemptClass::ALL.to_vec()))
            .prop_map(|(attempt, class)| Event::AttemptEnded { attempt, class }),
        select(InquiryAnswer::ALL.to_vec()).prop_map(|answer| Event::Inquired { answer }),
        Just(Event::DeadlinePassed),
        Just(Event::Cancelled),
        select(Resolution::ALL.to_vec()).prop_map(|outcome| Event::Resolved { outcome }),
        (select(NoticeOutcome::ALL.to_vec()), time())
            .prop_map(|(outcome, occurred_at)| Event::Noticed { outcome, occurred_at }),
        (select(credits), time()).prop_map(|(credit, occurred_at)| Event::Returned { credit, occurred_at }),
        (said(), select(says), any::<bool>()).prop_map(|(said, says, posted)| Event::Contradicted {
            said,
            says,
            posted
        }),
        Just(Event::Doubted),
    ]
}

fn withdrawal() -> impl Strategy<Value = Sketch> {
    let id = number(u64::MAX).prop_map(|n| TransactionId::new(n).unwrap());
    let to = select((1..=9).map(|code| substatus_of(code).unwrap()).collect::<Vec<_>>());
    let evidence = prop_oneof![1 => Just(String::new()), 4 => text(EVIDENCE_BYTES_MAX)];
    let key = text(IdempotencyKey::BYTES_MAX).prop_filter("a key", |key| IdempotencyKey::new(key).is_some());
    let who = (text(Operator::BYTES_MAX), (key, any::<u128>()));
    (id, user(), currency(), amount(), event(), to, option::of(time()), evidence, who).prop_map(
        |(id, user, currency, amount, event, to, due, evidence, (operator, command))| Sketch::Withdrawal {
            id,
            user,
            currency,
            amount,
            event,
            to,
            due,
            evidence,
            operator,
            command,
        },
    )
}

fn sketch() -> impl Strategy<Value = Sketch> {
    prop_oneof![transaction(), withdrawal()]
}

fn encoded(entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(entry, &mut bytes);
    bytes
}

/// Whatever the bytes say, no panic; and what they say has no other bytes. The plain decoder says the same, or nothing.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let decoded = decode(bytes);
    if let Ok(entry) = &decoded {
        prop_assert_eq!(encoded(entry), bytes);
    }
    prop_assert_eq!(decode_plain(bytes), decoded.as_ref().ok().and_then(plain));
    Ok(())
}

/// What is plain of an entry: all of it, or nothing.
fn plain<'a>(entry: &Entry<'a>) -> Option<PlainEntry<'a>> {
    let Entry::Transaction(entry) = entry else { return None };
    let [posting] = entry.postings[..] else { return None };
    let goes_its_way = match (entry.kind, posting.users()) {
        (TransactionKind::Charge, [None, Some(_)]) => posting.debit == Party::External,
        (TransactionKind::Transfer, [Some(debit), Some(credit)]) => debit != credit,
        _ => false,
    };
    let is_plain = goes_its_way
        && entry.status == Status::Completed
        && (entry.destination, entry.metadata, entry.batch) == (None, None, None)
        && entry.key.as_str().is_ascii();
    let (kind, key, fingerprint) = (entry.kind, entry.key.as_str().as_bytes(), entry.fingerprint.get());
    is_plain.then_some(PlainEntry { kind, key, fingerprint, posting })
}

/// Entries that the plain decoder reads, and those that it nearly does.
fn nearly_plain() -> impl Strategy<Value = Sketch> {
    let kind = prop_oneof![9 => 1..3u8, 1 => Just(3), 1 => Just(4)].prop_map(|code| kind_of(code).unwrap());
    let status = prop_oneof![9 => Just(Status::Completed), 1 => Just(Status::Pending)];
    let key = prop_oneof![9 => "[ -~]{1,40}", 1 => "[a-zé]{1,9}", 1 => "[ -~]{255}"];
    let postings = prop_oneof![9 => vec(posting(), 1..2), 1 => vec(posting(), 2..4)];
    let batch = option::weighted(0.1, Just(BatchPosition { index: 0, count: 1 }));
    let rest = (option::weighted(0.1, text(9)), option::weighted(0.1, vec(any::<u8>(), 1..9)), batch);
    let sketch = (kind, status, key, any::<u128>(), postings, rest);
    sketch.prop_map(|(kind, status, key, fingerprint, postings, (destination, metadata, batch))| {
        let words = (kind, status);
        Sketch::Transaction { words, key, fingerprint, postings, destination, metadata, batch }
    })
}

fn damaged(mut bytes: Vec<u8>, damages: Vec<(prop::sample::Index, u8, u8)>) -> Vec<u8> {
    for (place, byte, damage) in damages {
        let place = place.index(bytes.len());
        match damage {
            0 => bytes[place] = byte,
            1 => bytes[place] ^= 1 << (byte % 8),
            2 => bytes.insert(place, byte),
            _ if bytes.len() > 1 => drop(bytes.remove(place)),
            _ => {}
        }
    }
    bytes
}

proptest! {
    #[test]
    fn every_entry_comes_back_and_takes_no_more_than_room_is_made_for(sketch in sketch()) {
        let entry = sketch.entry();
        let bytes = encoded(&entry);
        prop_assert_eq!(decode(&bytes).expect("what was encoded"), entry.clone());
        let texts = |texts: &[usize]| texts.iter().sum::<usize>();
        match &entry {
            Entry::Transaction(t) if t.postings.len() == 1 => {
                let own = [t.key.as_str().len(), t.destination.map_or(0, |d| d.as_str().len())];
                let texts = texts(&own) + t.metadata.map_or(0, |m| m.as_bytes().len());
                let batch = if t.batch.is_some() { BATCH_BYTES_MAX } else { 0 };
                prop_assert!(bytes.len() <= TRANSACTION_BYTES_MAX + texts + batch);
            }
            Entry::Transaction(_) => {}
            Entry::Withdrawal(w) => {
                let commanded = w.operator.is_some() || w.command.is_some();
                let commanded = if commanded { COMMANDED_BYTES_MAX } else { 0 };
                prop_assert!(bytes.len() <= WITHDRAWAL_BYTES_MAX + w.evidence.len() + commanded);
            }
        }
    }

    #[test]
    fn a_plain_movement_has_the_bytes_of_its_entry(
        (key, fingerprint) in (text(IdempotencyKey::BYTES_MAX), any::<u128>()),
        (currency, amount, credit, debit) in (currency(), amount(), user(), option::of(user())),
        before in vec(any::<u8>(), 0..9),
    ) {
        let Some(key) = IdempotencyKey::new(&key) else { return Ok(()) };
        let fingerprint = Fingerprint::new(fingerprint);
        let kind = if debit.is_some() { TransactionKind::Transfer } else { TransactionKind::Charge };
        let movement = Movement { currency, amount, debit, credit: Some(credit), release_at: None };
        let (debit, credit) = (debit.map_or(Party::External, Party::User), Party::User(credit));
        let entry = TransactionEntry {
            kind,
            status: Status::Completed,
            key,
            fingerprint,
            postings: smallvec::smallvec![Posting { currency, amount, debit, credit, release_at: None }],
            destination: None,
            metadata: None,
            batch: None,
        };
        let (mut plain, mut general) = (before.clone(), before);
        encode_plain(key.as_str(), fingerprint, &movement, &mut plain);
        encode_transaction(&entry, &mut general);
        prop_assert_eq!(plain, general);
    }

    #[test]
    fn no_part_of_an_entry_is_an_entry(sketch in sketch(), cut in any::<prop::sample::Index>()) {
        let mut bytes = encoded(&sketch.entry());
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_refused_or_are_the_one_encoding_of_an_entry(bytes in vec(any::<u8>(), 0..200), kind in 1..3u8) {
        check(&bytes)?;
        check(&[&[kind], &bytes[..]].concat())?;
    }

    #[test]
    fn damaged_entries_are_refused_or_are_the_one_encoding_of_another(
        sketch in sketch(),
        damages in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        check(&damaged(encoded(&sketch.entry()), damages))?;
    }

    #[test]
    fn the_plain_decoder_reads_what_is_plain_as_the_general_one_does_and_nothing_else(
        sketch in nearly_plain(),
        damages in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        let bytes = encoded(&sketch.entry());
        check(&bytes)?;
        check(&damaged(bytes, damages))?;
    }
}
