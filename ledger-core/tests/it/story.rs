//! The main rules as stories, in a small language of their own; one [`check`] touches the API.
//!
//! ```text
//! charge USER AMOUNT [CURRENCY] [until T] [note TEXT] [key KEY]   => completed, or a reason
//! transfer USER USER AMOUNT …                                     => completed, or a reason
//! withdraw USER AMOUNT [CURRENCY] [to DESTINATION] [key KEY] …    => pending, or a reason
//! atomic / batch, then commands, then end                         => accepted, repeat, or INDEX and a reason
//! balance USER [CURRENCY] [at T]    => withdrawable + held + reserved [until T]
//! list USER [CURRENCY] [KIND] [STATUS] [from T] [to T] [oldest] [limit N] [skip N] [after KEY] => keys / total [more]
//! show KEY [for USER]               => KIND DIRECTION STATUS [until T], or nothing
//! cancel KEY [key ORDER] | resolve KEY OUTCOME [key ORDER]  => where the withdrawal is, or a reason
//! told KEY OUTCOME                  => what the notice changed, and where the withdrawal is
//! suspense                          => the balance of suspense
//! attempt KEY | outcome KEY CLASS | inquire KEY ANSWER  => where the withdrawal is, or a reason
//! due                               => submit KEY, inquire KEY, …, or nothing
//! clock T | wall T | accept clock | close | reopen | kill | power cut | audit
//! places N                          only at the beginning
//! ```
//! T is in seconds from the story's beginning. A command without a key gets one of its own; `=>` may be left out where
//! all goes well.

mod language;
mod payouts;

use language::check;

#[test]
fn an_account_never_used_holds_nothing() {
    check(
        "
        balance alice          => 0 + 0 + 0
        balance carol EUR      => 0 + 0 + 0
        balance alice at 99    => 0 + 0 + 0
        list alice             => / 0
        show nothing           => nothing
        audit",
    );
}

#[test]
fn charged_money_can_be_spent_at_once() {
    check(
        "
        charge alice 100
        balance alice          => 100 + 0 + 0
        transfer alice bob 60
        balance alice          => 40 + 0 + 0
        balance bob            => 60 + 0 + 0
        audit",
    );
}

#[test]
fn an_expired_hold_frees_its_funds() {
    check(
        "
        charge   alice 100 until 10
        balance  alice              => 0 + 100 + 0 until 10
        withdraw alice 50           => insufficient, 0 left
        clock    9
        withdraw alice 50           => insufficient, 0 left
        clock    10
        balance  alice              => 100 + 0 + 0
        withdraw alice 50           => pending
        balance  alice              => 50 + 0 + 50
        audit",
    );
}

#[test]
fn a_release_in_the_past_or_now_is_no_hold() {
    check(
        "
        clock   100
        charge  alice 10 until 99
        charge  alice 10 until 100
        balance alice               => 20 + 0 + 0
        charge  alice 10 until 101
        balance alice               => 20 + 10 + 0 until 101",
    );
}

#[test]
fn holds_mature_one_by_one_in_the_order_of_their_times() {
    check(
        "
        charge  alice 1 until 30
        charge  alice 2 until 10
        charge  alice 4 until 20
        charge  alice 8 until 10
        balance alice               => 0 + 15 + 0 until 10
        clock   10
        balance alice               => 10 + 5 + 0 until 20
        clock   25
        balance alice               => 14 + 1 + 0 until 30
        clock   1000
        balance alice               => 15 + 0 + 0",
    );
}

#[test]
fn a_balance_is_told_for_the_past_and_the_future() {
    check(
        "
        charge   alice 100 until 10
        clock    5
        charge   alice 1
        clock    20
        transfer alice bob 30
        balance  alice at -1        => 0 + 0 + 0
        balance  alice at 0         => 0 + 100 + 0 until 10
        balance  alice at 4         => 0 + 100 + 0 until 10
        balance  alice at 5         => 1 + 100 + 0 until 10
        balance  alice at 9         => 1 + 100 + 0 until 10
        balance  alice at 10        => 101 + 0 + 0
        balance  alice at 20        => 71 + 0 + 0
        balance  bob at 19          => 0 + 0 + 0
        charge   bob 7 until 50
        balance  bob at 49          => 30 + 7 + 0 until 50
        balance  bob at 50          => 37 + 0 + 0",
    );
}

