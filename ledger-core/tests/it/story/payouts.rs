//! Stories of withdrawals.

use super::language::check;

#[test]
fn a_place_is_held_until_the_first_attempt_ends() {
    check(
        "
        places 1
        charge   alice 100
        withdraw alice 10 key w
        withdraw alice 10           => queue full
        attempt  w                  => submitting 1
        withdraw alice 10           => queue full
        outcome  w not-sent         => reserved
        withdraw alice 10 key v
        withdraw alice 10           => queue full
        balance  alice              => 80 + 0 + 20",
    );
}

#[test]
fn a_withdrawal_without_money_gives_its_place_back() {
    check(
        "
        places 1
        withdraw alice 10           => insufficient, 0 left
        charge   alice 10
        withdraw alice 10",
    );
}

#[test]
fn a_settled_withdrawal_leaves_for_the_world_outside() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        show     w                  => withdrawal debit pending
        attempt  w                  => submitting 1
        attempt  w                  => not now
        outcome  w settled          => completed
        outcome  w settled          => repeat
        show     w                  => withdrawal debit completed
        balance  alice              => 60 + 0 + 0
        attempt  w                  => ended
        audit",
    );
}

#[test]
fn a_definite_refusal_releases_the_money_once() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w rejected         => failed
        balance  alice              => 100 + 0 + 0
        show     w                  => withdrawal debit failed
        attempt  w                  => ended
        outcome  w settled          => contradicted
        balance  alice              => 100 + 0 + 0
        audit",
    );
}

#[test]
fn an_attempt_that_was_not_sent_is_repeated_and_given_up_after_the_last() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w not-sent         => reserved
        attempt  w                  => not now
        clock    2
        attempt  w                  => submitting 2
        outcome  w not-sent         => reserved
        clock    10
        attempt  w                  => submitting 3
        outcome  w not-sent         => reserved
        clock    20
        attempt  w                  => submitting 4
        outcome  w not-sent         => failed
        balance  alice              => 100 + 0 + 0",
    );
}

#[test]
fn an_ambiguous_attempt_keeps_the_money_until_the_bank_tells() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w ambiguous        => unknown
        balance  alice              => 60 + 0 + 40
        attempt  w                  => not now
        clock    10
        due                         => inquire w
        inquire  w pending          => unknown
        inquire  w settled          => completed
        balance  alice              => 60 + 0 + 0
        audit",
    );
}

#[test]
fn what_the_bank_does_not_find_is_reviewed_and_never_released() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w ambiguous        => unknown
        clock    10
        inquire  w not-found        => needs review
        balance  alice              => 60 + 0 + 40
        show     w                  => withdrawal debit pending
        attempt  w                  => not now",
    );
}

#[test]
fn an_attempt_cut_off_by_a_crash_is_never_failed_nor_repeated() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        power cut
        attempt  w                  => not now
        balance  alice              => 60 + 0 + 40
        due                         => nothing
        clock    60
        due                         => inquire w
        inquire  w settled          => completed
        balance  alice              => 60 + 0 + 0
        audit",
    );
}

#[test]
fn a_reservation_without_an_attempt_is_submitted_after_a_crash() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        due                         => submit w
        power cut
        due                         => submit w
        attempt  w                  => submitting 1",
    );
}

#[test]
fn a_withdrawal_is_cancelled_before_its_first_attempt_or_never() {
    check(
        "
        places 1
        charge   alice 100
        withdraw alice 40 key w
        withdraw alice 10 key v     => queue full
        cancel   w key c            => cancelled
        cancel   w key c            => duplicate
        charge   alice 1 key c      => reused
        balance  alice              => 100 + 0 + 0
        show     w                  => withdrawal debit failed
        show     c                  => withdrawal debit failed
        attempt  w                  => ended
        withdraw alice 10 key v
        attempt  v                  => submitting 1
        cancel   v                  => not cancellable
        power cut
        cancel   w key c            => duplicate
        cancel   v                  => not cancellable
        audit",
    );
}

#[test]
fn an_operator_decides_what_the_bank_cannot_tell() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        resolve  w failed           => never attempted
        attempt  w                  => submitting 1
        resolve  w failed           => under way
        outcome  w ambiguous        => unknown
        clock    10
        inquire  w not-found        => needs review
        resolve  w failed key r     => failed
        balance  alice              => 100 + 0 + 0
        resolve  w failed key r     => duplicate
        resolve  w failed           => already resolved
        resolve  w completed        => already resolved
        suspense                    => 0
        power cut
        resolve  w failed key r     => duplicate
        resolve  w completed key r  => reused
        balance  alice              => 100 + 0 + 0
        audit",
    );
}

#[test]
fn a_payment_that_turns_out_after_a_release_goes_through_suspense_once() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w ambiguous        => unknown
        resolve  w failed           => failed
        told     w settled          => discrepancy, failed
        told     w settled          => repeat, failed
        inquire  w settled          => repeat
        suspense                    => -40
        balance  alice              => 100 + 0 + 0
        audit
        power cut
        suspense                    => -40
        told     w returned         => changed, failed
        told     w returned         => repeat, failed
        suspense                    => 0
        balance  alice              => 100 + 0 + 0
        audit",
    );
}

#[test]
fn the_bank_tells_by_itself_and_tells_it_again() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w ambiguous        => unknown
        told     w pending          => changed, bank pending
        told     w pending          => repeat, bank pending
        told     w settled          => changed, completed
        told     w settled          => repeat, completed
        told     w failed           => discrepancy, completed
        balance  alice              => 60 + 0 + 0
        suspense                    => 0
        audit",
    );
}

#[test]
fn what_comes_back_is_a_new_credit_and_the_withdrawal_stays_completed() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w settled          => completed
        clock    5
        told     w returned         => changed, returned
        told     w returned         => repeat, returned
        show     w                  => withdrawal debit completed
        balance  alice              => 100 + 0 + 0
        balance  alice at 4         => 60 + 0 + 0
        list     alice return       => / 1
        power cut
        list     alice return       => / 1
        balance  alice              => 100 + 0 + 0
        audit",
    );
}

#[test]
fn what_comes_back_to_a_full_account_goes_to_suspense() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w settled          => completed
        charge   alice 9007199254740931
        told     w returned         => changed, returned
        suspense                    => 40
        balance  alice              => 9007199254740991 + 0 + 0
        power cut
        suspense                    => 40
        audit",
    );
}

#[test]
fn an_operator_who_fails_what_the_bank_then_settles_is_contradicted() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        power cut
        resolve  w failed           => failed
        outcome  w settled          => contradicted
        outcome  w settled          => repeat
        suspense                    => -40
        audit",
    );
}
