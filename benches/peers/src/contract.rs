//! Whether a store does what is asked: a figure of one that does less would be a figure of something else.

use ledger_benches::workload::{Keys, Random};

use crate::peer::{Account, Charge, Outcome, Peer};

/// Users that no measurement draws.
const FIRST: u64 = 1 << 40;
const SECOND: u64 = FIRST + 1;

/// Refuses a repeated key from the same user, from another, and in the same batch; keeps balance and history of what it
/// took, and of nothing else.
pub(crate) fn keeps_it(peer: &dyn Peer) -> Outcome<()> {
    let mut keys = Keys::lane();
    let [a, b, c] = [keys.make(), keys.make(), keys.make()];
    let mut session = peer.session()?;
    let mut expect = |what: &str, given: &[Charge], taken: &[bool]| -> Outcome<()> {
        match session.batch(given)? {
            found if found == taken => Ok(()),
            found => Err(format!("{what}: took {found:?}, not {taken:?}").into()),
        }
    };
    expect("a first charge", &[Charge::new(FIRST, 5, a)], &[true])?;
    expect("a repeat", &[Charge::new(FIRST, 5, a)], &[false])?;
    expect("another user's repeat", &[Charge::new(SECOND, 5, a)], &[false])?;
    let mixed = [(FIRST, 7, b), (FIRST, 5, a), (SECOND, 9, b), (SECOND, 11, c), (FIRST, 13, c)];
    let mixed = mixed.map(|(user, amount, key)| Charge::new(user, amount, key));
    expect("a batch with repeats", &mixed, &[true, false, false, true, false])?;
    if session.charge(&mixed[0])? {
        return Err("a repeat by itself was taken".into());
    }
    for (user, rows) in [(FIRST, vec![5, 7]), (SECOND, vec![11])] {
        let wanted = Account { balance: rows.iter().sum(), rows };
        let mut found = session.account(user)?;
        found.rows.sort_unstable();
        if found != wanted {
            return Err(format!("an account is {found:?}, not {wanted:?}").into());
        }
    }
    Ok(())
}

/// After the measurement: accounts drawn at random are worth what their history says.
pub(crate) fn kept_it(peer: &dyn Peer, accounts: u64) -> Outcome<()> {
    let (mut session, mut random) = (peer.session()?, Random::new(2));
    for _ in 0..200 {
        let user = random.below(accounts) + 1;
        let found = session.account(user)?;
        if found.rows.is_empty() || found.balance != found.rows.iter().sum() {
            return Err(format!("account {user} is {found:?}: its balance is not its history's sum").into());
        }
    }
    Ok(())
}
