//! The named fields of a command, picked out of an object in one pass.

use std::borrow::Cow;

use super::scan::{NotJson, Scanner, Text, Value, cut};
use crate::error::{Code, Problem};

/// Every field that a command, a notice or a row of a statement may have, in the order in which their faults are looked
/// for: the key is last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Field {
    Type,
    BankReference,
    User,
    FromUser,
    ToUser,
    Amount,
    Destination,
    ReleaseAt,
    Currency,
    Status,
    Outcome,
    OccurredAt,
    Evidence,
    Operator,
    Metadata,
    Key,
}

impl Field {
    const COUNT: usize = 16;
    const ALL: [Field; Field::COUNT] = [
        Field::Type,
        Field::BankReference,
        Field::User,
        Field::FromUser,
        Field::ToUser,
        Field::Amount,
        Field::Destination,
        Field::ReleaseAt,
        Field::Currency,
        Field::Status,
        Field::Outcome,
        Field::OccurredAt,
        Field::Evidence,
        Field::Operator,
        Field::Metadata,
        Field::Key,
    ];

    fn named(name: &str) -> Option<Field> {
        Some(match name {
            "type" => Field::Type,
            "bank_reference" => Field::BankReference,
            "user_id" => Field::User,
            "from_user_id" => Field::FromUser,
            "to_user_id" => Field::ToUser,
            "amount" => Field::Amount,
            "destination" => Field::Destination,
            "release_at" => Field::ReleaseAt,
            "currency" => Field::Currency,
            "status" => Field::Status,
            "outcome" => Field::Outcome,
            "occurred_at" => Field::OccurredAt,
            "evidence" => Field::Evidence,
            "operator" => Field::Operator,
            "metadata" => Field::Metadata,
            "idempotency_key" => Field::Key,
            _ => return None,
        })
    }

    /// Its name on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Field::Type => "type",
            Field::BankReference => "bank_reference",
            Field::User => "user_id",
            Field::FromUser => "from_user_id",
            Field::ToUser => "to_user_id",
            Field::Amount => "amount",
            Field::Destination => "destination",
            Field::ReleaseAt => "release_at",
            Field::Currency => "currency",
            Field::Status => "status",
            Field::Outcome => "outcome",
            Field::OccurredAt => "occurred_at",
            Field::Evidence => "evidence",
            Field::Operator => "operator",
            Field::Metadata => "metadata",
            Field::Key => "idempotency_key",
        }
    }
}

/// A set of fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FieldSet(u16);

impl FieldSet {
    pub(crate) const fn of(fields: &[Field]) -> FieldSet {
        let (mut set, mut index) = (0, 0);
        while index < fields.len() {
            set |= 1 << fields[index] as u16;
            index += 1;
        }
        FieldSet(set)
    }

    pub(crate) const fn with(self, field: Field) -> FieldSet {
        FieldSet(self.0 | 1 << field as u16)
    }

    const fn without(self, others: FieldSet) -> FieldSet {
        FieldSet(self.0 & !others.0)
    }

    const fn has(self, field: Field) -> bool {
        self.0 & 1 << field as u16 != 0
    }

    fn names(self) -> String {
        let names: Vec<_> = Field::ALL.into_iter().filter(|&field| self.has(field)).map(Field::as_str).collect();
        names.join(", ")
    }
}

/// A member that may not be there.
#[derive(Clone, Debug)]
enum Stray<'a> {
    Unknown(Cow<'a, str>),
    Repeated(Field),
}

/// What an object says of each field.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    /// Which of the values were given.
    given: FieldSet,
    values: [Value<'a>; Field::COUNT],
    stray: Option<Stray<'a>>,
}

impl<'a> Fields<'a> {
    /// Of an object that says nothing.
    pub(crate) fn none() -> Fields<'a> {
        Fields { given: FieldSet::of(&[]), values: [Value::Null; Field::COUNT], stray: None }
    }

    /// Reads another object in this one's place, to its end; `false` if the next value is no object. In place, since half a
    /// kilobyte would be moved for each operation of a batch.
    pub(crate) fn scan(&mut self, scanner: &mut Scanner<'a>) -> Result<bool, NotJson> {
        self.given = FieldSet::of(&[]);
        self.stray = None;
        let read = scanner.object(|scanner, name| {
            let value = scanner.value()?;
            self.take(name, value);
            Ok(())
        })?;
        Ok(read.is_some())
    }

    /// Reads a text that is one object and nothing else.
    pub(crate) fn of_body(text: &'a str) -> Result<Fields<'a>, Problem> {
        let mut scanner = Scanner::new(text);
        let mut fields = Fields::none();
        let is_object = fields.scan(&mut scanner).map_err(not_json)?;
        if !is_object {
            scanner.value().map_err(not_json)?;
        }
        scanner.end().map_err(not_json)?;
        if !is_object {
            let detail = "the body is JSON but no object; send one object of fields";
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        Ok(fields)
    }

    fn take(&mut self, name: Text<'a>, value: Value<'a>) {
        let name = name.decode();
        match Field::named(&name) {
            Some(field) if !self.given.has(field) => {
                self.given = self.given.with(field);
                self.values[field as usize] = value;
            }
            Some(field) => {
                self.stray.get_or_insert(Stray::Repeated(field));
            }
            None => {
                self.stray.get_or_insert(Stray::Unknown(name));
            }
        }
    }

    /// What came for `field`, `null` included.
    pub(crate) fn get(&self, field: Field) -> Option<Value<'a>> {
        self.given.has(field).then(|| self.values[field as usize])
    }

    /// What came for an optional field: `null` counts as absent.
    pub(crate) fn optional(&self, field: Field) -> Option<Value<'a>> {
        self.get(field).filter(|value| *value != Value::Null)
    }

    /// What came for a field that must be there.
    pub(crate) fn required(&self, field: Field) -> Result<Value<'a>, Problem> {
        self.get(field).ok_or_else(|| {
            let name = field.as_str();
            Problem::new(Code::InvalidRequest, format!("{name} is missing; add it")).field(name)
        })
    }

    /// Refuses members that nobody named, or named twice.
    pub(crate) fn refuse_unnamed(&self, allowed: FieldSet) -> Result<(), Problem> {
        match &self.stray {
            None => Ok(()),
            Some(Stray::Unknown(name)) => Err(unknown(name, allowed)),
            Some(Stray::Repeated(field)) => {
                let name = field.as_str();
                Err(Problem::new(Code::InvalidRequest, format!("{name} came more than once; send it once")).field(name))
            }
        }
    }

    /// Refuses whatever is not `allowed`, or came twice.
    pub(crate) fn refuse_strays(&self, allowed: FieldSet) -> Result<(), Problem> {
        self.refuse_unnamed(allowed)?;
        self.refuse_others(allowed)
    }

    /// Refuses fields that are known, but not in this kind of command.
    pub(crate) fn refuse_others(&self, allowed: FieldSet) -> Result<(), Problem> {
        let others = self.given.without(allowed);
        let other = Field::ALL.into_iter().find(|&field| others.has(field));
        other.map_or(Ok(()), |field| Err(unknown(field.as_str(), allowed)))
    }
}

fn unknown(name: &str, allowed: FieldSet) -> Problem {
    let detail = format!("there is no field {:?} here; the fields are {}", cut(name), allowed.names());
    Problem::new(Code::InvalidRequest, detail).field(name.to_owned())
}

/// The body stops being JSON.
pub(crate) fn not_json(fault: NotJson) -> Problem {
    Problem::new(Code::InvalidJson, format!("the body is {fault}; send one JSON value in UTF-8"))
}
