//! The life of a withdrawal: every outcome in every situation as a table, times by example, and random lives against a
//! model that shares nothing with the code but the words.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::types::{Amount, Currency, Destination, Epoch, Operator, Seq, TransactionId, UserId};
use crate::view::Status;
use crate::withdrawals::{BankReference, NoticeOutcome, Resolution, cancel, doubt, resolve, take_notice};

const SECOND: Duration = Duration::from_secs(1);

pub(in crate::withdrawals) fn at(seconds: u64) -> Timestamp {
    Timestamp::EPOCH.saturating_add(SECOND * u32::try_from(seconds).unwrap())
}

fn reference(id: u64) -> BankReference {
    BankReference { ledger: Uuid::from_u128(7), epoch: Epoch::new(3), id: TransactionId::new(id).unwrap() }
}

fn reserved(id: u64) -> Withdrawal {
    Withdrawal::reserved(
        TransactionId::new(id).unwrap(),
        UserId::new(5).unwrap(),
        Currency::USD,
        Amount::new(700).unwrap(),
        Destination::new("DE02 1203 0000 0000 2020 51"),
        reference(id),
        at(0),
    )
}

pub(in crate::withdrawals) fn submission(class: AttemptClass) -> Submission {
    Submission { class, evidence: class.as_str().to_owned() }
}

fn inquiry(answer: InquiryAnswer) -> Inquiry {
    Inquiry { answer, evidence: answer.as_str().to_owned() }
}

/// A withdrawal, its policy and its clock, driven one decision at a time.
pub(in crate::withdrawals) struct Life {
    pub(in crate::withdrawals) withdrawal: Withdrawal,
    pub(in crate::withdrawals) policy: Policy,
    pub(in crate::withdrawals) now: Timestamp,
}

impl Life {
    fn new(policy: Policy) -> Life {
        Life { withdrawal: reserved(1), policy, now: at(0) }
    }

    /// Waits until something is to be done, and says what.
    fn next(&mut self) -> Step {
        loop {
            match next_step(&self.withdrawal, &self.policy, self.now) {
                Step::WaitUntil(due) => {
                    assert!(due > self.now, "a wait that is over");
                    self.now = due;
                }
                step => return step,
            }
        }
    }

    pub(in crate::withdrawals) fn start(&mut self) {
        assert_eq!(self.next(), Step::Submit);
        let entry = start_attempt(&self.withdrawal, &self.policy, self.now).unwrap();
        self.withdrawal.apply(&entry, Seq::new(1), self.now);
    }

    fn end(&mut self, class: AttemptClass) -> Substatus {
        let outcome = submission(class);
        let attempt = self.withdrawal.attempts;
        let entry = end_attempt(&self.withdrawal, &self.policy, attempt, &outcome, self.now).unwrap();
        self.withdrawal.apply(&entry, Seq::new(1), self.now);
        self.withdrawal.substatus
    }

    pub(in crate::withdrawals) fn attempt(&mut self, class: AttemptClass) -> Substatus {
        self.start();
        self.end(class)
    }

    fn inquire(&mut self, answer: InquiryAnswer) -> Substatus {
        assert_eq!(self.next(), Step::Inquire);
        let outcome = inquiry(answer);
        let entry = answer_inquiry(&self.withdrawal, &self.policy, &outcome, self.now).unwrap();
        self.withdrawal.apply(&entry, Seq::new(1), self.now);
        self.withdrawal.substatus
    }

    fn wait(&self) -> Duration {
        self.withdrawal.due.unwrap().saturating_since(self.now)
    }
}

use AttemptClass::{Accepted, Ambiguous, NotSent, Rejected, Settled};

/// Two attempts, and a bank that recognises a repeat for a minute.
fn two_attempts() -> Policy {
    Policy { attempts_max: 2, idempotency_window: Some(60 * SECOND), ..Policy::default() }
}

