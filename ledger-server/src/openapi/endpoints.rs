//! What each route takes and answers.

use serde_json::{Value, json};

use crate::error::Code;
use crate::route::Route;

/// What holds for every request.
pub(super) const INTRODUCTION: &str = "A wallet ledger over HTTP. Amounts are integers of minor units, user ids and \
    transaction ids are integers, all from 1 to 9007199254740991; times are RFC 3339, answered in UTC. A request with \
    a field or parameter that is not named here is refused. Every command carries an idempotency key, in the field \
    `idempotency_key` or the header `Idempotency-Key`; a repeat is answered 409 `duplicate_request` with the original \
    transaction, or, under `--duplicates replay`, as the first request was. The answer to a command is sent when it is \
    durable. Errors are `application/problem+json`: a program reads `code`, a person reads `detail`. After a 500 or a \
    broken connection the outcome is unknown: repeat the request with the same key. After any other error nothing was \
    recorded. An unknown path is 404 `not_found`, another method 405 `method_not_allowed` with the header \
    `Allow`; what is no HTTP request gets 400, a path that is too long 414, and a head that is 431, all without a body.";

/// The groups, in their order.
pub(super) const GROUPS: [(&str, &str); 4] = [
    ("Commands", "Money in, moved and paid out."),
    ("Reads", "Balances, transactions and sums."),
    ("Withdrawals", "Payouts after their reservation: what the bank said, and what operators decide."),
    ("Service", "For whoever runs it."),
];

/// One path with its one method.
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) parameters: Vec<Parameter>,
    pub(super) bodies: Vec<Content>,
    pub(super) answers: Vec<Answer>,
    pub(super) codes: Vec<Code>,
    /// Whether the request carries a bank's signature.
    pub(super) is_signed: bool,
}

/// A parameter of the path, the query or a header.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    place: &'static str,
    pub(super) is_required: bool,
    pub(super) description: &'static str,
    schema: Value,
}

/// A kind of body; without a schema it is text.
pub(super) struct Content {
    pub(super) media: &'static str,
    pub(super) schema: Option<&'static str>,
}

/// An answer that is no problem.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) media: &'static str,
    pub(super) schema: Option<&'static str>,
    pub(super) header: Option<(&'static str, &'static str)>,
}

impl Parameter {
    fn query(name: &'static str, description: &'static str, schema: Value) -> Parameter {
        Parameter { name, place: "query", is_required: false, description, schema }
    }

    fn required(self) -> Parameter {
        Parameter { is_required: true, ..self }
    }

    pub(super) fn document(&self) -> Value {
        json!({
            "name": self.name, "in": self.place, "required": self.is_required, "description": self.description,
            "schema": self.schema,
        })
    }
}

