//! The simulated bank: its rates, its book, its repeats. Time is paused, so hours take no time.

use ledger_core::{Epoch, TransactionId, UserId};

use super::*;

fn payout(id: u64, attempt: u32) -> Payout {
    let id = TransactionId::new(id).unwrap();
    let uuid = "00000000-0000-0000-0000-000000000007".parse().unwrap();
    Payout {
        reference: BankReference { ledger: uuid, epoch: Epoch::new(1), id },
        user: UserId::new(1).unwrap(),
        currency: Currency::USD,
        amount: Amount::new(500).unwrap(),
        destination: None,
        attempt,
        is_repeat: attempt > 1,
    }
}

fn bank(change: impl FnOnce(&mut SimulatedBankOptions)) -> SimulatedBank {
    let mut options = SimulatedBankOptions { seed: 11, success_rate: 1.0, ..SimulatedBankOptions::default() };
    change(&mut options);
    SimulatedBank::new(options).unwrap()
}

#[tokio::test(start_paused = true)]
async fn outcomes_come_at_their_rates_and_the_book_tells_the_truth() {
    let bank = bank(|o| {
        o.success_rate = 0.7;
        o.rejected_rate = 0.1;
        o.accepted_rate = 0.1;
        o.ambiguous_paid_rate = 0.1;
        o.ambiguous_unpaid_rate = 0.1;
        o.latency = Latency::exactly(Duration::ZERO);
        o.settles_after = Duration::from_secs(1_000_000);
    });
    let mut counts = [0; 5];
    for id in 1..=10_000 {
        let payout = payout(id, 1);
        let class = bank.submit(&payout).await.class;
        counts[class as usize] += 1;
        let known = bank.inquire(&payout).await.answer;
        match class {
            AttemptClass::Settled => assert_eq!(known, InquiryAnswer::Settled),
            AttemptClass::Accepted => assert_eq!(known, InquiryAnswer::Pending),
            AttemptClass::Rejected => assert_eq!(known, InquiryAnswer::Failed),
            AttemptClass::NotSent => assert_eq!(known, InquiryAnswer::NotFound),
            AttemptClass::Ambiguous => assert!(matches!(known, InquiryAnswer::Settled | InquiryAnswer::NotFound)),
        }
    }
    // 60 % have no special outcome: 42 % paid, 18 % not sent. Five standard deviations are 250 of 10,000.
    for (count, expected) in counts.into_iter().zip([4_200i32, 1_000, 1_000, 1_800, 2_000]) {
        assert!((count - expected).abs() < 250, "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_outcomes_in_any_order() {
    let outcomes = async |seed, ids: Vec<u64>| {
        let bank = bank(|o| {
            o.seed = seed;
            o.success_rate = 0.5;
        });
        let mut classes = Vec::new();
        for id in ids {
            classes.push((id, bank.submit(&payout(id, 2)).await.class));
        }
        classes.sort_by_key(|(id, _)| *id);
        classes
    };
    let forwards = outcomes(3, (1..100).collect()).await;
    assert_eq!(forwards, outcomes(3, (1..100).rev().collect()).await);
    assert_ne!(forwards, outcomes(4, (1..100).collect()).await);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_recognised_until_the_window_closes_and_paid_again_after() {
    let hour = Duration::from_secs(3600);
    let bank = bank(|o| o.idempotency_window = Some(hour));
    assert_eq!(bank.idempotency_window(), Some(hour - WINDOW_MARGIN));
    bank.submit(&payout(1, 1)).await;
    assert_eq!(bank.submit(&payout(1, 2)).await.class, AttemptClass::Settled);
    let record = bank.records()[0];
    assert_eq!((record.payments, record.heard), (1, 2));
    tokio::time::sleep(hour).await;
    bank.submit(&payout(1, 3)).await;
    assert_eq!(bank.records()[0].payments, 2, "the double payment that the window is for");
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_is_paid_after_a_while_and_once() {
    let bank = bank(|o| o.accepted_rate = 1.0);
    let payout = payout(1, 1);
    assert_eq!(bank.submit(&payout).await.class, AttemptClass::Accepted);
    assert_eq!(bank.inquire(&payout).await.answer, InquiryAnswer::Pending);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..3 {
        assert_eq!(bank.inquire(&payout).await.answer, InquiryAnswer::Settled);
    }
    assert_eq!(bank.records()[0].payments, 1);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_may_have_been_paid_for() {
    let bank = bank(|o| o.latency = Latency::exactly(Duration::from_secs(60)));
    let payout = payout(1, 1);
    assert!(tokio::time::timeout(Duration::from_secs(1), bank.submit(&payout)).await.is_err());
    assert_eq!(bank.records()[0].payments, 1);
}

#[tokio::test(start_paused = true)]
async fn latencies_spread_over_their_range() {
    let (min, max) = (Duration::from_secs(1), Duration::from_secs(10));
    let bank = bank(|o| o.latency = Latency::between(min, max).unwrap());
    let mut waits = Vec::new();
    for id in 1..=200 {
        let start = Instant::now();
        bank.submit(&payout(id, 1)).await;
        waits.push(start.elapsed());
    }
    waits.sort();
    let tick = Duration::from_millis(2);
    assert!(waits[0] >= min && waits[199] <= max + tick, "{:?} ..= {:?}", waits[0], waits[199]);
    assert!(waits[10] < Duration::from_secs(2) && waits[189] > Duration::from_secs(9));
}

#[test]
fn rates_that_cannot_be_are_refused() {
    let refused = |change: fn(&mut SimulatedBankOptions)| {
        let mut options = SimulatedBankOptions::default();
        change(&mut options);
        SimulatedBank::new(options).unwrap_err()
    };
    assert!(refused(|o| o.success_rate = 1.1).contains("success rate is 1.1"));
    assert!(refused(|o| o.rejected_rate = -0.1).contains("rejected rate is -0.1"));
    assert!(refused(|o| o.accepted_rate = f64::NAN).contains("accepted"));
    let sum = refused(|o| {
        o.rejected_rate = 0.6;
        o.ambiguous_paid_rate = 0.6;
    });
    assert!(sum.contains("sum to 1.2"), "{sum}");
    assert_eq!(Latency::between(Duration::from_secs(2), Duration::from_secs(1)), None);
}
