//! Whoever can write the files and knows the format makes a log that passes every other check. Whoever kept a head sees
//! through it.

use proptest::prelude::*;

use super::*;
use frame::{BLOCK, Chain, HEADER_BYTES, Header, Kind, Seal};
use head::HeadHash;
use mark::Mark;
use segment::{FRAMES_AT, LINK_AT, Link, SegmentHeader};

/// A log as its forger sees it: what was committed, and in which files it lies.
#[derive(Clone, PartialEq, Debug)]
struct Story {
    mark: Mark,
    segments: Vec<Chapter>,
}

#[derive(Clone, PartialEq, Debug)]
struct Chapter {
    header: SegmentHeader,
    commits: Vec<Told>,
    closed: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Debug)]
struct Told {
    epoch: Epoch,
    records: Vec<(i64, Vec<u8>)>,
}

/// The segments that are part of the log: those with a link.
pub(super) fn segments_of(disk: &SimDisk) -> Vec<String> {
    let is_linked =
        |name: &String| names::segment_number(name).is_some() && disk.written(name).is_some_and(|end| end > LINK_AT);
    disk.names().into_iter().filter(is_linked).collect()
}

/// The frames of a segment in their order, with their offsets; the link is the first.
fn frames_of(bytes: &[u8], seal: Seal, end: u64) -> Vec<(usize, Header)> {
    let mut at = LINK_AT as usize;
    let mut frames = Vec::new();
    while (at as u64) < end
        && let Ok(header) = Header::decode(&bytes[at..], seal)
    {
        frames.push((at, header));
        at += header.frame_bytes() as usize;
    }
    frames
}

/// Where each segment ends according to its successor's link.
fn ends_of(disk: &SimDisk, seal: Seal) -> Vec<u64> {
    let names = segments_of(disk);
    let ends = names.iter().skip(1).map(|name| {
        let bytes = disk.read(name).unwrap();
        let link = &bytes[LINK_AT as usize..];
        Header::decode(link, seal).map_or(0, |header| Link::decode(&header, link).unwrap().previous_end)
    });
    let ends: Vec<u64> = ends.collect();
    ends.into_iter().chain([u64::MAX]).collect()
}

impl Story {
    fn read(disk: &SimDisk) -> Story {
        let mark = Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap().unwrap();
        let seal = Seal::of(mark.uuid);
        let mut segments = Vec::new();
        for (name, end) in segments_of(disk).iter().zip(ends_of(disk, seal)) {
            let bytes = disk.read(name).unwrap();
            let header = SegmentHeader::decode(bytes[..BLOCK].try_into().unwrap()).unwrap();
            let mut chapter = Chapter { header, commits: Vec::new(), closed: None };
            for (at, frame) in frames_of(&bytes, seal, end) {
                let bytes = &bytes[at..];
                let records = || frame::Records::of(&frame, bytes).map(Option::unwrap);
                let records = records().map(|(time, bytes)| (time.micros(), bytes.to_vec()));
                match frame.kind {
                    Kind::Link => {}
                    Kind::Records => chapter.commits.push(Told { epoch: frame.epoch, records: records.collect() }),
                    Kind::Closing => chapter.closed = Some(frame.base_time),
                }
            }
            segments.push(chapter);
        }
        Story { mark, segments }
    }