pub(in crate::withdrawals) fn situation(name: &str) -> Life {
    let mut life = Life::new(two_attempts());
    match name {
        "fresh" => {}
        "running" => life.start(),
        "waiting" => drop(life.attempt(NotSent)),
        "running last" => {
            life.attempt(NotSent);
            life.start();
        }
        "running last, doubtful" => {
            life.attempt(Ambiguous);
            life.inquire(InquiryAnswer::NotFound);
            life.start();
        }
        "running first of three, doubtful" => {
            life.policy.attempts_max = 3;
            life.attempt(Ambiguous);
            life.inquire(InquiryAnswer::NotFound);
            life.start();
        }
        "accepted" => drop(life.attempt(Accepted)),
        "unknown" => drop(life.attempt(Ambiguous)),
        "unknown, window closed" => {
            life.policy.idempotency_window = None;
            life.attempt(Ambiguous);
        }
        "unknown, no attempt left" => {
            life.attempt(NotSent);
            life.attempt(Ambiguous);
        }
        "unknown, refused" => {
            life.policy.attempts_max = 3;
            life.attempt(Ambiguous);
            life.inquire(InquiryAnswer::NotFound);
            life.attempt(Rejected);
        }
        "unknown, past deadline" => {
            life.attempt(Ambiguous);
            life.now = life.now.saturating_add(life.policy.deadline);
        }
        "accepted, past deadline" => {
            life.attempt(Accepted);
            life.now = life.now.saturating_add(life.policy.deadline);
        }
        "review" => {
            life.policy.idempotency_window = None;
            life.attempt(Ambiguous);
            life.inquire(InquiryAnswer::NotFound);
        }
        "completed" => drop(life.attempt(Settled)),
        "failed, refused" => drop(life.attempt(Rejected)),
        "failed, not sent" => {
            life.attempt(NotSent);
            life.attempt(NotSent);
        }
        "failed, by inquiry" => {
            life.attempt(Ambiguous);
            life.inquire(InquiryAnswer::Failed);
        }
        _ => panic!("no such situation: {name}"),
    }
    life
}

