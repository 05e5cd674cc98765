//! Files: what is written is read, block by block; and one whose checksums are right and whose frame is not, as nobody
//! wrote it, is refused.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use super::format::{HEADER_BYTES, PAYLOAD_BYTES_MAX, Section, Seed, Trailer, block_head};
use super::*;
use crate::error::OpenError;
use crate::sim::SimDisk;
use crate::state::history::RecordRef;
use crate::state::shard::HeldWithdrawal;
use crate::sys::{ReadFrom, Storage};
use crate::types::{Amount, Currency, Destination, Epoch, Seq, Timestamp, TransactionId, UserId};
use crate::withdrawals::{
    AnswerRecord, AttemptClass, AttemptRecord, BankReference, Discrepancy, Dossier, Ending, Event, InquiryAnswer,
    NoticeOutcome, NoticeRecord, Reservation, Resolution, ResolutionRecord, ReturnCredit, ReturnRecord, Said,
    Substatus, Withdrawal,
};

const NAME: &str = "0000000000000009.snapshot";
const UUID: Uuid = Uuid::from_u128(7);

fn header() -> Header {
    let (seq, since, epoch) = (Seq::new(9), Seq::new(4), Epoch::new(3));
    Header { kind: FileKind::History, uuid: UUID, seq, since, epoch }
}

fn open(disk: &SimDisk) -> Result<FileReader<'_>, OpenError> {
    FileReader::open(disk, NAME, FileKind::History, UUID, ReadFrom::Cache)
}

/// A block: which section it is of, and what it says.
type Block = (Kind, u16, Vec<u8>);

fn blocks_of(file: &FileReader<'_>) -> Result<Vec<Block>, OpenError> {
    let mut blocks = Vec::new();
    for section in file.sections() {
        file.read_section(section, &mut |payload| {
            blocks.push((section.kind, section.shard, payload.to_vec()));
            Ok(())
        })?;
    }
    Ok(blocks)
}

/// Sections of some kinds and shards, with blocks of any length, now and then so long that they fill what is read at once.
fn sections() -> impl Strategy<Value = Vec<Block>> {
    use Kind::{Anchors, Keys, Locator, Records, Withdrawals};
    let kinds = select(vec![Anchors, Records, Withdrawals, Keys, Locator]);
    let most = PAYLOAD_BYTES_MAX;
    let lengths = prop_oneof![8 => 0..200_usize, 1 => most - 100..=most, 1 => Just(most), 1 => 300_000..500_000_usize];
    let payload =
        (lengths, any::<u8>()).prop_map(|(len, first)| (0..len).map(|n| first.wrapping_add(n as u8)).collect());
    let blocks = vec((kinds, 0..3_u16, vec(payload, 1..4_usize)), 0..6);
    blocks.prop_map(|mut sections: Vec<(Kind, u16, Vec<Vec<u8>>)>| {
        sections.sort_by_key(|(kind, shard, _)| (*kind, *shard));
        sections.dedup_by_key(|(kind, shard, _)| (*kind, *shard));
        let blocks = |(kind, shard, payloads): (Kind, u16, Vec<Vec<u8>>)| {
            payloads.into_iter().map(move |payload| (kind, shard, payload))
        };
        sections.into_iter().flat_map(blocks).collect()
    })
}