    /// Writes all of it anew, every checksum, seal and seq as it has to be.
    fn write(&self, disk: &SimDisk) {
        let seal = Seal::of(self.mark.uuid);
        let mut pen = Pen { seal, chain: 0, head: HeadHash::before_all(self.mark.uuid), seq: 1, time: Timestamp::MIN };
        let (mut previous, mut previous_end) = (0, 0);
        let mut mark = Mark { seq: Seq::ZERO, chain: 0, ..self.mark };
        for chapter in &self.segments {
            let number = chapter.header.number;
            let mut bytes = vec![0; chapter.header.bytes as usize];
            bytes[..BLOCK].copy_from_slice(&chapter.header.encode());
            let epoch = chapter.commits.first().map_or(chapter.header.epoch, |told| told.epoch);
            let mut buf = Vec::new();
            Link { previous, previous_end, head: Some(pen.head) }.payload(&mut buf);
            let link = pen.frame(&mut buf, Kind::Link, number, epoch, pen.time, 0);
            pen.chain = link;
            bytes[LINK_AT as usize..][..BLOCK].copy_from_slice(&buf);
            let mut at = FRAMES_AT as usize;
            for told in &chapter.commits {
                buf = vec![0; HEADER_BYTES];
                let base = time(told.records[0].0);
                let mut before = base;
                for (micros, record) in &told.records {
                    frame::push_record(&mut buf, before, time(*micros), record);
                    before = time(*micros);
                }
                let payload = buf[HEADER_BYTES..].to_vec();
                let count = told.records.len() as u32;
                pen.chain = pen.frame(&mut buf, Kind::Records, number, told.epoch, base, count);
                pen.head = pen.head.after(&Header::decode(&buf, seal).unwrap(), &payload);
                (pen.seq, pen.time) = (pen.seq + u64::from(count), before);
                (mark.seq, mark.chain) = (Seq::new(pen.seq - 1), pen.chain);
                bytes[at..at + buf.len()].copy_from_slice(&buf);
                at += buf.len();
            }
            (previous, previous_end) = (number, at as u64);
            if let Some(closed) = chapter.closed {
                buf = vec![0; HEADER_BYTES];
                pen.frame(&mut buf, Kind::Closing, number, chapter.header.epoch, closed.max(pen.time), 0);
                bytes[at..at + BLOCK].copy_from_slice(&buf);
            }
            disk.overwrite(&names::segment(number), 0, &bytes);
        }
        write_mark(disk, mark);
    }

    fn commits(&mut self) -> Vec<&mut Told> {
        self.segments.iter_mut().flat_map(|chapter| &mut chapter.commits).collect()
    }

    fn records(&self) -> Vec<&(i64, Vec<u8>)> {
        self.segments.iter().flat_map(|chapter| &chapter.commits).flat_map(|told| &told.records).collect()
    }
}

/// Both slots, so that the other one says nothing else.
fn write_mark(disk: &SimDisk, mark: Mark) {
    for count in 0..2 {
        disk.overwrite(names::MARK, count * BLOCK as u64, &Mark { count, ..mark }.encode());
    }
}

/// Where the forger stands.
struct Pen {
    seal: Seal,
    chain: Chain,
    head: HeadHash,
    seq: u64,
    time: Timestamp,
}

impl Pen {
    fn frame(&self, buf: &mut Vec<u8>, kind: Kind, segment: u64, epoch: Epoch, at: Timestamp, count: u32) -> Chain {
        let header = Header {
            kind,
            payload_bytes: 0,
            count,
            segment,
            epoch,
            first_seq: Seq::new(self.seq),
            durable: Seq::new(self.seq - 1),
            base_time: at,
            previous: self.chain,
        };
        frame::finish(buf, header, self.seal)
    }
}

/// What a forger does to one commit: `pick` chooses among its records, bytes and neighbours.
#[derive(Clone, Copy, Debug)]
enum Forgery {
    Byte,
    Time,
    Epoch,
    DropRecord,
    RepeatRecord,
    InventRecord,
    SwapRecords,
    DropCommit,
    SwapCommits,
    SplitCommit,
    JoinCommits,
}

const FORGERIES: [Forgery; 11] = [
    Forgery::Byte,
    Forgery::Time,
    Forgery::Epoch,
    Forgery::DropRecord,
    Forgery::RepeatRecord,
    Forgery::InventRecord,
    Forgery::SwapRecords,
    Forgery::DropCommit,
    Forgery::SwapCommits,
    Forgery::SplitCommit,
    Forgery::JoinCommits,
];

/// Changes the commit at `index` (of all), or as near as the forgery can be done.
fn forge(story: &mut Story, forgery: Forgery, index: usize, pick: usize) {
    let mut commits = story.commits();
    let told = &mut *commits[index];
    let at = pick % told.records.len();
    match forgery {
        Forgery::Byte => {
            let record = &mut told.records[at].1;
            match record.len() {
                0 => record.push(1),
                length => record[pick % length] ^= 1 << (pick % 8),
            }
        }
        Forgery::Time => told.records[at].0 += 1,
        Forgery::Epoch => told.epoch = Epoch::new(told.epoch.get() - 1),
        Forgery::DropRecord if told.records.len() > 1 => drop(told.records.remove(at)),
        Forgery::RepeatRecord => told.records.insert(at, told.records[at].clone()),
        Forgery::InventRecord => told.records.insert(at, (told.records[at].0, b"invented".to_vec())),
        Forgery::SwapRecords if told.records.len() > 1 => {
            let other = (at + 1) % told.records.len();
            let (one, two) = (told.records[at].1.clone(), told.records[other].1.clone());
            (told.records[at].1, told.records[other].1) = (two, one);
        }
        Forgery::SwapCommits if index > 0 => {
            let one = commits[index].records.clone();
            let two = std::mem::replace(&mut commits[index - 1].records, one);
            commits[index].records = two;
        }
        _ => regroup(story, forgery, index),
    }
}