pub(in crate::withdrawals) fn word(decided: Result<WithdrawalEntry<'_>, Conflict>) -> &'static str {
    match decided {
        Ok(WithdrawalEntry { event: Event::Contradicted { says, .. }, .. }) => match says {
            Reservation::Paid => "but paid",
            Reservation::Released => "but not paid",
            Reservation::Stands => "but maybe paid",
        },
        Ok(entry) => entry.to.as_str(),
        Err(Conflict::Repeat) => "repeat",
        Err(Conflict::Ended) => "ended",
        Err(Conflict::NotNow) => "not now",
        Err(Conflict::Contradicted { .. }) => unreachable!("a contradiction is an entry"),
    }
}

#[test]
fn a_conflict_tells_a_person_what_is_the_matter() {
    let contradicted = |says| Conflict::Contradicted { ended: Substatus::Failed, says }.to_string();
    for (says, words) in [
        (Reservation::Stands, "may yet be paid"),
        (Reservation::Paid, "was paid"),
        (Reservation::Released, "was not paid"),
    ] {
        let said = contradicted(says);
        assert!(said.contains(Substatus::Failed.as_str()) && said.contains(words), "{said}");
    }
    let others = [Conflict::Repeat, Conflict::Ended, Conflict::NotNow].map(|conflict| conflict.to_string());
    assert!(others.iter().all(|said| !said.is_empty()), "{others:?}");
}

#[test]
fn every_outcome_of_the_last_attempt_in_every_situation() {
    let table = [
        // situation, settled, accepted, rejected, not sent, ambiguous
        ("fresh", ["not now"; 5]),
        ("running", ["completed", "accepted", "failed", "reserved", "unknown"]),
        ("waiting", ["completed", "not now", "not now", "repeat", "not now"]),
        ("running last", ["completed", "accepted", "failed", "failed", "unknown"]),
        ("running last, doubtful", ["completed", "accepted", "unknown", "needs_review", "unknown"]),
        ("running first of three, doubtful", ["completed", "accepted", "unknown", "unknown", "unknown"]),
        ("accepted", ["completed", "repeat", "not now", "not now", "not now"]),
        ("unknown", ["completed", "not now", "not now", "not now", "repeat"]),
        ("unknown, no attempt left", ["completed", "not now", "not now", "not now", "repeat"]),
        ("unknown, refused", ["completed", "not now", "repeat", "not now", "not now"]),
        ("review", ["completed", "not now", "not now", "not now", "repeat"]),
        ("completed", ["repeat", "ended", "but not paid", "but not paid", "ended"]),
        ("failed, refused", ["but paid", "but maybe paid", "repeat", "ended", "but maybe paid"]),
        ("failed, not sent", ["but paid", "but maybe paid", "ended", "repeat", "but maybe paid"]),
        ("failed, by inquiry", ["but paid", "but maybe paid", "ended", "ended", "repeat"]),
    ];
    for (name, expected) in table {
        let life = situation(name);
        let attempt = life.withdrawal.attempts.max(1);
        let decided = AttemptClass::ALL
            .map(|class| word(end_attempt(&life.withdrawal, &life.policy, attempt, &submission(class), life.now)));
        assert_eq!(decided, expected, "{name}");
    }
}

#[test]
fn every_answer_to_an_inquiry_in_every_situation() {
    let (done, fail, review) = ("completed", "failed", "needs_review");
    let unasked = [done, "not now", "not now", "not now", "not now", "not now"];
    let doubtful = [done, fail, "unknown", "unknown", "unknown", "unknown"];
    let unrepeatable = [done, fail, "unknown", review, review, "unknown"];
    let late = [done, fail, review, review, review, review];
    let released = ["but paid", "repeat", "but maybe paid", "ended", "ended", "ended"];
    let table = [
        // situation, settled, failed, pending, not found, unsupported, unanswered
        ("fresh", unasked),
        ("running", unasked),
        ("waiting", unasked),
        ("running last, doubtful", unasked),
        ("accepted", [done, fail, "accepted", "accepted", "accepted", "accepted"]),
        ("unknown", doubtful),
        ("unknown, window closed", unrepeatable),
        ("unknown, no attempt left", unrepeatable),
        ("unknown, refused", unrepeatable),
        ("unknown, past deadline", late),
        ("accepted, past deadline", late),
        ("review", [done, fail, "not now", "not now", "not now", "not now"]),
        ("completed", ["repeat", "but not paid", "ended", "ended", "ended", "ended"]),
        ("failed, refused", released),
        ("failed, not sent", released),
        ("failed, by inquiry", released),
    ];
    for (name, expected) in table {
        let life = situation(name);
        let decided = InquiryAnswer::ALL
            .map(|answer| word(answer_inquiry(&life.withdrawal, &life.policy, &inquiry(answer), life.now)));
        assert_eq!(decided, expected, "{name}");
    }
}

#[test]
fn what_can_be_started_interrupted_and_given_up_in_every_situation() {
    let table = [
        // situation, start, interrupt, deadline; as soon as anything is to be done
        ("fresh", ["submitting", "not now", "not now"]),
        ("running", ["not now", "unknown", "not now"]),
        ("waiting", ["submitting", "not now", "not now"]),
        ("running last, doubtful", ["not now", "unknown", "not now"]),
        ("accepted", ["not now", "not now", "not now"]),
        ("unknown", ["not now", "not now", "not now"]),
        ("unknown, past deadline", ["not now", "not now", "not now"]),
        ("review", ["not now", "not now", "repeat"]),
        ("completed", ["ended", "ended", "ended"]),
        ("failed, refused", ["ended", "ended", "ended"]),
        ("failed, by inquiry", ["ended", "ended", "ended"]),
    ];
    for (name, expected) in table {
        let mut life = situation(name);
        life.next();
        let Life { withdrawal, policy, now } = &life;
        let decided = [
            word(start_attempt(withdrawal, policy, *now)),
            word(interrupt_attempt(withdrawal, policy, *now)),
            word(pass_deadline(withdrawal, policy, *now)),
        ];
        assert_eq!(decided, expected, "{name}");
    }
}

#[test]
fn every_order_and_every_notice_in_every_situation() {
    let (done, fail, back) = ("completed", "failed", "returned");
    let open = ["not now", done, fail, done, fail, "accepted", back, "unknown"];
    let paid = ["ended", "repeat", "but not paid", "repeat", "but not paid", "ended", back, "ended"];
    let released = ["ended", "but paid", "repeat", "but paid", "repeat", "but maybe paid", fail, "ended"];
    let table = [
        // situation, cancel, resolve completed and failed, told settled, failed, pending and returned, doubt
        ("fresh", ["cancelled", "not now", "not now", done, "reserved", "accepted", back, "unknown"]),
        ("waiting", ["not now", done, fail, done, "reserved", "accepted", back, "unknown"]),
        ("running", ["not now", done, "not now", done, "submitting", "submitting", back, "unknown"]),
        ("running last, doubtful", ["not now", done, "not now", done, "submitting", "submitting", back, "unknown"]),
        ("accepted", open),
        ("unknown", open),
        ("unknown, refused", open),
        ("review", ["not now", done, fail, done, fail, "needs_review", back, "repeat"]),
        ("completed", paid),
        ("failed, refused", released),
        ("failed, by inquiry", released),
    ];
    for (name, expected) in table {
        let Life { withdrawal, policy, now } = situation(name);
        let resolve = |outcome| {
            let (evidence, operator) = (Evidence::new("a letter").unwrap(), Operator::new("Ann").unwrap());
            word(resolve(&withdrawal, outcome, evidence, operator))
        };
        let notice = |outcome| word(take_notice(&withdrawal, &policy, outcome, now, "", true, now));
        let decided = [
            word(cancel(&withdrawal)),
            resolve(Resolution::Completed),
            resolve(Resolution::Failed),
            notice(NoticeOutcome::Settled),
            notice(NoticeOutcome::Failed),
            notice(NoticeOutcome::Pending),
            notice(NoticeOutcome::Returned),
            word(doubt(&withdrawal, &policy, now)),
        ];
        assert_eq!(decided, expected, "{name}");
    }
}

#[test]
fn a_notice_from_before_the_last_of_several_attempts_decides_nothing() {
    let mut life = Life::new(two_attempts());
    life.attempt(NotSent);
    let before = life.now;
    life.attempt(Ambiguous);
    let told = |at| word(take_notice(&life.withdrawal, &life.policy, NoticeOutcome::Failed, at, "", true, life.now));
    assert_eq!((told(before), told(life.now)), ("unknown", "failed"));
}

#[test]
fn a_doubt_after_a_restore_is_not_repeated_later_than_the_reservation_allows() {
    let mut life = Life::new(two_attempts());
    life.now = at(70);
    let entry = doubt(&life.withdrawal, &life.policy, life.now).unwrap();
    life.withdrawal.apply(&entry, Seq::new(2), life.now);
    assert_eq!(life.inquire(InquiryAnswer::NotFound), Substatus::NeedsReview);
}

#[test]
fn what_is_doubted_is_asked_about_before_it_is_sent_again_though_the_last_attempt_was_not_sent() {
    let doubted = |before: &[InquiryAnswer]| {
        let mut life = Life::new(Policy { attempts_max: 3, ..two_attempts() });
        for answer in before {
            life.attempt(Ambiguous);
            life.inquire(*answer);
        }
        life.attempt(NotSent);
        // At the same moment, as after a restore that ends with this attempt.
        let entry = doubt(&life.withdrawal, &life.policy, life.now).unwrap();
        life.withdrawal.apply(&entry, Seq::new(1), life.now);
        life
    };
    for before in [&[][..], &[InquiryAnswer::NotFound]] {
        let mut life = doubted(before);
        assert_eq!(life.next(), Step::Inquire, "{before:?}");
        assert_eq!(start_attempt(&life.withdrawal, &life.policy, life.now), Err(Conflict::NotNow));
        assert_eq!(life.inquire(InquiryAnswer::NotFound), Substatus::Unknown);
        assert_eq!(life.next(), Step::Submit, "the bank does not know it");
    }
}

#[test]
fn what_is_not_sent_is_repeated_after_1_2_and_4_seconds_and_then_failed() {
    let mut life = Life::new(Policy::default());
    for (attempt, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0)] {
        assert_eq!(life.attempt(NotSent), Substatus::Reserved);
        let wait = life.wait().as_secs_f64();
        assert!((0.8 * seconds..=1.2 * seconds).contains(&wait), "attempt {attempt} waits {wait} s");
        assert_eq!(start_attempt(&life.withdrawal, &life.policy, life.now), Err(Conflict::NotNow));
    }
    assert_eq!(life.attempt(NotSent), Substatus::Failed);
    assert_eq!(life.withdrawal.attempts, 4);
    assert_eq!(life.next(), Step::Nothing);
    assert_eq!(life.withdrawal.failure_reason().unwrap(), "not_sent: not_sent");
}