#[test]
fn a_block_that_is_too_long_is_an_error_and_no_panic() {
    let disk = SimDisk::new(1);
    let mut writer = FileWriter::create(&disk, NAME, &header()).unwrap();
    let err = writer.block(Kind::Meta, 0, &vec![0; PAYLOAD_BYTES_MAX + 1]).unwrap_err();
    assert!(err.to_string().contains("1048577 bytes"), "{err}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(blocks in sections(), left_over in any::<bool>()) {
        let disk = SimDisk::new(1);
        if left_over {
            disk.create(&names::temporary(NAME)).unwrap().write_at(&[1; 3_000_000], 0).unwrap();
        }
        let mut writer = FileWriter::create(&disk, NAME, &header()).unwrap();
        for (kind, shard, payload) in &blocks {
            writer.block(*kind, *shard, payload).unwrap();
        }
        let (bytes, digest) = writer.finish().unwrap();
        // It is durable when it is finished.
        disk.sync_directory().unwrap();
        let disk = disk.survivor(0);
        disk.rename(&names::temporary(NAME), NAME).unwrap();
        prop_assert_eq!(disk.read(NAME).map(|file| file.len() as u64), Some(bytes));
        let file = open(&disk).unwrap();
        prop_assert_eq!((file.name(), file.header(), file.bytes(), file.digest()), (NAME, &header(), bytes, digest));
        prop_assert!(file.verify().is_ok());
        let found = blocks_of(&file).unwrap();
        prop_assert!(found == blocks);
        for section in file.sections() {
            prop_assert_eq!(file.section(section.kind, section.shard), Some(*section));
        }
        prop_assert_eq!(file.section(Kind::Meta, 0), None);
    }
}

#[test]
fn a_file_is_synced_every_few_mebibytes() {
    let disk = SimDisk::new(1);
    let mut writer = FileWriter::create(&disk, NAME, &header()).unwrap();
    let before = disk.operations();
    let mut most = 0;
    for _ in 0..64 {
        let operations = disk.operations();
        writer.block(Kind::Records, 0, &[7; 1 << 18]).unwrap();
        most = most.max(disk.operations() - operations);
    }
    // 16 MiB, in writes of about one, and a sync after four or five of these.
    let operations = disk.operations() - before;
    assert!((16..=22).contains(&operations), "{operations} operations");
    assert_eq!(most, 2, "a write, and a sync");
    writer.finish().unwrap();
}

/// A file that is laid out by hand.
struct Raw {
    header: [u8; HEADER_BYTES],
    seed: Seed,
    bytes: Vec<u8>,
    sections: Vec<Section>,
}

impl Raw {
    /// Two sections of two blocks each.
    fn new() -> Raw {
        let (header, seed) = header().encode();
        let mut raw = Raw { header, seed, bytes: header.to_vec(), sections: Vec::new() };
        for (index, kind) in [Kind::Records, Kind::Keys].into_iter().enumerate() {
            let (offset, mut checksums) = (raw.bytes.len() as u64, Vec::new());
            for n in 0..2 {
                let payload = [index as u8; 40];
                let mut block = block_head(payload.len(), kind, 0, index as u64 * 2 + n).to_vec();
                block.extend_from_slice(&payload);
                let checksum = seed.checksum(&block).to_le_bytes();
                checksums.extend_from_slice(&checksum);
                raw.bytes.extend_from_slice(&[&block[..], &checksum].concat());
            }
            let bytes = raw.bytes.len() as u64 - offset;
            let checksum = seed.checksum(&checksums);
            raw.sections.push(Section { kind, shard: 0, blocks: 2, offset, bytes, checksum });
        }
        raw
    }

    /// What comes of it: that all of it can be read, or why not.
    fn read(&self, change: impl FnOnce(&mut Vec<u8>, &mut Trailer)) -> Result<(), String> {
        let (mut file, mut directory) = (self.bytes.clone(), Vec::new());
        self.sections.iter().for_each(|section| section.encode(&mut directory));
        let digest = self.seed.digest(&[&self.header[..], &directory].concat());
        let mut trailer = Trailer { directory: file.len() as u64, directory_bytes: directory.len() as u64, digest };
        file.extend_from_slice(&directory);
        change(&mut file, &mut trailer);
        file.extend_from_slice(&trailer.encode(self.seed));
        let disk = SimDisk::new(1);
        disk.create(NAME).unwrap().write_at(&file, 0).unwrap();
        let read = open(&disk).and_then(|file| file.verify());
        read.map_err(|refused| match refused {
            OpenError::Damaged { file, reason, .. } if file == NAME => reason,
            other => panic!("{other}"),
        })
    }
}

