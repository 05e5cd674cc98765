//! One charge, transfer or withdrawal as a client asks for it: checked, in the contract's order, and still borrowing its
//! texts from the body.

use std::borrow::Cow;

use ledger_core::{
    Amount, Charge, Command, Currency, Destination, IdempotencyKey, Metadata, Timestamp, Transfer, UserId, Withdraw,
};

use super::fields::{Field, FieldSet, Fields};
use super::key::HeaderKey;
use super::scan::Value;
use super::{metadata, time};
use crate::error::{Code, Problem};

/// What the operator decided that a request must agree with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The currency of a request that names none.
    pub currency: Currency,
    /// The currencies that requests may name.
    pub currencies: Vec<Currency>,
    /// Whether a withdrawal must say where it is paid to.
    pub destination_required: bool,
}

impl Terms {
    /// The currency `code`, if it is one of this server's.
    pub(crate) fn currency(&self, code: &str) -> Option<Currency> {
        Currency::new(code).filter(|currency| self.currencies.contains(currency))
    }

    /// The problem of a currency that is not one of this server's.
    pub(crate) fn no_such_currency(&self, shown: impl std::fmt::Display) -> Problem {
        let known: Vec<_> = self.currencies.iter().map(Currency::as_str).collect();
        let detail = format!("currency is {shown}; this server keeps {}", known.join(", "));
        Problem::new(Code::InvalidCurrency, detail).field("currency")
    }
}

/// Which command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Charge,
    Transfer,
    Withdraw,
}

impl Kind {
    /// The word in the path and in a batch's `type`.
    pub(crate) fn named(name: &str) -> Option<Kind> {
        match name {
            "charge" => Some(Kind::Charge),
            "transfer" => Some(Kind::Transfer),
            "withdraw" => Some(Kind::Withdraw),
            _ => None,
        }
    }

    /// The fields that it may have.
    pub(crate) const fn fields(self) -> FieldSet {
        use Field::{Amount, Currency, Destination, FromUser, Key, Metadata, ReleaseAt, ToUser, User};
        match self {
            Kind::Charge => FieldSet::of(&[User, Amount, ReleaseAt, Currency, Metadata, Key]),
            Kind::Transfer => FieldSet::of(&[FromUser, ToUser, Amount, ReleaseAt, Currency, Metadata, Key]),
            Kind::Withdraw => FieldSet::of(&[User, Amount, Destination, Currency, Metadata, Key]),
        }
    }
}

/// A command whose every field is valid.
#[derive(Clone, Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) kind: Kind,
    /// The user whose view an answer shows: charged, sending or withdrawing.
    pub(crate) user: UserId,
    /// Who receives a transfer; otherwise the same as `user`.
    pub(crate) receiver: UserId,
    pub(crate) amount: Amount,
    pub(crate) currency: Currency,
    pub(crate) release_at: Option<Timestamp>,
    pub(crate) destination: Option<Cow<'a, str>>,
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) key: Cow<'a, str>,
}

