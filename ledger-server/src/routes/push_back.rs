//! A group of operations that meets a full pipe is offered again, in place of being refused: a stream can push back, which a
//! single command cannot, and a batch may be more than the pipe takes at once.
//!
//! What is refused for want of room left nothing behind, but the operations after it may have been accepted, or have been refused
//! only because it was. So what is offered again is what a refusal for want of room comes before, and among that nothing
//! whose account or key was decided for good behind it: operations on one account stay in their order.

use std::collections::HashSet;
use std::time::Duration;

use ledger_core::{Command, Currency, Error, Halted, Rejection, UserId};

use super::batch::{Decided, Read, decide};
use crate::app::App;
use crate::wire::operation::Operation;

/// How often, and how long apart, a group is offered to a pipe from which nothing leaves. At the memory limit it never does.
const TRIES_OF_A_STREAM: u32 = 500;
/// Fewer, since who sent a batch waits, and can be told to repeat it.
const TRIES_OF_A_BATCH: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// How one stream or batch waits for room.
pub(super) struct PushBack {
    tries_max: u32,
    /// Whether the last group found room in the end. If not, the next one does not wait for it.
    is_patient: bool,
}

impl PushBack {
    pub(super) fn of_a_stream() -> PushBack {
        PushBack { tries_max: TRIES_OF_A_STREAM, is_patient: true }
    }

    pub(super) fn of_a_batch() -> PushBack {
        PushBack { tries_max: TRIES_OF_A_BATCH, is_patient: true }
    }

