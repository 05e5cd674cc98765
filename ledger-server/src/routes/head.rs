//! `GET /head`

use axum::extract::{Request, State};
use axum::response::Response;

use crate::app::App;
use crate::error::{Code, Problem};
use crate::wire::json::Object;
use crate::wire::{query, views};

/// The history in one hash, for who keeps it elsewhere, signed if there is a key.
pub(super) async fn head(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    query::none(request.uri())?;
    let Some(head) = app.ledger.head() else {
        return Err(Problem::new(Code::NotFound, "this ledger keeps no log, and so has no head".to_owned()));
    };
    let ledger = app.ledger.uuid();
    let mut out = Vec::with_capacity(512);
    let mut object = Object::begin(&mut out);
    object.word("ledger", &ledger.to_string()).integer("seq", head.seq.get()).word("head", &head.hex());
    if let Some(signer) = &app.options.signer {
        object.word("signature", &hex(&signer.sign(&ledger, &head))).word("public_key", &hex(signer.public_key()));
    }
    object.end();
    Ok(views::json(out))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