impl<'a> Operation<'a> {
    /// Reads `fields` as a command of `kind`; the first fault in the contract's order is the answer.
    pub(crate) fn read(
        kind: Kind,
        fields: &Fields<'a>,
        header_key: HeaderKey<'a>,
        terms: &Terms,
    ) -> Result<Operation<'a>, Problem> {
        let (user, receiver) = match kind {
            Kind::Charge | Kind::Withdraw => {
                let user = user(fields, Field::User)?;
                (user, user)
            }
            Kind::Transfer => (user(fields, Field::FromUser)?, user(fields, Field::ToUser)?),
        };
        Ok(Operation {
            kind,
            user,
            receiver,
            amount: amount(fields)?,
            destination: destination(fields, kind == Kind::Withdraw && terms.destination_required)?,
            release_at: release_at(fields)?,
            currency: currency(fields, terms)?,
            metadata: fields.optional(Field::Metadata).map(metadata::canonical).transpose()?,
            key: idempotency_key(fields, header_key)?,
        })
    }

    /// Reads one operation of a batch, whose `type` says what it is.
    pub(crate) fn read_typed(fields: &Fields<'a>, terms: &Terms) -> Result<Operation<'a>, Problem> {
        use Field::{Amount, Currency, Destination, FromUser, Key, Metadata, ReleaseAt, ToUser, Type, User};
        const KNOWN: FieldSet =
            FieldSet::of(&[Type, User, FromUser, ToUser, Amount, Destination, ReleaseAt, Currency, Metadata, Key]);
        fields.refuse_unnamed(KNOWN)?;
        let value = fields.required(Type)?;
        let kind = match value {
            Value::String(text) => Kind::named(&text.decode()),
            _ => None,
        };
        let kind = kind.ok_or_else(|| {
            let detail = format!("type is {value}; it must be \"charge\", \"transfer\" or \"withdraw\"");
            Problem::new(Code::InvalidRequest, detail).field("type")
        })?;
        fields.refuse_others(kind.fields().with(Type))?;
        Operation::read(kind, fields, HeaderKey::Absent, terms)
    }

    /// The same for the ledger. The texts were checked when they were read, so nothing is lost here.
    pub(crate) fn command(&self) -> Command<'_> {
        let key = IdempotencyKey::new(&self.key).expect("a key is checked when it is read");
        let (amount, currency, release_at) = (self.amount, self.currency, self.release_at);
        let metadata = self.metadata.as_deref().and_then(Metadata::new);
        match self.kind {
            Kind::Charge => Charge { user: self.user, amount, key, currency, release_at, metadata }.into(),
            Kind::Transfer => {
                Transfer { from: self.user, to: self.receiver, amount, key, currency, release_at, metadata }.into()
            }
            Kind::Withdraw => {
                let destination = self.destination.as_deref().and_then(Destination::new);
                Withdraw { user: self.user, amount, key, currency, destination, metadata }.into()
            }
        }
    }
}

fn user(fields: &Fields<'_>, field: Field) -> Result<UserId, Problem> {
    let value = fields.required(field)?;
    value.integer(u64::MAX).and_then(UserId::new).ok_or_else(|| {
        let name = field.as_str();
        let detail = format!("{name} is {value}; it must be an integer from 1 to 9007199254740991");
        Problem::new(Code::InvalidUserId, detail).field(name)
    })
}

fn amount(fields: &Fields<'_>) -> Result<Amount, Problem> {
    let value = fields.required(Field::Amount)?;
    value.integer(u64::MAX).and_then(Amount::new).ok_or_else(|| {
        let detail = format!("amount is {value}; it must be an integer of minor units from 1 to 9007199254740991");
        Problem::new(Code::InvalidAmount, detail).field("amount")
    })
}

fn destination<'a>(fields: &Fields<'a>, required: bool) -> Result<Option<Cow<'a, str>>, Problem> {
    let Some(value) = fields.optional(Field::Destination) else {
        let missing = "destination is missing; say where the bank is to pay to, in 1 to 255 bytes";
        let problem = || Problem::new(Code::InvalidRequest, missing).field("destination");
        return if required { Err(problem()) } else { Ok(None) };
    };
    let text = match value {
        Value::String(text) => Some(text.decode()).filter(|text| Destination::new(text).is_some()),
        _ => None,
    };
    text.map(Some).ok_or_else(|| {
        let detail = format!("destination is {value}; it must be a string of 1 to 255 bytes");
        Problem::new(Code::InvalidRequest, detail).field("destination")
    })
}

fn release_at(fields: &Fields<'_>) -> Result<Option<Timestamp>, Problem> {
    let Some(value) = fields.optional(Field::ReleaseAt) else { return Ok(None) };
    let time = match value {
        Value::String(text) => time::parse_up(&text.decode()),
        _ => None,
    };
    time.map(Some).ok_or_else(|| {
        let detail = format!(
            "release_at is {value}; it must be an RFC 3339 time such as \"2024-01-15T12:00:00Z\", at most 9999-12-31"
        );
        Problem::new(Code::InvalidReleaseAt, detail).field("release_at")
    })
}