#[test]
fn a_directory_that_is_not_that_of_the_blocks_is_refused() {
    type Change = fn(&mut Vec<Section>);
    assert_eq!(Raw::new().read(|_, _| ()), Ok(()));
    let changes: [(&str, Change); 14] = [
        ("a block less", |all| all[0].blocks -= 1),
        ("a block more", |all| all[1].blocks += 1),
        ("many blocks", |all| all[1].blocks = u32::MAX),
        ("no block", |all| all[0].blocks = 0),
        ("no bytes", |all| (all[0].bytes, all[1].offset, all[1].bytes) = (0, 64, all[1].bytes * 2)),
        ("another kind", |all| all[0].kind = Kind::Anchors),
        ("another shard", |all| all[0].shard = 1),
        ("a gap", |all| all[0].offset += 1),
        ("longer", |all| {
            (all[0].bytes, all[1].offset, all[1].bytes) = (all[0].bytes + 1, all[1].offset + 1, all[1].bytes - 1)
        }),
        ("shorter", |all| all[1].bytes -= 1),
        ("too long", |all| all[1].bytes += 1),
        ("endless", |all| all[1].bytes = u64::MAX),
        ("another checksum", |all| all[0].checksum ^= 1),
        ("a section less", |all| all.truncate(1)),
    ];
    for (what, change) in changes {
        let mut raw = Raw::new();
        change(&mut raw.sections);
        let refused = raw.read(|_, _| ()).unwrap_err();
        let is_gap = matches!(what, "a gap" | "no block");
        assert!(!is_gap || refused == "its directory has a gap", "{what}: {refused}");
    }
}

#[test]
fn a_trailer_that_was_changed_is_refused() {
    let seed = header().encode().1;
    let trailer = Trailer { directory: 64, directory_bytes: 32, digest: 5 };
    let sound = trailer.encode(seed);
    assert_eq!(Trailer::decode(&sound, seed), Some(trailer));
    for at in 0..sound.len() {
        let mut bytes = sound;
        bytes[at] ^= 1;
        assert_eq!(Trailer::decode(&bytes, seed), None, "byte {at}");
    }
    let mut other = sound;
    other[..8].fill(0);
    let checksum = seed.checksum(&other[..40]);
    other[40..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(Trailer::decode(&other, seed), None, "right, and no trailer");
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).unwrap()
}

/// A withdrawal of which everything was said that can be.
fn talked_about() -> HeldWithdrawal {
    let id = TransactionId::new(70).unwrap();
    let said = |what: &str| -> Box<str> { what.into() };
    let dossier = Dossier {
        answers: [InquiryAnswer::NotFound, InquiryAnswer::Pending]
            .map(|answer| AnswerRecord { at: time(5), answer, evidence: said("asked") })
            .into(),
        notices: [NoticeOutcome::Settled, NoticeOutcome::Returned]
            .map(|outcome| NoticeRecord { at: time(6), outcome, occurred_at: time(-7), evidence: said("told") })
            .into(),
        resolution: Some(ResolutionRecord {
            at: time(8),
            outcome: Resolution::Failed,
            operator: said("Ann"),
            evidence: said("decided"),
        }),
        returned: Some(ReturnRecord {
            id: TransactionId::new(90).unwrap(),
            at: time(9),
            credit: ReturnCredit::Suspense,
            occurred_at: time(10),
            evidence: said("came back"),
        }),
        discrepancies: [None, Some(said("Bob"))]
            .map(|operator| Discrepancy {
                at: time(11),
                said: Said::Notice { outcome: NoticeOutcome::Failed },
                says: Reservation::Released,
                posted: operator.is_none(),
                operator,
                evidence: said("otherwise"),
            })
            .into(),
    };
    let (user, amount) = (UserId::new(4).unwrap(), Amount::new(300).unwrap());
    let reference = BankReference { ledger: UUID, epoch: Epoch::new(2), id };
    let withdrawal = Withdrawal {
        changed_at: time(12),
        substatus: Substatus::Failed,
        attempts: 2,
        due: None,
        first_attempt_at: Some(time(3)),
        maybe_paid: true,
        inquiries: 2,
        last_answer: Some(InquiryAnswer::Pending),
        ending: Some(Box::new(Ending {
            at: time(8),
            event: Event::Resolved { outcome: Resolution::Failed },
            evidence: said("decided"),
        })),
        history: vec![
            AttemptRecord { started_at: time(3), end: Some((time(4), AttemptClass::Ambiguous, said("lost"))) },
            AttemptRecord { started_at: time(5), end: None },
        ],
        dossier: Some(Box::new(dossier)),
        ..Withdrawal::reserved(id, user, Currency::USD, amount, Destination::new("DE89"), reference, time(1))
    };
    HeldWithdrawal { withdrawal, record: RecordRef::from_raw(17), slot: 3, last_seq: Seq::new(99) }
}

