//! `POST /batch`

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use ledger_core::{AtomicReceipt, Command, Error, Receipt, Rejection};

use super::push_back::PushBack;
use super::stream;
use crate::app::App;
use crate::error::{Code, Problem};
use crate::wire::body::{self, Media};
use crate::wire::fields::{Fields, not_json};
use crate::wire::json::{self, Object};
use crate::wire::key::HeaderKey;
use crate::wire::operation::{Kind, Operation, Terms};
use crate::wire::scan::{NotJson, Scanner, Text, Value, cut};
use crate::wire::{query, views};

const OPERATIONS_MAX: usize = 10_000;
/// How long an operation is at least, nearly always.
const OPERATION_BYTES: usize = 72;
/// How long a result is, nearly always.
const RESULT_BYTES: usize = 60;

/// Many operations with one wait: each for itself, or all or none; or, as lines, a stream of them.
pub(super) async fn batch(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    match body::media_among(&head.headers, &[Media::Json, Media::Lines])? {
        Media::Lines => stream::stream(app, head, body).await,
        Media::Json | Media::Csv => whole(&app, &head, body).await,
    }
}

async fn whole(app: &App, head: &Parts, body: Body) -> Result<Response, Problem> {
    let (bytes_max, deadline) = (body::BATCH_BYTES_MAX, app.options.body_deadline);
    let body = body::read_within(Some(&app.large_bodies), body, &head.headers, bytes_max, deadline).await?;
    let envelope = Envelope::scan(body::text(&body)?, &app.options.terms)?;
    envelope.refuse_strays()?;
    query::none(&head.uri)?;
    let (operations, atomic) = envelope.check()?;
    HeaderKey::of(&head.headers).refuse()?;
    if atomic { all_or_none(app, operations).await } else { one_by_one(app, &operations).await }
}

/// An operation, or why it is none.
pub(super) type Read<'a> = Result<Operation<'a>, Problem>;

/// What the ledger says to an operation; `None` where it was not asked.
pub(super) type Decided = Option<Result<Receipt, Rejection>>;

/// The object around the operations. Each is read while the body is scanned, so that nothing is scanned twice; if the
/// body turns out not to be JSON, what was read is dropped.
struct Envelope<'a> {
    operations: Option<Result<Vec<Read<'a>>, Value<'a>>>,
    /// What the operation says that is being read.
    fields: Fields<'a>,
    count: usize,
    element_of_another_kind: bool,
    atomic: Option<Value<'a>>,
    stray: Option<Problem>,
}