#[test]
fn waits_are_spread_over_the_whole_fifth_either_way_and_capped() {
    let policy = Policy { backoff: 40 * SECOND, ..Policy::default() };
    let waits: Vec<f64> = (1..=1_000)
        .map(|id| {
            let withdrawal = Withdrawal { attempts: 1, ..reserved(id) };
            let wait = backoff(&withdrawal, &policy);
            assert_eq!(wait, backoff(&withdrawal, &policy), "the same question has the same answer");
            wait.as_secs_f64()
        })
        .collect();
    let (least, most) = waits.iter().fold((f64::MAX, 0.0f64), |(a, b), w| (a.min(*w), b.max(*w)));
    assert!((32.0..32.5).contains(&least) && (47.5..=48.0).contains(&most), "{least} ..= {most}");
    let often = Withdrawal { attempts: 4_000_000_000, ..reserved(1) };
    assert!(backoff(&often, &policy) <= policy.backoff_max);
}

#[test]
fn a_doubt_is_asked_about_after_the_settle_delay_and_then_ever_more_rarely() {
    for class in [Ambiguous, Accepted] {
        let mut life = Life::new(Policy::default());
        life.attempt(class);
        assert_eq!(life.wait(), life.policy.settle_delay);
        for seconds in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
            life.inquire(InquiryAnswer::Pending);
            let wait = life.wait().as_secs_f64();
            assert!((0.8 * seconds..=f64::min(1.2 * seconds, 60.0)).contains(&wait), "{wait} s for {seconds} s");
        }
        while life.next() == Step::Inquire {
            life.inquire(InquiryAnswer::Unanswered);
        }
        assert_eq!(life.next(), Step::Review);
        assert_eq!(life.now, at(0).saturating_add(life.policy.deadline), "the deadline counts from the first attempt");
        let entry = pass_deadline(&life.withdrawal, &life.policy, life.now).unwrap();
        life.withdrawal.apply(&entry, Seq::new(1), life.now);
        assert_eq!((life.withdrawal.substatus, life.next()), (Substatus::NeedsReview, Step::Nothing));
        assert_eq!(life.inquire_anyway(InquiryAnswer::Settled), Substatus::Completed);
    }
}

