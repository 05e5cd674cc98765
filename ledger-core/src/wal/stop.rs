//! Whether the withdrawals of a restored ledger wait for an operator, and what tells that he let them go.
//!
//! A stop has an identity of its own, which a release keeps in a file before it removes the stop: so the other side of a mirrored
//! ledger can tell a stop that was let go from one that it never had. What must hold: a stop is removed by an operator, or where
//! it is known that an operator has let go of this very one; in all other cases both sides stop.

use uuid::Uuid;

use super::names::{EXECUTOR_RELEASED, EXECUTOR_STOPPED};
use super::segment::during;
use super::twin;
use crate::error::OpenError;
use crate::sys::{ReadFrom, Storage, is_unreadable};

/// A stop, or the trace of one that was let go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stop {
    /// `None` where that cannot be read, or where the file was made by hand: it is nobody's then.
    id: Option<Uuid>,
}

impl Stop {
    /// Whether `other` is certainly of the same restore.
    fn is(self, other: Stop) -> bool {
        self.id.is_some() && self == other
    }
}

/// Stops the withdrawals of the ledger that `side` has or will have. Durable when it returns.
///
/// # Errors
/// The storage's.
pub(crate) fn put(side: &dyn Storage) -> Result<(), OpenError> {
    write(side, EXECUTOR_STOPPED, Uuid::new_v4())?;
    sync(side)
}

/// Lets them go, if they are stopped. Durable when it returns.
///
/// # Errors
/// The storage's.
pub(crate) fn release(side: &dyn Storage) -> Result<(), OpenError> {
    let Some(stop) = read(side, EXECUTOR_STOPPED)? else { return sync(side) };
    if let Some(id) = stop.id {
        if read(side, EXECUTOR_RELEASED)?.is_some() {
            during(side.remove(EXECUTOR_RELEASED), "removing", EXECUTOR_RELEASED)?;
        }
        write(side, EXECUTOR_RELEASED, id)?;
        sync(side)?;
    }
    remove(side)
}

/// Whether they are stopped on `side`.
///
/// # Errors
/// The storage's.
pub(super) fn of(side: &dyn Storage) -> Result<Option<Stop>, OpenError> {
    read(side, EXECUTOR_STOPPED)
}

/// Whether `side` says that an operator has let go of `stop`.
///
/// # Errors
/// The storage's.
pub(super) fn was_released(side: &dyn Storage, stop: Stop) -> Result<bool, OpenError> {
    Ok(of(side)?.is_none() && read(side, EXECUTOR_RELEASED)?.is_some_and(|released| released.is(stop)))
}

/// Makes the sides of a mirrored ledger agree, before the log on `to` is made that on `from`. Durable when it returns.
///
/// # Errors
/// The storage's.
pub(super) fn settle(from: &dyn Storage, to: &dyn Storage) -> Result<(), OpenError> {
    match (of(from)?, of(to)?) {
        (None, None) => Ok(()),
        (Some(stop), None) if was_released(to, stop)? => remove(from),
        (None, Some(stop)) if was_released(from, stop)? => remove(to),
        (Some(_), None) => copy(from, to),
        (None, Some(_)) => copy(to, from),
        // A release is told of the stop that the ledger has which is kept.
        (Some(stop), Some(other)) if stop.id.is_some() && stop != other => copy(from, to),
        (Some(_), Some(_)) => Ok(()),
    }
}

fn copy(from: &dyn Storage, to: &dyn Storage) -> Result<(), OpenError> {
    twin::copy_files(from, to, &[EXECUTOR_STOPPED.to_owned()])?;
    sync(to)
}

fn remove(side: &dyn Storage) -> Result<(), OpenError> {
    during(side.remove(EXECUTOR_STOPPED), "removing", EXECUTOR_STOPPED)?;
    sync(side)
}

fn read(side: &dyn Storage, name: &str) -> Result<Option<Stop>, OpenError> {
    if !twin::list(side)?.iter().any(|there| there == name) {
        return Ok(None);
    }
    let file = during(side.open(name), "opening", name)?;
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let read = match file.read_from(ReadFrom::Device, &mut text, 0) {
        Err(err) if is_unreadable(&err) => 0,
        read => during(read, "reading", name)?,
    };
    Ok(Some(Stop { id: Uuid::try_parse_ascii(&text[..read]).ok() }))
}

fn write(side: &dyn Storage, name: &str, id: Uuid) -> Result<(), OpenError> {
    let file = during(side.create(name), "creating", name)?;
    during(file.write_at(id.to_string().as_bytes(), 0), "writing", name)?;
    Ok(during(file.sync_data(), "syncing", name)?)
}

fn sync(side: &dyn Storage) -> Result<(), OpenError> {
    Ok(during(side.sync_directory(), "syncing", &side.describe())?)
}
