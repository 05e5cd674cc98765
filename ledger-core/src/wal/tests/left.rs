//! What a salvage tells of all that it left: which files, which seqs each is known to have held, and why.

use super::super::salvage::{Candidate, Taken, salvage};
use super::judged::{BLOCK, FIRST, LAST, MIDDLE, SPARE, frame_chain, link_at, small_log, write_link, write_mark};
use super::*;
use segment::{FRAMES_AT, SegmentHeader};

/// What is said of the log by a snapshot of the small one's state at `seq`, made when all up to `anchor` was durable.
pub(super) fn base(seq: u64, anchor: u64) -> Base {
    let (segment, epoch, before) = match anchor {
        ..=2 => (FIRST, 1, 0),
        3..=5 => (MIDDLE, 2, 2),
        _ => (LAST, 3, 5),
    };
    let chain = frame_chain(&small_log(), segment, FRAMES_AT + (anchor - before) * BLOCK);
    Base { seq: Seq::new(seq), time: time(1), anchor: Seq::new(anchor), chain, epoch: Epoch::new(epoch) }
}

/// Its seq, and what it says of the log; of a damaged one nothing.
pub(super) type Snapshot = (u64, Option<Base>);

/// Salvages a log with these snapshots.
pub(super) fn take_with(disk: &SimDisk, snapshots: &[Snapshot]) -> Result<(Taken, SimDisk), OpenError> {
    take_without(u64::MAX, disk, snapshots)
}

/// As [`take_with`], where that seq is objected to.
pub(super) fn take_without(
    objected: u64,
    disk: &SimDisk,
    snapshots: &[Snapshot],
) -> Result<(Taken, SimDisk), OpenError> {
    let into = SimDisk::new(2);
    let file = |seq: u64| format!("{seq}.snapshot");
    for (seq, _) in snapshots {
        disk.create(&file(*seq)).unwrap();
    }
    let candidates = |_: Uuid| {
        let candidate = |&(seq, base): &Snapshot| {
            let damaged =
                OpenError::Damaged { file: file(seq), offset: 7, seq: None, reason: "it is rotten".to_owned() };
            let found = base.map(|base| (base, vec![file(seq)])).ok_or(damaged);
            Candidate { file: file(seq), bytes: 9, seq: Seq::new(seq), found }
        };
        Ok(snapshots.iter().map(candidate).collect())
    };
    let taken = salvage(disk, &into, &|_| Ok(()), &candidates, &mut |record| {
        if record.seq.get() == objected { Err("it cannot be".to_owned()) } else { Ok(()) }
    })?;
    Ok((taken, into))
}

/// In place of a segment's number.
const MARK: u64 = 0;

const HEADLESS: &str = "its header cannot be read, or is another segment's";
const MISSING: &str = "it is missing";
const LOST: &str = "it follows what was lost";
const NOWHERE: &str = "nothing that is there says where these were";
const IN_A_SNAPSHOT: &str = "a snapshot has what it says";
const ELSEWHERE: &str = "the log at its end is not there, or of another history";

fn durable(seq: u64) -> String {
    format!("all up to seq {seq} was durable, and this is in no file that is there: a segment is missing")
}

fn file(number: u64) -> String {
    if number == MARK { names::MARK.to_owned() } else { names::segment(number) }
}

/// A segment's number, which seqs it is known to have held, and why it was left.
type Piece<'a> = (u64, Option<(u64, u64)>, &'a str);