impl Life {
    fn inquire_anyway(&mut self, answer: InquiryAnswer) -> Substatus {
        let outcome = inquiry(answer);
        let entry = answer_inquiry(&self.withdrawal, &self.policy, &outcome, self.now).unwrap();
        self.withdrawal.apply(&entry, Seq::new(1), self.now);
        self.withdrawal.substatus
    }
}

#[test]
fn a_doubt_is_repeated_only_while_the_bank_recognises_a_repeat() {
    let mut life = situation("unknown");
    assert_eq!(life.inquire(InquiryAnswer::NotFound), Substatus::Unknown);
    assert_eq!(life.next(), Step::Submit);
    life.now = at(59);
    assert_eq!(life.next(), Step::Submit);
    life.now = at(60);
    assert_eq!(life.next(), Step::Inquire, "the window has closed");
    assert_eq!(life.inquire(InquiryAnswer::NotFound), Substatus::NeedsReview);
}

#[test]
fn a_repeat_that_was_not_sent_leaves_the_doubt_about_the_one_before() {
    let mut life = situation("running first of three, doubtful");
    assert_eq!(life.end(NotSent), Substatus::Unknown);
    assert_eq!(life.attempt(NotSent), Substatus::NeedsReview);
    assert_eq!(life.withdrawal.failure_reason(), None);
}