/// Changes which records were committed together, or takes a commit out.
fn regroup(story: &mut Story, forgery: Forgery, index: usize) {
    let mut left = index;
    let chapter = story.segments.iter_mut().find(|chapter| {
        let is_here = left < chapter.commits.len();
        left -= if is_here { 0 } else { chapter.commits.len() };
        is_here
    });
    let commits = &mut chapter.unwrap().commits;
    match forgery {
        Forgery::SplitCommit if commits[left].records.len() > 1 => {
            let rest = commits[left].records.split_off(1);
            let epoch = commits[left].epoch;
            commits.insert(left + 1, Told { epoch, records: rest });
        }
        Forgery::JoinCommits if left + 1 < commits.len() => {
            let next = commits.remove(left + 1);
            commits[left].records.extend(next.records);
        }
        _ => drop(commits.remove(left)),
    }
}

/// A log of several openings, the records that went into it and every head that it gave.
pub(super) fn history(rounds: &[(Vec<usize>, bool)]) -> (SimDisk, Vec<Head>) {
    let disk = SimDisk::new(1);
    let mut heads = vec![];
    let mut at = 0;
    for (commits, is_closed) in rounds {
        let (wal, ..) = open(&disk, &manual()).unwrap();
        heads.push(wal.head().unwrap());
        for count in commits {
            at += 1_000;
            let mut reservation = wal.reserve(*count, 100 * count).unwrap();
            let records: Vec<Vec<u8>> =
                (0..*count).map(|n| vec![(at / 1_000) as u8 ^ n as u8; (at / 500) as usize % 60]).collect();
            let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let stamp = wal.append_together(&mut reservation, time(at), &Bundle::of(&records)).unwrap();
            let last = Seq::new(stamp.seq.get() + *count as u64 - 1);
            wal.wait(last, Level::Durable).unwrap();
            let head = wal.head().unwrap();
            assert_eq!(head.seq, last);
            heads.push(head);
        }
        if *is_closed {
            wal.close().unwrap();
        }
    }
    (disk.after_kill(), heads)
}

pub(super) fn head_then(disk: &SimDisk, seq: Seq) -> Result<Option<Head>, OpenError> {
    Ok(scan(disk, Start::First, Some(seq), &mut |_| ())?.head_then)
}