#[test]
fn a_past_balance_knows_of_the_reservations_of_then() {
    check(
        "
        charge   alice 100
        clock    10
        withdraw alice 40 key w
        clock    20
        attempt  w                  => submitting 1
        outcome  w settled          => completed
        balance  alice at 5         => 100 + 0 + 0
        balance  alice at 15        => 60 + 0 + 40
        balance  alice at 20        => 60 + 0 + 0",
    );
}

#[test]
fn a_transfer_can_be_held_for_its_receiver() {
    check(
        "
        charge   alice 100
        transfer alice bob 60 until 10
        balance  alice              => 40 + 0 + 0
        balance  bob                => 0 + 60 + 0 until 10
        transfer bob alice 1        => insufficient, 0 left
        clock    10
        transfer bob alice 1",
    );
}

#[test]
fn both_parties_of_a_held_transfer_see_until_when_it_is_held() {
    check(
        "
        charge   alice 100 key a
        transfer alice bob 60 until 10 key b
        charge   bob 1 until 20 key c
        show     a                  => charge credit completed
        show     c                  => charge credit completed until 20
        show     b for bob          => transfer credit completed until 10
        show     b                  => transfer debit completed until 10",
    );
}

#[test]
fn a_rejected_operation_of_a_batch_leaves_its_key_free() {
    check(
        "
        batch
          transfer alice bob 5 key a
          charge   alice 5 key b
        end                         => insufficient, 0 left, completed
        transfer alice bob 5 key a
        batch
          transfer alice bob 5 key c
          charge   alice 5 key c
        end                         => insufficient, 0 left, completed
        show     c                  => charge credit completed",
    );
}

#[test]
fn nobody_spends_what_is_not_there() {
    check(
        "
        charge   alice 100
        transfer alice bob 101      => insufficient, 100 left
        withdraw alice 101          => insufficient, 100 left
        transfer bob alice 1        => insufficient, 0 left
        transfer alice bob 100
        transfer alice bob 1        => insufficient, 0 left
        balance  alice              => 0 + 0 + 0
        audit",
    );
}

#[test]
fn reserved_money_is_neither_spent_nor_reserved_again() {
    check(
        "
        charge   alice 100
        withdraw alice 70
        withdraw alice 31           => insufficient, 30 left
        transfer alice bob 31       => insufficient, 30 left
        transfer alice bob 30
        balance  alice              => 0 + 0 + 70",
    );
}

#[test]
fn currencies_are_accounts_of_their_own() {
    check(
        "
        charge   alice 100
        charge   alice 5 EUR
        transfer alice bob 6 EUR    => insufficient, 5 left
        transfer alice bob 5 EUR
        balance  alice              => 100 + 0 + 0
        balance  bob EUR            => 5 + 0 + 0
        balance  bob                => 0 + 0 + 0
        audit",
    );
}

#[test]
fn an_account_takes_as_much_as_every_client_can_hold_and_no_more() {
    check(
        "
        charge   alice max
        charge   alice 1            => overflow
        charge   bob 1
        transfer bob alice 1        => overflow
        transfer alice bob max      => overflow
        withdraw alice max key w
        charge   alice 1            => overflow
        attempt  w                  => submitting 1
        outcome  w settled          => completed
        charge   alice max
        charge   carol max until 10
        charge   carol 1            => overflow
        audit",
    );
}

#[test]
fn nobody_transfers_to_himself() {
    check(
        "
        charge   alice 100
        transfer alice alice 1      => same account
        transfer alice alice 101    => same account",
    );
}

#[test]
fn a_repeat_is_told_of_the_original_and_moves_nothing() {
    check(
        "
        charge   alice 100 key k
        charge   alice 100 key k    => duplicate
        transfer alice bob 100 key t
        transfer alice bob 100 key t => duplicate
        charge   alice 5
        withdraw alice 5 key w
        withdraw alice 5 key w      => duplicate
        balance  alice              => 0 + 0 + 5
        balance  bob                => 100 + 0 + 0",
    );
}