/// All that is told, in its order: of the log, and then of snapshots.
fn left_with(
    what: &str,
    damage: &dyn Fn(&SimDisk),
    snapshots: &[Snapshot],
    of_log: &[Piece<'_>],
    of_snapshots: &[(u64, &str)],
) {
    let disk = small_log();
    damage(&disk);
    let (taken, _) = take_with(&disk, snapshots).unwrap();
    let seqs = |(first, last): (Seq, Seq)| (first.get(), last.get());
    let told = taken.left.into_iter().map(|left| (left.file, left.seqs.map(seqs), left.reason));
    let of_log = of_log.iter().map(|&(number, seqs, reason)| (file(number), seqs, reason.to_owned()));
    let of_snapshots =
        of_snapshots.iter().map(|&(seq, reason)| (format!("{seq}.snapshot"), Some((1, seq)), reason.to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), of_log.chain(of_snapshots).collect::<Vec<_>>(), "{what}");
}

fn left(what: &str, damage: &dyn Fn(&SimDisk), of_log: &[Piece<'_>]) {
    left_with(what, damage, &[], of_log, &[]);
}

fn erase(disk: &SimDisk, segment: u64) {
    disk.erase(&names::segment(segment));
}

fn zero(disk: &SimDisk, segment: u64, from: u64, blocks: u64) {
    disk.overwrite(&names::segment(segment), from, &vec![0; (blocks * BLOCK) as usize]);
}

fn marked(disk: &SimDisk, seq: u64) {
    write_mark(disk, |mark| mark.seq = Seq::new(seq));
}

#[test]
fn each_file_is_told_of_with_what_it_is_known_to_have_held() {
    left("nothing is damaged", &|_| {}, &[]);
    let (missing, follows) = ((MIDDLE, Some((3, 5)), MISSING), (LAST, Some((6, 8)), LOST));
    left("the middle one is missing", &|disk| erase(disk, MIDDLE), &[missing, follows]);
    left("it has no header", &|disk| zero(disk, MIDDLE, 0, 1), &[(MIDDLE, Some((3, 5)), HEADLESS), follows]);
    let strange = |disk: &SimDisk| {
        erase(disk, MIDDLE);
        disk.create(&names::segment(4)).unwrap();
    };
    left("there is a strange one beside it", &strange, &[missing, (4, None, HEADLESS), follows]);
    let behind = |disk: &SimDisk| {
        let (header, link) = link_at(disk, LAST);
        write_link(disk, LAST, header, segment::Link { previous: 4, ..link });
    };
    left("one that held nothing is missing", &behind, &[(4, None, MISSING), follows]);
    let frames = |disk: &SimDisk| zero(disk, MIDDLE, FRAMES_AT + BLOCK, 2);
    let bad = (MIDDLE, Some((4, 5)), "the frame's header cannot be read");
    left("frames are zeros before others", &frames, &[bad, follows]);
    let rest = |disk: &SimDisk| zero(disk, MIDDLE, FRAMES_AT + BLOCK, 3);
    left("all behind a frame is zeros", &rest, &[follows, (MARK, Some((4, 5)), NOWHERE)]);
}

#[test]
fn what_was_durable_and_is_nowhere_is_told_of_the_file_that_would_have_held_it() {
    let headless = |durable: u64| {
        move |disk: &SimDisk| {
            zero(disk, LAST, 0, 1);
            marked(disk, durable);
        }
    };
    left("nothing is known of the last one", &headless(5), &[(LAST, None, HEADLESS)]);
    left("it is known of", &headless(7), &[(LAST, Some((6, 7)), HEADLESS)]);
    let lost = |lost: &'static [u64], durable: u64| {
        move |disk: &SimDisk| {
            lost.iter().for_each(|segment| erase(disk, *segment));
            marked(disk, durable);
        }
    };
    left("nothing is known of what is gone", &lost(&[LAST], 5), &[]);
    left("the last one is missing", &lost(&[LAST], 7), &[(LAST, Some((6, 7)), &durable(7))]);
    // Then nothing says which number it had: those behind a closed one are given anew.
    left("so is the spare", &lost(&[LAST, SPARE], 7), &[(MIDDLE + 1, Some((6, 7)), &durable(7))]);
    left("the one that would come next is there", &lost(&[], 9), &[(MARK, Some((9, 9)), &durable(9))]);
    left("it is not", &lost(&[SPARE], 9), &[(SPARE, Some((9, 9)), &durable(9))]);
    let between = |disk: &SimDisk| {
        marked(disk, 9);
        let block = disk.read(&names::segment(SPARE)).unwrap()[..BLOCK as usize].try_into().unwrap();
        let header = SegmentHeader { number: SPARE + 2, ..SegmentHeader::decode(&block).unwrap() };
        disk.create(&names::segment(SPARE + 2)).unwrap();
        disk.overwrite(&names::segment(SPARE + 2), 0, &header.encode());
    };
    left("the one before the last spare is not", &between, &[(SPARE + 1, Some((9, 9)), &durable(9))]);
}

#[test]
fn a_snapshot_is_told_of_unless_it_is_taken_or_the_log_says_all() {
    const LATER: &str = "it is later than what could be taken of the log";
    let (second, fifth) = ((2, Some(base(2, 3))), (5, Some(base(5, 6))));
    left_with("all is there", &|_| {}, &[second, (4, None), fifth], &[], &[]);
    // From the first entry to the sixth.
    let cut = |disk: &SimDisk| disk.flip_bit(&names::segment(LAST), FRAMES_AT + BLOCK + 90, 0);
    let bad = (LAST, Some((7, 8)), "the frame's checksum is wrong");
    let (of_end, later) = ((6, Some(base(6, 8))), (7, Some(base(7, 8))));
    left_with(
        "the end is damaged",
        &cut,
        &[second, of_end, later, (8, None)],
        &[bad],
        &[(7, LATER), (8, "it is damaged")],
    );
    // What was retired is not missed where a snapshot has it.
    let retired = |disk: &SimDisk| erase(disk, FIRST);
    left_with("the first one was retired", &retired, &[second, fifth], &[], &[]);
    let earlier = (1, Some(base(1, 1)));
    let of_another = (8, Some(Base { chain: 9, ..base(8, 8) }));
    left_with(
        "one is of before, one is damaged and one of another history",
        &retired,
        &[earlier, second, (6, None), of_another],
        &[(FIRST, Some((2, 2)), MISSING)],
        &[(1, ELSEWHERE), (6, "it is damaged"), (8, ELSEWHERE)],
    );
    // The part behind the gap goes further.
    let gap = |disk: &SimDisk| erase(disk, MIDDLE);
    let of_log = [(FIRST, Some((1, 2)), IN_A_SNAPSHOT), (MIDDLE, Some((3, 5)), MISSING)];
    left_with("there is a gap", &gap, &[second, fifth], &of_log, &[(2, ELSEWHERE)]);
}

/// Nothing can be taken: the first thing in the way is in that file (in none: in the directory), there, and the seq is the one that
/// would come next.
fn nothing(damage: &dyn Fn(&SimDisk), snapshots: &[Snapshot], at: (Option<&str>, u64, Option<u64>), reason: &str) {
    let disk = small_log();
    damage(&disk);
    match take_with(&disk, snapshots).map(|(taken, _)| taken) {
        Err(OpenError::Damaged { file, offset, seq, reason: said }) => {
            let expected = at.0.map_or_else(|| disk.describe(), str::to_owned);
            assert_eq!((file, offset, seq), (expected, at.1, at.2), "{said}");
            assert_eq!(said, format!("{reason}, and no entry before it can be taken"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_nothing_can_be_taken_the_first_thing_in_the_way_is_told() {
    let nowhere = (None, 0, Some(1));
    let all = |disk: &SimDisk| [FIRST, MIDDLE, LAST, SPARE].iter().for_each(|segment| erase(disk, *segment));
    let gone = "no segment of the log is there, of which all up to seq 5 was durable";
    nothing(&all, &[], nowhere, gone);
    nothing(&all, &[(2, Some(base(2, 3)))], nowhere, gone);
    let never = |disk: &SimDisk| {
        all(disk);
        marked(disk, 0);
    };
    nothing(&never, &[], nowhere, "there is no entry in the log");
    let (first, middle) = (names::segment(FIRST), names::segment(MIDDLE));
    let headless = |disk: &SimDisk| {
        all(disk);
        disk.create(&middle).unwrap();
    };
    nothing(&headless, &[], (Some(&middle), 0, Some(1)), HEADLESS);
    let retired = |disk: &SimDisk| erase(disk, FIRST);
    nothing(&retired, &[], (Some(&first), 0, Some(1)), MISSING);
    let unlinked = |disk: &SimDisk| zero(disk, FIRST, BLOCK, 1);
    nothing(&unlinked, &[], (Some(&first), BLOCK, Some(1)), "its link cannot be read");
    // That a snapshot is damaged is in the way only where the log does not say all before it.
    let bad = |disk: &SimDisk| disk.flip_bit(&first, FRAMES_AT + 90, 0);
    for snapshots in [&[][..], &[(2, None)]] {
        nothing(&bad, snapshots, (Some(&first), FRAMES_AT, Some(1)), "the frame's checksum is wrong");
    }
    let snapshots = [(2, None), (6, None), (8, Some(Base { chain: 9, ..base(8, 8) }))];
    nothing(&retired, &snapshots, (Some("6.snapshot"), 7, None), "it is rotten");
    // The entry after the snapshot is not there.
    nothing(&retired, &[(1, Some(base(1, 4)))], (Some(&first), 0, Some(3)), MISSING);
}