#[test]
fn a_withdrawal_of_which_everything_was_said_is_read_as_it_was_and_in_no_part() {
    let (held, mut bytes) = (talked_about(), Vec::new());
    rows::put_withdrawal(&held, &mut bytes);
    let read = |bytes: &[u8]| {
        let mut all = Vec::new();
        rows::take_withdrawals(bytes, UUID, &mut |held| {
            all.push(held);
            Ok(())
        })
        .map(|()| all)
    };
    let found = read(&[&bytes[..], &bytes].concat()).unwrap();
    assert_eq!(found.len(), 2);
    for found in found {
        assert_eq!(found.withdrawal, held.withdrawal);
        assert_eq!((found.record, found.slot, found.last_seq), (held.record, held.slot, held.last_seq));
    }
    for len in 1..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "the first {len} of {} bytes", bytes.len());
    }
}

/// It was a panic of whoever opened it.
#[test]
fn a_section_without_a_block_is_refused() {
    let mut raw = Raw::new();
    let end = raw.bytes.len() as u64;
    raw.sections.push(Section {
        kind: Kind::Locator,
        shard: 0,
        blocks: 1,
        offset: end,
        bytes: 0,
        checksum: raw.seed.checksum(&[]),
    });
    let refused = raw.read(|_, _| ()).unwrap_err();
    assert!(refused.contains("a section has 0 blocks, and its directory names 1"), "{refused}");
}

#[test]
fn a_trailer_that_leads_elsewhere_is_refused() {
    let changes: [fn(&mut Trailer); 7] = [
        |trailer| trailer.directory += 1,
        |trailer| trailer.directory_bytes -= 1,
        |trailer| (trailer.directory, trailer.directory_bytes) = (trailer.directory - 1, trailer.directory_bytes + 1),
        |trailer| (trailer.directory, trailer.directory_bytes) = (trailer.directory - 32, trailer.directory_bytes + 32),
        |trailer| (trailer.directory, trailer.directory_bytes) = (32, trailer.directory + trailer.directory_bytes - 32),
        |trailer| trailer.directory = u64::MAX,
        |trailer| trailer.digest ^= 1,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        assert!(Raw::new().read(|_, trailer| change(trailer)).is_err(), "{n}");
    }
    // Something between the directory and the trailer.
    assert!(Raw::new().read(|file, _| file.push(0)).is_err());
}