#[test]
fn a_key_used_for_something_else_is_misused_whatever_differs() {
    check(
        "
        charge   alice 100 until 10 note a key k
        charge   alice 101 until 10 note a key k      => reused
        charge   bob 100 until 10 note a key k        => reused
        charge   alice 100 EUR until 10 note a key k  => reused
        charge   alice 100 until 11 note a key k      => reused
        charge   alice 100 note a key k               => reused
        charge   alice 100 until 10 note b key k      => reused
        charge   alice 100 until 10 key k             => reused
        withdraw alice 100 note a key k               => reused
        transfer alice bob 100 until 10 note a key k  => reused
        charge   alice 100 until 10 note a key k      => duplicate
        charge   alice 5
        withdraw alice 5 to here key w
        withdraw alice 5 to there key w               => reused
        withdraw alice 5 key w                        => reused",
    );
}

#[test]
fn a_rejected_command_leaves_its_key_free() {
    check(
        "
        withdraw alice 50 key k     => insufficient, 0 left
        charge   alice 50 key k
        withdraw alice 50 key k     => reused",
    );
}

#[test]
fn keys_live_for_ever_through_closing_killing_and_power_cuts() {
    check(
        "
        charge   alice 100 key k
        reopen
        charge   alice 100 key k    => duplicate
        kill
        charge   alice 101 key k    => reused
        power cut
        charge   alice 100 key k    => duplicate
        balance  alice              => 100 + 0 + 0",
    );
}

#[test]
fn a_repeat_is_a_repeat_even_when_there_is_no_place_and_no_money() {
    check(
        "
        places 1
        charge   alice 100
        withdraw alice 100 key w
        withdraw alice 100 key w    => duplicate
        withdraw alice 1            => queue full",
    );
}

#[test]
fn an_atomic_batch_is_taken_as_a_whole() {
    check(
        "
        atomic
          charge   alice 100 key a
          transfer alice bob 60 key b
          withdraw bob 60 key c
        end                         => accepted
        balance alice               => 40 + 0 + 0
        balance bob                 => 0 + 0 + 60
        audit",
    );
}

#[test]
fn an_atomic_batch_with_one_bad_operation_leaves_no_trace() {
    check(
        "
        charge   alice 10
        atomic
          transfer alice bob 10 key a
          transfer alice bob 1 key b
        end                         => 1 insufficient, 0 left
        balance alice               => 10 + 0 + 0
        balance bob                 => 0 + 0 + 0
        show    a                   => nothing
        charge  bob 1 key a
        audit",
    );
}

#[test]
fn an_atomic_batch_repeated_as_a_whole_is_answered_as_it_was() {
    check(
        "
        atomic
          charge alice 100 key a
          charge bob 100 key b
        end                         => accepted
        atomic
          charge alice 100 key a
          charge bob 100 key b
        end                         => repeat
        power cut
        atomic
          charge alice 100 key a
          charge bob 100 key b
        end                         => repeat
        atomic
          charge alice 100 key a
        end                         => 0 duplicate
        atomic
          charge alice 100 key a
          charge bob 101 key b
        end                         => 0 duplicate
        charge alice 100 key a      => duplicate
        balance alice               => 100 + 0 + 0",
    );
}

#[test]
fn a_key_twice_in_a_batch_makes_the_second_a_repeat() {
    check(
        "
        batch
          charge alice 1 key a
          charge alice 1 key a
          charge alice 2 key a
        end                         => completed, duplicate, reused
        atomic
          charge alice 1 key b
          charge alice 1 key b
        end                         => 1 key twice
        show b                      => nothing
        balance alice               => 1 + 0 + 0",
    );
}

#[test]
fn each_operation_of_a_batch_sees_those_before_it() {
    check(
        "
        batch
          transfer alice bob 5 key a
          charge   alice 5 key b
          transfer alice bob 5 key c
          transfer bob alice 6 key d
          withdraw bob 5 key e
        end                         => insufficient, 0 left, completed, completed, insufficient, 5 left, pending
        audit",
    );
}

