//! What is private here and measured elsewhere. Not part of the interface: it changes as what it measures does.

use ledger_core::Command;

use crate::Terms;
use crate::wire::body;
use crate::wire::fields::Fields;
use crate::wire::key::HeaderKey;
use crate::wire::operation::{Kind, Operation};

/// Reads a body as `POST /charge` does, up to the command for the ledger, of which `then` is called. `None` if it is refused.
pub fn charge<T>(body: &[u8], terms: &Terms, then: impl FnOnce(Command<'_>) -> T) -> Option<T> {
    let fields = Fields::of_body(body::text(body).ok()?).ok()?;
    fields.refuse_strays(Kind::Charge.fields()).ok()?;
    let operation = Operation::read(Kind::Charge, &fields, HeaderKey::Absent, terms).ok()?;
    Some(then(operation.command()))
}