impl<'a> Envelope<'a> {
    fn scan(text: &'a str, terms: &Terms) -> Result<Envelope<'a>, Problem> {
        let mut envelope = Envelope {
            operations: None,
            fields: Fields::none(),
            count: 0,
            element_of_another_kind: false,
            atomic: None,
            stray: None,
        };
        let mut scanner = Scanner::new(text);
        let read = scanner.object(|scanner, name| envelope.take(scanner, name, terms)).map_err(not_json)?;
        if read.is_none() {
            scanner.value().map_err(not_json)?;
        }
        scanner.end().map_err(not_json)?;
        if read.is_none() {
            let detail = "the body is JSON but no object; send {\"operations\": […]}";
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        if envelope.count > OPERATIONS_MAX {
            let detail = format!("the batch has {} operations; at most {OPERATIONS_MAX} go at once", envelope.count);
            return Err(Problem::new(Code::PayloadTooLarge, detail).field("operations"));
        }
        Ok(envelope)
    }

    fn take(&mut self, scanner: &mut Scanner<'a>, name: Text<'a>, terms: &Terms) -> Result<(), NotJson> {
        let name = name.decode();
        match &*name {
            "operations" if self.operations.is_none() => {
                // Room for all at once: a vector of so much is moved each time it grows, into pages that the kernel clears.
                let mut operations = Vec::with_capacity((scanner.left() / OPERATION_BYTES).min(OPERATIONS_MAX));
                let read = scanner.array(|scanner| self.element(scanner, &mut operations, terms))?;
                self.operations = Some(if read.is_some() { Ok(operations) } else { Err(scanner.value()?) });
            }
            "atomic" if self.atomic.is_none() => self.atomic = Some(scanner.value()?),
            _ => {
                scanner.value()?;
                let detail = match &*name {
                    "operations" | "atomic" => format!("{name} came more than once; send it once"),
                    _ => format!("there is no field {:?} here; the fields are operations, atomic", cut(&name)),
                };
                let stray = || Problem::new(Code::InvalidRequest, detail).field(name.into_owned());
                self.stray.get_or_insert_with(stray);
            }
        }
        Ok(())
    }

    fn element(
        &mut self,
        scanner: &mut Scanner<'a>,
        operations: &mut Vec<Read<'a>>,
        terms: &Terms,
    ) -> Result<(), NotJson> {
        self.count += 1;
        if !self.fields.scan(scanner)? {
            scanner.value()?;
            self.element_of_another_kind = true;
        } else if self.count <= OPERATIONS_MAX {
            // Those beyond the limit are counted, not kept.
            operations.push(Operation::read_typed(&self.fields, terms));
        }
        Ok(())
    }

    fn refuse_strays(&self) -> Result<(), Problem> {
        self.stray.clone().map_or(Ok(()), Err)
    }

    fn check(self) -> Result<(Vec<Read<'a>>, bool), Problem> {
        let invalid = |field: &'static str, detail: String| Problem::new(Code::InvalidRequest, detail).field(field);
        let operations = match self.operations {
            None => return Err(invalid("operations", "operations is missing; add it".to_owned())),
            Some(Err(value)) => {
                return Err(invalid("operations", format!("operations is {value}; it must be an array of objects")));
            }
            Some(Ok(operations)) => operations,
        };
        if self.element_of_another_kind {
            return Err(invalid("operations", "operations has an element that is no object; send objects".to_owned()));
        }
        if operations.is_empty() {
            return Err(invalid("operations", "operations is empty; send at least one".to_owned()));
        }
        match self.atomic {
            None | Some(Value::Null | Value::Bool(false)) => Ok((operations, false)),
            Some(Value::Bool(true)) => Ok((operations, true)),
            Some(value) => Err(invalid("atomic", format!("atomic is {value}; it must be true or false"))),
        }
    }
}

async fn one_by_one(app: &App, operations: &[Read<'_>]) -> Result<Response, Problem> {
    // Where segments are small, a batch may have more bytes than the pipe to the disk takes at once.
    let mut decided = PushBack::of_a_batch().decide(app, operations).await?.into_iter();
    let mut out = Vec::with_capacity(64 + RESULT_BYTES * operations.len());
    let mut tally = Tally::default();
    let mut object = Object::begin(&mut out);
    json::array(object.name("results"), operations, |out, operation| {
        let mut object = Object::begin(out);
        tally.result(&mut object, operation, decided.next().flatten());
        object.end();
    });
    tally.write(&mut object);
    object.end();
    Ok(views::json(out))
}

/// What the ledger says to each operation that is one, in their order.
pub(super) async fn decide(app: &App, operations: &[Read<'_>]) -> Result<Vec<Decided>, Error> {
    let mut results = ask(app, operations).await?.into_iter();
    Ok(operations.iter().map(|read| read.as_ref().ok().and_then(|_| results.next())).collect())
}

/// The same, of those that are one alone.
async fn ask(app: &App, operations: &[Read<'_>]) -> Result<Vec<Result<Receipt, Rejection>>, Error> {
    let mut commands: Vec<Command<'_>> = Vec::with_capacity(operations.len());
    commands.extend(operations.iter().flatten().map(Operation::command));
    if commands.is_empty() { Ok(Vec::new()) } else { app.ledger.batch(&commands)?.await }
}

async fn all_or_none(app: &App, operations: Vec<Read<'_>>) -> Result<Response, Problem> {
    let operations: Vec<Operation<'_>> = operations
        .into_iter()
        .enumerate()
        .map(|(index, read)| read.map_err(|problem| Problem::batch_rejected(index, problem)))
        .collect::<Result<_, _>>()?;
    let commands: Vec<Command<'_>> = operations.iter().map(Operation::command).collect();
    let AtomicReceipt { transactions, repeat } = app.ledger.batch_atomic(&commands)?.await?;
    let mut out = Vec::with_capacity(64 + RESULT_BYTES * operations.len());
    let mut tally = Tally::default();
    let mut object = Object::begin(&mut out);
    json::array(object.name("results"), operations.iter().zip(transactions), |out, (operation, id)| {
        let mut object = Object::begin(out);
        tally.accepted(&mut object, operation.kind, id.get());
        object.end();
    });
    tally.write(&mut object);
    object.end();
    let mut response = views::json(out);
    if repeat {
        views::mark_replayed(&mut response);
    }
    Ok(response)
}

/// How many operations ended how.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    completed: u64,
    pending: u64,
    duplicates: u64,
    rejected: u64,
}

impl Tally {
    /// Writes one operation's result.
    pub(super) fn result(&mut self, object: &mut Object<'_>, operation: &Read<'_>, decided: Decided) {
        match (operation, decided) {
            (Err(problem), _) => self.rejected(object, problem),
            (Ok(operation), Some(Ok(receipt))) => {
                self.accepted(object, operation.kind, receipt.transaction_id.get());
            }
            (Ok(_), Some(Err(Rejection::DuplicateRequest(original)))) => {
                self.duplicates += 1;
                object.word("status", "duplicate");
                views::transaction(object.name("transaction"), &original.as_ref().into());
            }
            (Ok(_), Some(Err(rejection))) => self.rejected(object, &rejection.into()),
            (Ok(_), None) => self.rejected(object, &Problem::internal()),
        }
    }

    fn accepted(&mut self, object: &mut Object<'_>, kind: Kind, id: u64) {
        let (count, status) = match kind {
            Kind::Charge | Kind::Transfer => (&mut self.completed, "completed"),
            Kind::Withdraw => (&mut self.pending, "pending"),
        };
        *count += 1;
        object.word("status", status).integer("transaction_id", id);
    }

    fn rejected(&mut self, object: &mut Object<'_>, problem: &Problem) {
        self.rejected += 1;
        object.word("status", "rejected");
        problem.write(object.name("error"), false);
    }

    /// Writes the counts.
    pub(super) fn write(&self, object: &mut Object<'_>) {
        object
            .integer("completed", self.completed)
            .integer("pending", self.pending)
            .integer("duplicates", self.duplicates)
            .integer("rejected", self.rejected);
    }
}
