//! `GET /audit`

use axum::extract::{Request, State};
use axum::response::Response;
use ledger_core::{Audit, CurrencyAudit};

use crate::app::App;
use crate::error::Problem;
use crate::wire::json::{self, Object};
use crate::wire::{query, views};

/// Whether the books balance: one cut of all accounts, taken while writers run.
pub(super) async fn audit(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let [deep] = query::parameters(request.uri(), ["deep"])?;
    let deep = deep.map(|deep| deep.one_of(&[("true", true), ("false", false)])).transpose()?.unwrap_or(false);
    let ledger = app.ledger.clone();
    let asked = if deep {
        // Every account is added up again, which takes as long as there are accounts.
        tokio::task::spawn_blocking(move || ledger.audit_deep()).await.map_err(|_| Problem::internal())?
    } else {
        ledger.audit()
    };
    let audit = asked.map_err(Problem::of_read)?.await.map_err(Problem::of_read)?;
    Ok(answer(&audit, deep))
}

fn answer(audit: &Audit, deep: bool) -> Response {
    let mut out = Vec::with_capacity(512);
    let mut object = Object::begin(&mut out);
    object.bool("balanced", audit.is_balanced()).bool("deep", deep);
    json::array(object.name("currencies"), &audit.currencies, |out, sums| currency(out, sums, deep));
    object.integer("seq", audit.seq.get());
    object.end();
    views::json(out)
}

fn currency(out: &mut Vec<u8>, sums: &CurrencyAudit, deep: bool) {
    let mut object = Object::begin(out);
    object
        .word("currency", sums.currency.as_str())
        .integer("accounts", sums.accounts)
        .wide("total", sums.total as i128)
        .wide("withdrawable", sums.withdrawable() as i128)
        .wide("held", sums.held as i128)
        .wide("reserved", sums.reserved as i128)
        .wide("external", sums.external)
        .wide("suspense", sums.suspense)
        .wide("sum", sums.sum());
    if deep {
        object.integer("mismatched_shards", sums.deep_mismatches);
    }
    object.end();
}