impl Endpoint {
    fn new(method: &'static str, group: &'static str, summary: &'static str, description: &'static str) -> Endpoint {
        let (parameters, bodies, answers, codes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Endpoint { method, group, summary, description, parameters, bodies, answers, codes, is_signed: false }
    }

    fn parameters(self, parameters: impl IntoIterator<Item = Parameter>) -> Endpoint {
        Endpoint { parameters: parameters.into_iter().collect(), ..self }
    }

    fn takes(mut self, media: &'static str, schema: Option<&'static str>) -> Endpoint {
        self.bodies.push(Content { media, schema });
        self
    }

    fn takes_json(self, schema: &'static str) -> Endpoint {
        self.takes(JSON, Some(schema))
    }

    fn answers(
        mut self,
        status: u16,
        description: &'static str,
        media: &'static str,
        schema: Option<&'static str>,
    ) -> Endpoint {
        self.answers.push(Answer { status, description, media, schema, header: None });
        self
    }

    fn answers_json(self, description: &'static str, schema: &'static str) -> Endpoint {
        self.answers(200, description, JSON, Some(schema))
    }

    fn with_header(mut self, name: &'static str, description: &'static str) -> Endpoint {
        if let Some(answer) = self.answers.last_mut() {
            answer.header = Some((name, description));
        }
        self
    }

    fn fails(mut self, codes: &[&[Code]]) -> Endpoint {
        for code in codes.iter().copied().flatten() {
            if !self.codes.contains(code) {
                self.codes.push(*code);
            }
        }
        self
    }
}

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const CSV: &str = "text/csv";

/// A body that cannot be read.
const BODY: &[Code] =
    &[Code::InvalidJson, Code::InvalidRequest, Code::RequestTimeout, Code::PayloadTooLarge, Code::UnsupportedMediaType];
/// What becomes of a change of the log.
const WRITE: &[Code] = &[Code::OutcomeUnknown, Code::Overloaded, Code::StorageFull];
/// What becomes of a key.
const KEY: &[Code] =
    &[Code::MissingIdempotencyKey, Code::InvalidIdempotencyKey, Code::DuplicateRequest, Code::IdempotencyKeyReused];

/// What `route` takes and answers; `None` for the route that stands for no path.
pub(super) fn of(route: Route) -> Option<Endpoint> {
    let endpoint = match route {
        Route::Charge | Route::Transfer | Route::Withdraw | Route::Batch => command(route),
        Route::Balance | Route::Transactions | Route::Transaction | Route::Audit => read(route),
        Route::Withdrawals | Route::Withdrawal | Route::Cancel | Route::Resolve => withdrawal(route),
        Route::Notify | Route::NotifyOne => notice(route),
        Route::Reconciliations => reconciliation(),
        Route::Health | Route::Head | Route::Metrics | Route::OpenApi | Route::Docs => service(route),
        Route::Checkpoints => checkpoint(),
        Route::Other => return None,
    };
    let everywhere: &[Code] = if route.answers_always() { &[] } else { &[Code::Halted, Code::ShuttingDown] };
    let to_a_page: &[Code] = if endpoint.method == "get" { &[] } else { &[Code::Forbidden] };
    Some(endpoint.fails(&[&[Code::InvalidRequest, Code::MethodNotAllowed, Code::Internal], everywhere, to_a_page]))
}

fn checkpoint() -> Endpoint {
    let description =
        "Writes a snapshot of the last entry while writers go on, and removes the log that it makes superfluous.";
    Endpoint::new("post", "Service", "A snapshot now", description)
        .answers_json("Written, and durable.", "Checkpoint")
        .fails(&[&[Code::NotFound, Code::StorageFull]])
}

fn command(route: Route) -> Endpoint {
    let new = |summary, description| Endpoint::new("post", "Commands", summary, description);
    let header = || {
        let description = "The key, in place of the field `idempotency_key`; taken raw.";
        [Parameter { place: "header", ..Parameter::query("Idempotency-Key", description, json!({"type": "string"})) }]
    };
    let single: &[&[Code]] = &[BODY, KEY, WRITE, &[Code::InvalidUserId, Code::InvalidAmount, Code::InvalidCurrency]];
    match route {
        Route::Charge => new("Money in", "Credits a user from outside; held until `release_at`, where it is given.")
            .parameters(header())
            .takes_json("Charge")
            .answers_json("Recorded, and durable.", "Receipt")
            .fails(single)
            .fails(&[&[Code::InvalidReleaseAt, Code::BalanceOverflow]]),
        Route::Transfer => new("From one user to another", "Moves withdrawable money; the credit may be held.")
            .parameters(header())
            .takes_json("Transfer")
            .answers_json("Recorded, and durable. The balance is the sender's.", "Receipt")
            .fails(single)
            .fails(&[&[Code::InvalidReleaseAt, Code::SameAccount, Code::InsufficientBalance, Code::BalanceOverflow]]),
        Route::Withdraw => new(
            "Money out, by way of the bank",
            "Reserves the amount from this moment; the bank is called afterwards. 202 says that it is reserved, not \
             that it is paid.",
        )
        .parameters(header())
        .takes_json("Withdraw")
        .answers(202, "Reserved, and durable.", JSON, Some("Receipt"))
        .with_header("Location", "Where the transaction is.")
        .fails(single)
        .fails(&[&[Code::InsufficientBalance, Code::QueueFull]]),
        _ => new(
            "Many commands at once",
            "Up to 10,000 operations and 4 MiB, each with its own key; `atomic`: all or none, and no more than a quarter of a \
             segment of the log takes (else 413; segments of the usual size take any). As `application/x-ndjson` one operation a line in and one result a line out, of any length: the last line says \
             `\"done\": true`, and without it the client repeats everything with the same keys.",
        )
        .takes_json("Batch")
        .takes(LINES, Some("Operation"))
        .answers_json("What became of each operation, in their order.", "BatchResults")
        .answers(200, "", LINES, Some("StreamLine"))
        .fails(&[BODY, WRITE, &[Code::InvalidIdempotencyKey, Code::BatchRejected]]),
    }
}

fn user_id(description: &'static str) -> Parameter {
    Parameter::query("user_id", description, json!({"$ref": "#/components/schemas/Integer"}))
}

fn time(name: &'static str, description: &'static str) -> Parameter {
    Parameter::query(name, description, json!({"$ref": "#/components/schemas/Time"}))
}

fn currency(description: &'static str) -> Parameter {
    Parameter::query("currency", description, json!({"$ref": "#/components/schemas/Currency"}))
}

fn status(description: &'static str) -> Parameter {
    Parameter::query("status", description, json!({"$ref": "#/components/schemas/Status"}))
}

fn limit() -> Parameter {
    Parameter::query("limit", "How many.", json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 10}))
}