#[test]
fn after_a_stop_past_the_deadline_the_bank_is_asked_once() {
    let mut life = situation("unknown, past deadline");
    assert_eq!(life.next(), Step::Inquire);
    assert_eq!(life.inquire(InquiryAnswer::Pending), Substatus::NeedsReview);
}

#[test]
fn a_doubt_that_arises_past_the_deadline_still_waits_for_the_settle_delay() {
    let mut life = situation("running");
    life.now = life.now.saturating_add(life.policy.deadline);
    assert_eq!(life.end(Ambiguous), Substatus::Unknown);
    assert_eq!(life.wait(), life.policy.settle_delay);
    assert_eq!(life.inquire(InquiryAnswer::NotFound), Substatus::NeedsReview);
}

#[test]
fn an_interrupted_attempt_is_a_doubt_and_its_late_success_completes() {
    let mut life = situation("running");
    let entry = interrupt_attempt(&life.withdrawal, &life.policy, life.now).unwrap();
    life.withdrawal.apply(&entry, Seq::new(1), life.now);
    assert_eq!(life.withdrawal.substatus, Substatus::Unknown);
    assert_eq!(life.wait(), life.policy.settle_delay);
    assert!(life.withdrawal.maybe_paid);
    assert_eq!(life.end(Settled), Substatus::Completed);
}

#[test]
fn a_tightened_policy_lets_a_promised_attempt_be_the_last() {
    let mut life = Life::new(Policy::default());
    life.attempt(NotSent);
    life.attempt(NotSent);
    life.policy.attempts_max = 1;
    assert_eq!(life.attempt(NotSent), Substatus::Failed);
    assert_eq!(life.withdrawal.attempts, 3);
}

#[test]
fn evidence_is_cut_between_characters() {
    let mut life = situation("running");
    let outcome = Submission { class: Settled, evidence: "€".repeat(1_000) };
    let entry = end_attempt(&life.withdrawal, &life.policy, 1, &outcome, life.now).unwrap();
    assert_eq!(entry.evidence, "€".repeat(341));
    life.withdrawal.apply(&entry, Seq::new(1), life.now);
    assert_eq!(&*life.withdrawal.ending.unwrap().evidence, "€".repeat(341));
}

#[test]
fn the_words_and_what_they_mean_for_the_money() {
    let shown: Vec<_> = Substatus::ALL
        .iter()
        .map(|s| (s.to_string(), s.status(), s.is_open(), s.reservation() == Reservation::Released))
        .collect();
    let expected = [
        ("reserved", Status::Pending, true, false),
        ("submitting", Status::Pending, true, false),
        ("accepted", Status::Pending, true, false),
        ("unknown", Status::Pending, true, false),
        ("needs_review", Status::Pending, true, false),
        ("completed", Status::Completed, false, false),
        ("failed", Status::Failed, false, true),
        ("cancelled", Status::Failed, false, true),
        ("returned", Status::Completed, false, false),
    ]
    .map(|(word, status, open, released)| (word.to_owned(), status, open, released));
    assert_eq!(shown, expected);
}