    /// What the ledger says to each operation that is one, in their order; what was refused for want of room waited for it.
    pub(super) async fn decide(&mut self, app: &App, operations: &[Read<'_>]) -> Result<Vec<Decided>, Error> {
        let mut decided = decide(app, operations).await?;
        let mut tries_left = if self.is_patient { self.tries_max } else { 1 };
        loop {
            let again = to_offer_again(operations, &decided);
            self.is_patient = again.is_empty();
            if again.is_empty() || tries_left == 0 {
                return Ok(decided);
            }
            tokio::time::sleep(PAUSE).await;
            // The first alone, as long as there is no room for it.
            let first = again.iter().position(|&index| lacks_room(&decided[index])).unwrap_or(0);
            let (first, rest) = again.split_at(first + 1);
            offer(app, operations, first, &mut decided).await?;
            if first.iter().any(|&index| lacks_room(&decided[index])) {
                tries_left -= 1;
            } else {
                offer(app, operations, rest, &mut decided).await?;
                tries_left = self.tries_max;
            }
        }
    }
}

/// Offers those of a group that `indexes` name. Others may be recorded, so after a halt the group's outcome is not known.
async fn offer(app: &App, operations: &[Read<'_>], indexes: &[usize], decided: &mut [Decided]) -> Result<(), Error> {
    let commands: Vec<Command<'_>> =
        indexes.iter().filter_map(|&index| Some(operations[index].as_ref().ok()?.command())).collect();
    let results = match app.ledger.batch(&commands) {
        Ok(commit) => commit.await,
        Err(refused) => Err(refused),
    };
    let results = results.map_err(|error| match error {
        Error::Halted(halted) => Error::Halted(Halted { outcome_unknown: true, ..halted }),
        rejected => rejected,
    })?;
    indexes.iter().zip(results).for_each(|(&index, result)| decided[index] = Some(result));
    Ok(())
}

fn lacks_room(decided: &Decided) -> bool {
    matches!(decided, Some(Err(Rejection::Overloaded)))
}

/// The indexes of what is to be offered again, in their order; none where nothing that was refused for want of room can be.
fn to_offer_again(operations: &[Read<'_>], decided: &[Decided]) -> Vec<usize> {
    let Some(first) = decided.iter().position(lacks_room) else { return Vec::new() };
    let mut decided_for_good = HashSet::new();
    let mut again = Vec::new();
    for index in (first..decided.len()).rev() {
        let (Ok(operation), Some(result)) = (&operations[index], &decided[index]) else { continue };
        let touched = touched(operation);
        if result.is_ok() || touched.iter().any(|touched| decided_for_good.contains(touched)) {
            decided_for_good.extend(touched);
        } else {
            again.push(index);
        }
    }
    again.reverse();
    if again.iter().any(|&index| lacks_room(&decided[index])) { again } else { Vec::new() }
}

/// What the decision of one operation can depend on another for.
#[derive(PartialEq, Eq, Hash, Debug)]
enum Touched<'a> {
    Account(UserId, Currency),
    Key(&'a str),
}

fn touched<'a>(operation: &'a Operation<'_>) -> [Touched<'a>; 3] {
    let account = |user| Touched::Account(user, operation.currency);
    [account(operation.user), account(operation.receiver), Touched::Key(&operation.key)]
}

#[cfg(test)]
mod tests {
    use ledger_core::{Amount, Charge, IdempotencyKey, Ledger, UserId};

    use super::*;
    use crate::wire::fields::Fields;
    use crate::wire::operation::Terms;

    /// What was decided, of transfers from whom to whom, and the indexes of what is offered again.
    type Case = (&'static str, &'static [(u64, u64)], &'static [usize]);

    #[test]
    fn what_lacked_room_is_offered_again_with_what_came_after_and_depends_on_it() {
        let terms = Terms { currency: Currency::USD, currencies: vec![Currency::USD], destination_required: false };
        let ledger = Ledger::options().in_memory().unwrap();
        let (user, amount) = (UserId::new(1).unwrap(), Amount::new(1).unwrap());
        let receipt =
            ledger.charge(Charge::new(user, amount, IdempotencyKey::new("k").unwrap())).unwrap().wait().unwrap();
        // `+`: accepted, `-`: rejected, `o`: no room, `x`: no operation.
        let cases: [Case; 9] = [
            ("+-x+", &[(1, 2), (1, 2), (1, 2), (1, 2)], &[]),
            ("+o", &[(1, 2), (1, 2)], &[1]),
            ("oo", &[(1, 2), (1, 2)], &[0, 1]),
            // It may have been rejected for want of what the one before it brings.
            ("-o-", &[(1, 2), (3, 1), (1, 2)], &[1, 2]),
            ("o+", &[(1, 2), (3, 4)], &[0]),
            ("ox+", &[(1, 2), (1, 2), (3, 4)], &[0]),
            // An account on which a later one was accepted keeps its order,
            ("o+", &[(1, 2), (2, 3)], &[]),
            ("o+o", &[(1, 2), (2, 3), (1, 2)], &[2]),
            // and so does one on which a later one stays rejected.
            ("o-+o", &[(1, 2), (2, 3), (3, 4), (5, 6)], &[3]),
        ];
        for (outcomes, transfers, expected) in cases {
            let bodies: Vec<String> = (transfers.iter().zip(0..))
                .map(|((from, to), n)| {
                    format!(
                        r#"{{"type":"transfer","from_user_id":{from},"to_user_id":{to},"amount":1,"idempotency_key":"k{n}"}}"#
                    )
                })
                .collect();
            let (operations, decided): (Vec<Read<'_>>, Vec<Decided>) = (outcomes.chars().zip(&bodies))
                .map(|(outcome, body)| match outcome {
                    'x' => (Operation::read_typed(&Fields::of_body("{}").unwrap(), &terms), None),
                    _ => {
                        let operation = Operation::read_typed(&Fields::of_body(body).unwrap(), &terms);
                        let decided = match outcome {
                            '+' => Ok(receipt),
                            'o' => Err(Rejection::Overloaded),
                            _ => Err(Rejection::InsufficientBalance { withdrawable: 0 }),
                        };
                        (operation, Some(decided))
                    }
                })
                .unzip();
            assert_eq!(to_offer_again(&operations, &decided), expected, "{outcomes} {transfers:?}");
        }
    }
}