fn cursor() -> Parameter {
    Parameter::query("cursor", "The `next_cursor` of the page before.", json!({"type": "string"}))
}

fn id() -> Parameter {
    let schema = json!({"$ref": "#/components/schemas/Integer"});
    Parameter { place: "path", ..Parameter::query("id", "The transaction's id.", schema) }.required()
}

fn read(route: Route) -> Endpoint {
    let new = |summary, description| Endpoint::new("get", "Reads", summary, description);
    match route {
        Route::Balance => new("One account", "Zeros for an account that was never used.")
            .parameters([
                user_id("Whose.").required(),
                currency("Default: the server's default currency."),
                time("at", "As of then, past or future: money as recorded by then, holds as matured by then."),
            ])
            .answers_json("The balance.", "Balance")
            .fails(&[&[Code::InvalidUserId, Code::InvalidCurrency]]),
        Route::Transactions => new(
            "A user's transactions",
            "Newest first. A filtered request scans at most 100,000 and then gives an empty page with `next_cursor`. \
             Pages by number may shift while transactions arrive; a cursor does not.",
        )
        .parameters([
            user_id("Whose; required unless `idempotency_key` is given."),
            Parameter::query("page", "From 1; not together with `cursor`.", json!({"type": "integer", "minimum": 1})),
            limit(),
            cursor(),
            Parameter::query("type", "Of one kind.", json!({"$ref": "#/components/schemas/Type"})),
            status("In one status."),
            currency("In one currency; default: in all."),
            time("from", "Created then or later."),
            time("to", "Created before."),
            Parameter::query("order", "`asc`: oldest first.", json!({"enum": ["asc", "desc"]})),
            Parameter::query("idempotency_key", "The one that this key names.", json!({"type": "string"})),
        ])
        .answers_json("A page.", "TransactionPage")
        .fails(&[&[
            Code::InvalidUserId,
            Code::InvalidCurrency,
            Code::InvalidPage,
            Code::InvalidCursor,
            Code::InvalidIdempotencyKey,
        ]]),
        Route::Transaction => new("One transaction", "As its source user sees it, or as the party `user_id` does.")
            .parameters([id(), user_id("A party of it; anyone else gets 404.")])
            .answers_json("The transaction.", "Transaction")
            .fails(&[&[Code::InvalidUserId, Code::TransactionNotFound]]),
        _ => {
            new("The sums of all accounts", "One consistent cut, taken while writers run; each currency sums to zero.")
                .parameters([Parameter::query("deep", "Add every account up again.", json!({"type": "boolean"}))])
                .answers_json("The sums.", "Audit")
        }
    }
}