/// What a driver, careful or not, may do.
#[derive(Clone, Copy, Debug)]
enum Act {
    Wait(u32),
    /// Wait until something is due, then do what is to be done; the answer is drawn beside it.
    Due(AttemptClass, InquiryAnswer),
    Start,
    End(u32, AttemptClass),
    Inquire(InquiryAnswer),
    Restart,
    GiveUp,
}

fn act() -> impl Strategy<Value = Act> {
    let class = || prop::sample::select(AttemptClass::ALL.to_vec());
    let answer = || prop::sample::select(InquiryAnswer::ALL.to_vec());
    prop_oneof![
        2 => (0u32..200).prop_map(Act::Wait),
        8 => (class(), answer()).prop_map(|(class, answer)| Act::Due(class, answer)),
        2 => Just(Act::Start),
        4 => (1u32..6, class()).prop_map(|(attempt, class)| Act::End(attempt, class)),
        2 => answer().prop_map(Act::Inquire),
        1 => Just(Act::Restart),
        1 => Just(Act::GiveUp),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    (1u32..5, prop::option::of(0u64..120), 30u64..600).prop_map(|(attempts_max, window, deadline)| Policy {
        attempts_max,
        idempotency_window: window.map(Duration::from_secs),
        deadline: Duration::from_secs(deadline),
        ..Policy::default()
    })
}

/// All that the outside has said of one withdrawal, and no more: what may be concluded is worked out from this alone.
#[derive(Default)]
struct Heard {
    /// One per started attempt: whether all that was said of it is that it was definitely not executed.
    not_executed: Vec<Option<bool>>,
    paid: bool,
    denied: bool,
    first_start: Option<Timestamp>,
    end: Option<Substatus>,
}

impl Heard {
    /// `entry` was decided, and what it is about was said.
    fn hear(&mut self, entry: &WithdrawalEntry<'_>, now: Timestamp, policy: &Policy) {
        match entry.event {
            Event::AttemptStarted { attempt } => {
                assert_eq!(attempt as usize, self.not_executed.len() + 1, "attempts are counted without a gap");
                assert!(attempt <= policy.attempts_max, "more attempts than allowed");
                assert!(!self.not_executed.contains(&None), "two attempts at once");
                let first = *self.first_start.get_or_insert(now);
                if self.not_executed.contains(&Some(false)) {
                    let window = policy.idempotency_window.expect("a repeat that the bank does not recognise");
                    assert!(now < first.saturating_add(window), "a repeat that the bank no longer recognises");
                }
                self.not_executed.push(None);
            }
            Event::AttemptEnded { attempt, class } => {
                self.not_executed[attempt as usize - 1] = Some(matches!(class, Rejected | NotSent));
                self.paid |= class == Settled;
            }
            Event::Inquired { answer } => {
                self.paid |= answer == InquiryAnswer::Settled;
                self.denied |= answer == InquiryAnswer::Failed;
            }
            Event::DeadlinePassed | Event::Contradicted { .. } => {}
            other => unreachable!("nobody here makes it {other}"),
        }
    }

    fn check(&mut self, withdrawal: &Withdrawal) {
        let all_denied = !self.not_executed.is_empty() && self.not_executed.iter().all(|a| *a == Some(true));
        match withdrawal.substatus.reservation() {
            Reservation::Paid => assert!(self.paid, "completed without evidence"),
            Reservation::Released => assert!(!self.paid && (all_denied || self.denied), "failed on a doubt"),
            Reservation::Stands => assert!(!self.paid && !self.denied, "open against the evidence"),
        }
        if let Some(end) = self.end {
            assert_eq!(withdrawal.substatus, end, "ended twice");
        } else if !withdrawal.substatus.is_open() {
            self.end = Some(withdrawal.substatus);
        }
        assert_eq!(withdrawal.is_running(), withdrawal.substatus.is_open() && self.not_executed.contains(&None));
        assert_eq!(withdrawal.attempts as usize, self.not_executed.len());
        assert_eq!((withdrawal.reference, withdrawal.amount), (reference(1), Amount::new(700).unwrap()));
        assert!(withdrawal.due.is_none() || withdrawal.substatus.is_open());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_outcomes_fails_on_a_doubt_or_pays_without_evidence(
        policy in policies(),
        acts in prop::collection::vec(act(), 0..40),
    ) {
        let mut life = Life::new(policy);
        let mut heard = Heard::default();
        let mut entries: Vec<(WithdrawalEntry<'static>, Timestamp)> = Vec::new();
        let mut record = |life: &mut Life, decided: Result<WithdrawalEntry<'_>, Conflict>| {
            if let Ok(entry) = decided {
                heard.hear(&entry, life.now, &life.policy);
                // An entry's time may be later than that of its plan.
                let time = life.now.saturating_add(Duration::from_micros(entries.len() as u64 % 2));
                life.withdrawal.apply(&entry, Seq::new(1), time);
                heard.check(&life.withdrawal);
                let evidence = entry.evidence.to_owned().leak();
                entries.push((WithdrawalEntry { evidence, operator: None, command: None, ..entry }, time));
            }
        };

        let due_acts = [Act::Due(Ambiguous, InquiryAnswer::Unanswered); 3_000];
        let length = acts.len();
        for (index, act) in acts.into_iter().chain(due_acts).enumerate() {
            let before = life.withdrawal.clone();
            let (withdrawal, policy, now) = (&before, life.policy.clone(), life.now);
            match act {
                Act::Wait(seconds) => life.now = now.saturating_add(SECOND * seconds),
                Act::Start => record(&mut life, start_attempt(withdrawal, &policy, now)),
                Act::End(attempt, class) => {
                    record(&mut life, end_attempt(withdrawal, &policy, attempt, &Submission { class, evidence: String::new() }, now));
                }
                Act::Inquire(answer) => {
                    record(&mut life, answer_inquiry(withdrawal, &policy, &Inquiry { answer, evidence: String::new() }, now));
                }
                Act::Restart => record(&mut life, interrupt_attempt(withdrawal, &policy, now)),
                Act::GiveUp => record(&mut life, pass_deadline(withdrawal, &policy, now)),
                Act::Due(class, answer) => {
                    let step = life.next();
                    let now = life.now;
                    match step {
                        Step::Submit => record(&mut life, start_attempt(withdrawal, &policy, now)),
                        Step::Inquire => {
                            let outcome = Inquiry { answer, evidence: String::new() };
                            record(&mut life, answer_inquiry(withdrawal, &policy, &outcome, now));
                        }
                        Step::Review => record(&mut life, pass_deadline(withdrawal, &policy, now)),
                        _ if withdrawal.is_running() => {
                            let outcome = Submission { class, evidence: String::new() };
                            record(&mut life, end_attempt(withdrawal, &policy, withdrawal.attempts, &outcome, now));
                        }
                        // It rests: ended, or in the hands of a person.
                        _ => {
                            let rests = !withdrawal.substatus.is_open() || withdrawal.substatus == Substatus::NeedsReview;
                            prop_assert!(rests, "stuck: {withdrawal:?}");
                            if index >= length {
                                break;
                            }
                        }
                    }
                }
            }
        }
        let at_rest = life.next() == Step::Nothing && !life.withdrawal.is_running();
        prop_assert!(at_rest, "a silent bank keeps it busy for ever: {:?}", life.withdrawal);

        let mut replayed = reserved(1);
        for (entry, time) in &entries {
            replayed.apply(entry, Seq::new(1), *time);
        }
        prop_assert_eq!(replayed, life.withdrawal);
    }
}