fn rounds() -> impl Strategy<Value = Vec<(Vec<usize>, bool)>> {
    proptest::collection::vec((proptest::collection::vec(1..5usize, 1..6), any::<bool>()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_head_is_found_again_whatever_happened_since(rounds in rounds()) {
        let (disk, heads) = history(&rounds);
        // Once more, after whatever recovery copied.
        drop(open(&disk, &manual()).unwrap());
        for head in heads {
            prop_assert_eq!(head_then(&disk.after_kill(), head.seq).unwrap(), Some(head));
        }
    }

    #[test]
    fn no_forged_history_leads_from_an_earlier_head(
        rounds in rounds(),
        forgery in proptest::sample::select(FORGERIES.as_slice()),
        index in any::<prop::sample::Index>(),
        pick in 0..1_000usize,
    ) {
        let (disk, heads) = history(&rounds);
        let mut story = Story::read(&disk);
        let honest = story.clone();
        let commits: Vec<u64> = story.commits().iter().map(|told| told.records.len() as u64).collect();
        let index = index.index(commits.len());
        // The last seq before what may be changed: a swap or a join reaches its neighbour.
        let untouched: u64 = commits[..index.saturating_sub(1)].iter().sum();
        forge(&mut story, forgery, index, pick);
        prop_assume!(story.segments.iter().zip(&honest.segments).any(|(one, two)| one.commits != two.commits));
        story.write(&disk);
        let scanned = match scan(&disk, Start::First, None, &mut |_| ()) {
            Ok(scanned) => scanned,
            // A time or an epoch that falls is refused without any head.
            Err(OpenError::Damaged { .. }) => {
                prop_assert!(matches!(forgery, Forgery::Epoch | Forgery::Time | Forgery::SwapCommits));
                return Ok(());
            }
            Err(other) => panic!("{other}"),
        };
        prop_assert_eq!(scanned.last_seq.get(), story.records().len() as u64, "the forgery is perfect but for the head");
        let touched = commits[..=(index + 1).min(commits.len() - 1)].iter().sum();
        for head in heads {
            let found = head_then(&disk, head.seq).unwrap();
            if head.seq.get() <= untouched {
                prop_assert_eq!(found, Some(head), "what was before is as it was");
            } else if head.seq.get() >= touched {
                prop_assert_ne!(found, Some(head), "{:?} of commit {} went unnoticed", forgery, index);
            }
        }
    }
}

#[test]
fn a_story_that_is_copied_faithfully_has_the_same_heads() {
    let (disk, heads) = history(&[(vec![2, 1], true), (vec![3], false), (vec![1, 4], true)]);
    let copy = disk.after_kill();
    Story::read(&disk).write(&copy);
    for head in heads {
        assert_eq!(head_then(&copy, head.seq).unwrap(), Some(head), "so the forger's pen is as good as the ledger's");
    }
}

/// Flips a bit of a log and makes all the checksums and seals fit again, frame by frame where they stand.
fn flip_and_reseal(disk: &SimDisk, seal: Seal, uuid: Uuid, name: &str, offset: usize, bit: u8) {
    let ends = ends_of(disk, seal);
    let layout: Vec<_> = segments_of(disk)
        .into_iter()
        .zip(ends)
        .map(|(name, end)| (frames_of(&disk.read(&name).unwrap(), seal, end), name))
        .collect();
    disk.flip_bit(name, offset as u64, bit);
    let mut pen = Pen { seal, chain: 0, head: HeadHash::before_all(uuid), seq: 1, time: Timestamp::MIN };
    let mut mark = Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap().unwrap();
    for (frames, name) in layout {
        let mut bytes = disk.read(&name).unwrap();
        let mut block: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
        let named = Seal::of(Uuid::from_bytes(block[16..32].try_into().unwrap()));
        segment::seal_block(&mut block, named);
        bytes[..BLOCK].copy_from_slice(&block);
        for (at, was) in frames {
            let frame = &mut bytes[at..at + was.frame_bytes() as usize];
            frame[56..72].copy_from_slice(&pen.chain.to_le_bytes());
            if was.kind == Kind::Link {
                frame[HEADER_BYTES + 16..HEADER_BYTES + 48].copy_from_slice(pen.head.as_bytes());
            }
            let checksum = seal.checksum(&frame[..HEADER_BYTES - 8]);
            frame[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
            let chain = frame::rechain(frame, seal);
            if was.kind == Kind::Records
                && let Ok(header) = Header::decode(frame, seal)
                && header.kind == Kind::Records
                && let Some(payload) = frame[HEADER_BYTES..].get(..header.payload_bytes as usize)
            {
                pen.head = pen.head.after(&header, payload);
            }
            if was.kind == Kind::Records && was.last_seq() == mark.seq {
                mark.chain = chain;
            }
            if was.kind != Kind::Closing {
                pen.chain = chain;
            }
        }
        let end = disk.written(&name).unwrap() as usize;
        disk.overwrite(&name, 0, &bytes[..end]);
    }
    write_mark(disk, mark);
}

#[test]
fn no_byte_of_history_can_be_changed_and_resealed() {
    let (disk, heads) = history(&[(vec![2, 1], true), (vec![3], false), (vec![1, 2], true)]);
    let last = *heads.last().unwrap();
    let uuid = Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap().unwrap().uuid;
    let (_, honest) = scan_records(&disk).unwrap();
    let (mut refused, mut other, mut harmless) = (0u64, 0u64, 0u64);
    for name in segments_of(&disk) {
        let end = disk.written(&name).unwrap();
        for offset in 0..end as usize {
            // Records and headers byte by byte, paddings here and there.
            if offset % BLOCK >= 400 && offset % 61 != 0 {
                continue;
            }
            let forged = disk.after_kill();
            flip_and_reseal(&forged, Seal::of(uuid), uuid, &name, offset, (offset % 8) as u8);
            let mut records = Records::new();
            let seen = scan(&forged, Start::First, Some(last.seq), &mut |record| {
                records.push((record.time.micros(), record.bytes.to_vec()));
            });
            match seen {
                Err(_) => refused += 1,
                Ok(seen) if seen.head_then != Some(last) => other += 1,
                Ok(_) => {
                    assert_eq!(records, honest, "byte {offset} of {name} was changed unnoticed");
                    harmless += 1;
                }
            }
        }
    }
    assert!(refused > 500 && other > 50 && harmless > 500, "{refused} {other} {harmless}");
}