fn withdrawal(route: Route) -> Endpoint {
    let new = |method, summary, description| Endpoint::new(method, "Withdrawals", summary, description);
    match route {
        Route::Withdrawals => new("get", "Payouts of all users", "Oldest first. A short page may have a `next_cursor`.")
            .parameters([
                status("In one status."),
                Parameter::query("substatus", "In one substatus.", json!({"$ref": "#/components/schemas/Substatus"})),
                Parameter::query(
                    "older_than",
                    "Reserved before this time, or longer ago than this duration (`5m`).",
                    json!({"type": "string"}),
                ),
                limit(),
                cursor(),
            ])
            .answers_json("A page.", "WithdrawalPage")
            .fails(&[&[Code::InvalidPage, Code::InvalidCursor]]),
        Route::Withdrawal => new("get", "One payout", "With its attempts and all that was said of it.")
            .parameters([id()])
            .answers_json("The withdrawal.", "Withdrawal")
            .fails(&[&[Code::TransactionNotFound]]),
        Route::Cancel => new("post", "Give one up", "Only before its first attempt; the money is the user's again.")
            .parameters([id()])
            .takes_json("Cancellation")
            .answers_json("The withdrawal's transaction.", "Transaction")
            .fails(&[BODY, KEY, WRITE, &[Code::TransactionNotFound, Code::NotCancellable]]),
        _ => new(
            "post",
            "Decide one",
            "Ends a withdrawal of which the bank does not tell, on an operator's word, which is kept with his name. One \
             that has ended stays as it is; if it is to be resolved otherwise, that is recorded with it as a discrepancy.",
        )
        .parameters([id()])
        .takes_json("Decision")
        .answers_json("The withdrawal's transaction.", "Transaction")
        .fails(&[BODY, KEY, WRITE])
        .fails(&[&[Code::TransactionNotFound, Code::AlreadyResolved, Code::NeverAttempted, Code::AttemptUnderWay]]),
    }
}

fn notice(route: Route) -> Endpoint {
    let parameters = if route == Route::NotifyOne { vec![id()] } else { Vec::new() };
    let new = Endpoint::new(
        "post",
        "Withdrawals",
        "What a bank tells by itself",
        "Signed, at most five minutes ago. Repeats change nothing. Where the path names a withdrawal, it must be the \
         body's. 404 `not_found` where the server was started without `--bank-webhook-secret-file`.",
    );
    let endpoint = new
        .parameters(parameters)
        .takes_json("Notice")
        .answers_json("Recorded, and durable, or known before.", "Noticed")
        .fails(&[BODY, WRITE, &[Code::Unauthenticated, Code::NotFound, Code::TransactionNotFound]]);
    Endpoint { is_signed: true, ..endpoint }
}

fn reconciliation() -> Endpoint {
    let new = Endpoint::new(
        "post",
        "Withdrawals",
        "A bank's statement against the log",
        "Rows of any number, read as they come: CSV whose first line names the columns `bank_reference`, `amount`, \
         `currency` and `status`, or one object a line. The rows of one reference are judged together. Writes nothing. \
         A bad line is answered with its number in `line`.",
    );
    new.parameters([
        time("from", "What was paid must be in the statement if that was recorded then or later."),
        time("to", "And before this time."),
    ])
    .takes(CSV, None)
    .takes(LINES, Some("StatementRow"))
    .answers_json("How the two compare.", "Reconciliation")
    .fails(&[BODY, &[Code::InvalidAmount, Code::InvalidCurrency, Code::Overloaded]])
}

fn service(route: Route) -> Endpoint {
    let new = |summary, description| Endpoint::new("get", "Service", summary, description);
    match route {
        Route::Health => new("Whether it serves", "Answered in every state.")
            .answers_json("It serves.", "Health")
            .answers(503, "It has halted, or it is stopping.", JSON, Some("Health")),
        Route::Head => {
            new("The history in one hash", "To be kept elsewhere; `verify --expect-head` compares a directory with it.")
                .answers_json("The head of the log.", "Head")
                .fails(&[&[Code::NotFound]])
        }
        Route::Metrics => new("Figures", "In the Prometheus text format. Answered in every state.").answers(
            200,
            "The figures.",
            "text/plain",
            None,
        ),
        Route::OpenApi => new("This document", "OpenAPI 3.1.").answers(200, "The document.", JSON, Some("Document")),
        _ => new("This document for people", "A page that needs nothing from elsewhere.").answers(
            200,
            "The page.",
            "text/html",
            None,
        ),
    }
}