#[test]
fn transactions_are_listed_for_both_parties() {
    check(
        "
        charge   alice 100 key a
        transfer alice bob 10 key b
        withdraw bob 5 key c
        list alice                  => b a / 2
        list bob                    => c b / 2
        show b                      => transfer debit completed
        show b for alice            => transfer debit completed
        show b for bob              => transfer credit completed
        show b for carol            => nothing
        show a                      => charge credit completed
        show a for bob              => nothing",
    );
}

#[test]
fn lists_are_filtered_and_paged() {
    check(
        "
        charge   alice 100 key a
        clock    10
        charge   alice 100 EUR key b
        transfer alice bob 10 key c
        clock    20
        withdraw alice 5 key d
        withdraw alice 5 key e
        attempt  e                  => submitting 1
        outcome  e rejected         => failed
        list alice                  => e d c b a / 5
        list alice oldest           => a b c d e / 5
        list alice EUR              => b / 1
        list alice charge           => b a / 2
        list alice withdrawal pending => d / 1
        list alice failed           => e / 1
        list alice from 10          => e d c b / 4
        list alice to 10            => a / 1
        list alice from 10 to 20    => c b / 2
        list alice limit 2          => e d / 5 more
        list alice limit 2 skip 2   => c b / 5 more
        list alice limit 2 skip 4   => a / 5
        list alice limit 2 skip 6   => / 5
        list alice limit 5          => e d c b a / 5
        list alice limit 2 after d  => c b / 5 more
        list alice limit 3 after d  => c b a / 5
        list alice oldest limit 2 after b => c d / 5 more
        list alice after a          => / 5",
    );
}

#[test]
fn time_in_the_ledger_never_goes_back() {
    check(
        "
        charge  alice 10 until 100
        clock   100
        balance alice               => 10 + 0 + 0
        wall    50
        balance alice               => 10 + 0 + 0
        transfer alice bob 10
        charge  bob 5 until 99
        balance bob                 => 15 + 0 + 0",
    );
}

#[test]
fn a_clock_that_leaps_ahead_releases_no_hold_until_it_is_accepted() {
    check(
        "
        charge  alice 10 until 100
        wall    1000                => not believed
        balance alice               => 0 + 10 + 0 until 100
        charge  alice 1
        wall    61                  => not believed
        balance alice               => 1 + 10 + 0 until 100
        wall    1000                => not believed
        accept clock
        balance alice               => 11 + 0 + 0",
    );
}

#[test]
fn a_clock_that_is_a_little_ahead_is_believed() {
    check(
        "
        charge  alice 10 until 100
        clock   50
        wall    100
        balance alice               => 10 + 0 + 0",
    );
}

#[test]
fn a_wrong_clock_at_the_opening_needs_an_explicit_option() {
    check(
        "
        clock   1000
        charge  alice 10 until 5000000
        wall    940
        reopen
        wall    939
        reopen                      => wrong clock",
    );
    check(
        "
        charge  alice 10 until 2592002
        wall    2592000             => not believed
        reopen
        balance alice               => 0 + 10 + 0 until 2592002",
    );
    check(
        "
        charge  alice 10 until 5000000
        wall    2592001             => not believed
        reopen                      => wrong clock",
    );
    check(
        "
        charge  alice 10 until 5000000
        wall    6000000             => not believed
        reopen accepting
        balance alice               => 10 + 0 + 0",
    );
}

#[test]
fn a_hold_that_was_seen_to_mature_is_never_unreleased_by_a_restart() {
    check(
        "
        charge  alice 10 until 30
        clock   30
        balance alice               => 10 + 0 + 0
        wall    29
        reopen
        balance alice               => 10 + 0 + 0",
    );
}

#[test]
fn a_closed_ledger_takes_no_commands() {
    check(
        "
        charge alice 1
        close
        charge alice 1              => shutting down
        reopen
        charge alice 1",
    );
}