fn currency(fields: &Fields<'_>, terms: &Terms) -> Result<Currency, Problem> {
    let Some(value) = fields.optional(Field::Currency) else { return Ok(terms.currency) };
    let currency = match value {
        Value::String(text) => terms.currency(&text.decode()),
        _ => None,
    };
    currency.ok_or_else(|| terms.no_such_currency(value))
}

/// The key of the body, or else of the header; both are allowed where they agree.
pub(crate) fn idempotency_key<'a>(fields: &Fields<'a>, header: HeaderKey<'a>) -> Result<Cow<'a, str>, Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidIdempotencyKey, detail).field("idempotency_key");
    let body = match fields.optional(Field::Key) {
        None => None,
        Some(Value::String(text)) => Some(text.decode()),
        Some(other) => {
            return Err(invalid(format!(
                "idempotency_key is {other}; it must be a string of 1 to 255 printable bytes"
            )));
        }
    };
    let key = match (body, header.text()?) {
        (None, None) => {
            let detail = "idempotency_key is missing; add the field, or the header Idempotency-Key, with a name that is \
                          unique to this command";
            return Err(Problem::new(Code::MissingIdempotencyKey, detail).field("idempotency_key"));
        }
        (Some(body), Some(header)) if body != header => {
            return Err(invalid("idempotency_key and the header Idempotency-Key differ; send one of them".to_owned()));
        }
        (Some(body), _) => body,
        (None, Some(header)) => Cow::Borrowed(header),
    };
    if IdempotencyKey::new(&key).is_none() {
        let length = key.len();
        return Err(invalid(format!(
            "idempotency_key has {length} bytes; it must have 1 to 255 bytes of UTF-8 and no control characters"
        )));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        let currency = |code| Currency::new(code).unwrap();
        Terms {
            currency: currency("USD"),
            currencies: vec![currency("USD"), currency("EUR")],
            destination_required: false,
        }
    }

    fn read(kind: Kind, body: &str) -> Result<(), (Code, String)> {
        let problem = |problem: Problem| {
            let mut out = Vec::new();
            let code = problem.code();
            problem.write(&mut out, true);
            let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
            (code, json["field"].as_str().unwrap_or_default().to_owned())
        };
        let fields = Fields::of_body(body).map_err(problem)?;
        fields.refuse_strays(kind.fields()).map_err(problem)?;
        Operation::read(kind, &fields, HeaderKey::Absent, &terms()).map_err(problem).map(|_| ())
    }

    #[test]
    fn faults_are_found_in_the_order_of_the_contract() {
        // Each row mends the fault of the row before.
        let rows = [
            ("{", Code::InvalidJson, ""),
            (r#"{"x":1,"user_id":"1","amount":0}{"#, Code::InvalidJson, ""),
            (r#"{"user_id":"1","amount":0,"amount":1,"x":1}"#, Code::InvalidRequest, "amount"),
            (r#"{"user_id":"1","amount":0,"x":1}"#, Code::InvalidRequest, "x"),
            (r#"{"user_id":"1","amount":0,"destination":"d"}"#, Code::InvalidRequest, "destination"),
            (r#"{"amount":0,"release_at":5,"currency":"usd","metadata":1}"#, Code::InvalidRequest, "user_id"),
            (r#"{"user_id":"1","amount":0,"release_at":5}"#, Code::InvalidUserId, "user_id"),
            (r#"{"user_id":1,"release_at":5}"#, Code::InvalidRequest, "amount"),
            (r#"{"user_id":1,"amount":0,"release_at":5}"#, Code::InvalidAmount, "amount"),
            (r#"{"user_id":1,"amount":1,"release_at":5,"currency":"usd"}"#, Code::InvalidReleaseAt, "release_at"),
            (
                r#"{"user_id":1,"amount":1,"release_at":null,"currency":"usd","metadata":1}"#,
                Code::InvalidCurrency,
                "currency",
            ),
            (r#"{"user_id":1,"amount":1,"currency":null,"metadata":1}"#, Code::InvalidRequest, "metadata"),
            (r#"{"user_id":1,"amount":1,"metadata":null}"#, Code::MissingIdempotencyKey, "idempotency_key"),
            (r#"{"user_id":1,"amount":1,"idempotency_key":null}"#, Code::MissingIdempotencyKey, "idempotency_key"),
            (r#"{"user_id":1,"amount":1,"idempotency_key":1}"#, Code::InvalidIdempotencyKey, "idempotency_key"),
            (r#"{"user_id":1,"amount":1,"idempotency_key":""}"#, Code::InvalidIdempotencyKey, "idempotency_key"),
            (r#"{"user_id":1,"amount":1,"idempotency_key":"\u0007"}"#, Code::InvalidIdempotencyKey, "idempotency_key"),
        ];
        for (body, code, field) in rows {
            assert_eq!(read(Kind::Charge, body), Err((code, field.to_owned())), "{body}");
        }
        assert_eq!(read(Kind::Charge, r#"{"user_id":1,"amount":1,"idempotency_key":"k"}"#), Ok(()));
    }

    #[test]
    fn a_command_says_what_the_body_said() {
        let body = r#"{"from_user_id":1,"to_user_id":2,"amount":9007199254740991,"currency":"EUR",
                       "release_at":"2024-01-15T14:00:00+02:00","metadata":{"b":"2","a":"1"},"idempotency_key":"a\u0062"}"#;
        let fields = Fields::of_body(body).unwrap();
        let operation = Operation::read(Kind::Transfer, &fields, HeaderKey::Present(b"ab"), &terms()).unwrap();
        let Command::Transfer(transfer) = operation.command() else { panic!("no transfer") };
        assert_eq!((transfer.from.get(), transfer.to.get()), (1, 2));
        assert_eq!(transfer.amount, Amount::MAX);
        assert_eq!(transfer.currency.as_str(), "EUR");
        assert_eq!(transfer.release_at.unwrap().to_string(), "2024-01-15T12:00:00Z");
        assert_eq!(transfer.metadata.unwrap().as_bytes(), br#"{"a":"1","b":"2"}"#);
        assert_eq!(transfer.key.as_str(), "ab");
    }

    #[test]
    fn amounts_and_users_are_whole_and_in_range() {
        for value in
            ["\"5\"", "1.5", "1.0", "1e3", "-1", "0", "-0", "9007199254740992", "99999999999999999999", "null", "[1]"]
        {
            let body = format!(r#"{{"user_id":1,"amount":{value},"idempotency_key":"k"}}"#);
            assert_eq!(read(Kind::Withdraw, &body), Err((Code::InvalidAmount, "amount".to_owned())), "{value}");
            let body = format!(r#"{{"from_user_id":1,"to_user_id":{value},"amount":1,"idempotency_key":"k"}}"#);
            assert_eq!(read(Kind::Transfer, &body), Err((Code::InvalidUserId, "to_user_id".to_owned())), "{value}");
        }
    }

    #[test]
    fn a_real_bank_needs_a_destination() {
        let terms = Terms { destination_required: true, ..terms() };
        let read = |body| {
            let fields = Fields::of_body(body).unwrap();
            Operation::read(Kind::Withdraw, &fields, HeaderKey::Absent, &terms)
                .map(|_| ())
                .map_err(|problem| problem.code())
        };
        assert_eq!(read(r#"{"user_id":1,"amount":1,"idempotency_key":"k"}"#), Err(Code::InvalidRequest));
        assert_eq!(
            read(r#"{"user_id":1,"amount":1,"idempotency_key":"k","destination":null}"#),
            Err(Code::InvalidRequest)
        );
        assert_eq!(
            read(r#"{"user_id":1,"amount":1,"idempotency_key":"k","destination":""}"#),
            Err(Code::InvalidRequest)
        );
        assert_eq!(read(r#"{"user_id":1,"amount":1,"idempotency_key":"k","destination":"d"}"#), Ok(()));
    }
}