#[test]
fn a_header_is_told_from_a_damaged_and_from_a_newer_one() {
    use super::format::NotAHeader;
    let (sound, seed) = header().encode();
    assert_eq!(Header::decode(&sound), Ok((header(), seed)));
    for at in 0..HEADER_BYTES {
        let mut bytes = sound;
        bytes[at] ^= 1;
        assert_eq!(Header::decode(&bytes), Err(NotAHeader::Damaged), "byte {at}");
    }
    let resealed = |at: usize, byte: u8| {
        let mut bytes = sound;
        bytes[at] = byte;
        let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[..56], xxhash_rust::xxh3::xxh3_64(&bytes[16..32]));
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        Header::decode(&bytes)
    };
    assert_eq!(resealed(0, b'X'), Err(NotAHeader::Damaged));
    assert!(matches!(resealed(10, 2), Err(NotAHeader::Newer(_))));
    assert!(matches!(resealed(12, 3), Err(NotAHeader::Newer(_))));
    assert_eq!(resealed(8, 2).map(|read| read.0), Ok(header()), "newer, and for readers of this format");
    assert_eq!(resealed(12, 1).map(|read| read.0), Ok(Header { kind: FileKind::Snapshot, ..header() }));
}

#[test]
fn what_is_too_short_for_a_file_is_refused() {
    for len in 0..HEADER_BYTES + 48 {
        let disk = SimDisk::new(1);
        disk.create(NAME).unwrap().write_at(&vec![0; len], 0).unwrap();
        match open(&disk).err() {
            Some(OpenError::Damaged { offset, reason, .. }) => {
                assert!(offset == len as u64 && reason.contains("too few"), "{len}: {reason}");
            }
            other => panic!("{len}: {other:?}"),
        }
    }
    match open(&SimDisk::new(1)).err() {
        Some(OpenError::Damaged { offset: 0, reason, .. }) => assert_eq!(reason, "it is missing"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_that_was_changed_is_refused() {
    let raw = Raw::new();
    for at in HEADER_BYTES..raw.bytes.len() {
        assert!(raw.read(|file, _| file[at] ^= 0x10).is_err(), "byte {at}");
    }
}

/// A disk without power: whatever is asked of it fails.
fn off(disk: SimDisk) -> SimDisk {
    disk.crash_after(disk.operations());
    disk.sync_directory().unwrap_err();
    disk
}

#[test]
fn a_file_that_is_not_there_is_damage_and_one_that_cannot_be_opened_is_none() {
    let disk = SimDisk::new(1);
    match open(&disk) {
        Err(OpenError::Damaged { file, reason, .. }) => assert_eq!((file.as_str(), &*reason), (NAME, "it is missing")),
        other => panic!("{:?}", other.map(|_| ())),
    }
    assert!(matches!(open(&off(disk)), Err(OpenError::Io { .. })));
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_read_ends_early() {
    let disk = SimDisk::new(1);
    let mut writer = FileWriter::create(&disk, NAME, &header()).unwrap();
    for _ in 0..9 {
        writer.block(Kind::Records, 0, &[7; 100_000]).unwrap();
    }
    writer.finish().unwrap();
    disk.rename(&names::temporary(NAME), NAME).unwrap();
    let file = open(&disk).unwrap();
    assert!(file.verify().is_ok());
    let file_start = file.sections()[0].offset;
    for length in [200_000, 5_000, 0] {
        disk.truncate(NAME, length);
        match file.verify() {
            Err(OpenError::Damaged { file, offset, reason, .. }) => {
                assert_eq!((file.as_str(), &*reason), (NAME, "it ends early"));
                assert_eq!(offset, length.max(file_start), "from where on there is nothing");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_an_interrupted_writer_left_is_replaced_or_the_disk_says_why_not() {
    let disk = SimDisk::new(1);
    for is_left in [false, true] {
        disk.fail_at(disk.operations(), crate::sim::Fault::Eio);
        let err = FileWriter::create(&disk, NAME, &header()).map(|_| ()).unwrap_err();
        // Not that there is such a file, which is what follows from it.
        assert_ne!(err.kind(), std::io::ErrorKind::AlreadyExists);
        disk.heal();
        assert!(FileWriter::create(&disk, NAME, &header()).is_ok(), "{is_left}");
    }
}
