//! Bodies as a careless client might write them: fields of the contract, mostly with values of the right type, now and
//! then with others, and text that is no JSON at all.

use std::fmt::Write as _;

use arbitrary::Arbitrary;

/// Every field that a body may have.
const FIELDS: [&str; 24] = [
    "user_id",
    "amount",
    "idempotency_key",
    "release_at",
    "currency",
    "metadata",
    "destination",
    "from_user_id",
    "to_user_id",
    "type",
    "operations",
    "atomic",
    "outcome",
    "evidence",
    "operator",
    "bank_reference",
    "occurred_at",
    "status",
    "reason",
    "user_id\\u0000",
    "am\\u006funt",
    "Amount",
    "",
    "\\ud83d\\ude00",
];

const WORDS: [&str; 22] = [
    "USD",
    "EUR",
    "XYZ",
    "charge",
    "transfer",
    "withdraw",
    "withdrawal",
    "settled",
    "failed",
    "pending",
    "returned",
    "first",
    "third",
    "key-1",
    "key-2",
    "2026-01-01T00:00:00Z",
    "2026-06-30T23:59:60+14:00",
    "9999-12-31T23:59:59.999999999Z",
    "10000-01-01T00:00:00Z",
    "Ops",
    "",
    "\\u00e9\\n",
];

/// A value of a field.
#[derive(Arbitrary, Clone, Debug)]
pub enum Draft {
    /// A small number, as most are.
    Small(u8),
    /// Any number.
    Number(i128),
    /// A number near the largest that is exact everywhere.
    Edge(i8),
    /// A float.
    Float(f64),
    /// One of the words of the contract.
    Word(u8),
    /// Any text, its quotes escaped.
    Text(String),
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A flat object of texts, as metadata is.
    Texts(Vec<(String, String)>),
    /// An object.
    Object(Fields),
    /// A list of objects.
    Objects(Vec<Fields>),
    /// Text that stands there as it is, JSON or not.
    Raw(String),
    /// So many brackets.
    Deep(u8),
}

/// The fields of an object: which, and what they say.
#[derive(Arbitrary, Clone, Debug, Default)]
pub struct Fields(pub Vec<(u8, Draft)>);

/// A body.
#[derive(Arbitrary, Clone, Debug)]
pub enum BodyDraft {
    /// A charge that is right, with a few more fields.
    Charge(u8, u8, u8, Fields),
    /// A withdrawal that is right, with a few more fields.
    Withdraw(u8, u8, u8, Fields),
    /// A transfer that is right, with a few more fields.
    Transfer(u8, u8, u8, Fields),
    /// A batch of these.
    Batch(Vec<Operation>, Option<bool>),
    /// An object.
    Object(Fields),
    /// Any value.
    Value(Draft),
    /// Any bytes.
    Bytes(Vec<u8>),
}

/// One operation of a batch.
#[derive(Arbitrary, Clone, Debug)]
pub enum Operation {
    /// A right one: which kind, user, amount, key, and a few more fields.
    Right(u8, u8, u8, u8, Fields),
    /// Anything.
    Any(Draft),
}

impl Draft {
    /// As text.
    pub fn write(&self, out: &mut String) {
        match self {
            Draft::Small(number) => put(out, number),
            Draft::Number(number) => put(out, number),
            Draft::Edge(off) => put(out, (1i64 << 53) + i64::from(*off)),
            Draft::Float(number) => put(out, number),
            Draft::Word(word) => put(out, format_args!("\"{}\"", WORDS[usize::from(*word) % WORDS.len()])),
            Draft::Text(text) => text_to(out, text),
            Draft::Null => out.push_str("null"),
            Draft::Bool(value) => put(out, value),
            Draft::Texts(texts) => {
                list(out, ['{', '}'], texts, |out, (name, value)| {
                    text_to(out, name);
                    out.push(':');
                    text_to(out, value);
                });
            }
            Draft::Object(fields) => fields.write(out, ""),
            Draft::Objects(objects) => list(out, ['[', ']'], objects, |out, fields| fields.write(out, "")),
            Draft::Raw(text) => out.push_str(text),
            Draft::Deep(levels) => {
                (0..*levels).for_each(|_| out.push('['));
                (0..*levels).for_each(|_| out.push(']'));
            }
        }
    }
}

impl Fields {
    /// An object that begins with these members.
    pub fn write(&self, out: &mut String, members: &str) {
        out.push('{');
        out.push_str(members);
        for (index, (field, value)) in self.0.iter().enumerate() {
            if index > 0 || !members.is_empty() {
                out.push(',');
            }
            put(out, format_args!("\"{}\":", FIELDS[usize::from(*field) % FIELDS.len()]));
            value.write(out);
        }
        out.push('}');
    }
}

impl Operation {
    /// As text.
    pub fn write(&self, out: &mut String) {
        match self {
            Operation::Right(kind, user, amount, key, fields) => {
                let kind = ["charge", "transfer", "withdraw"][usize::from(*kind) % 3];
                fields.write(out, &format!("\"type\":\"{kind}\",{}", members(kind, *user, *amount, *key)));
            }
            Operation::Any(draft) => draft.write(out),
        }
    }
}

impl BodyDraft {
    /// The bytes that are sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        match self {
            BodyDraft::Charge(user, amount, key, fields) => {
                fields.write(&mut out, &members("charge", *user, *amount, *key))
            }
            BodyDraft::Withdraw(user, amount, key, fields) => {
                fields.write(&mut out, &members("withdraw", *user, *amount, *key));
            }
            BodyDraft::Transfer(user, amount, key, fields) => {
                fields.write(&mut out, &members("transfer", *user, *amount, *key));
            }
            BodyDraft::Batch(operations, atomic) => {
                out.push_str("{\"operations\":");
                list(&mut out, ['[', ']'], operations, |out, operation| operation.write(out));
                if let Some(atomic) = atomic {
                    put(&mut out, format_args!(",\"atomic\":{atomic}"));
                }
                out.push('}');
            }
            BodyDraft::Object(fields) => fields.write(&mut out, ""),
            BodyDraft::Value(draft) => draft.write(&mut out),
            BodyDraft::Bytes(bytes) => return bytes.clone(),
        }
        out.into_bytes()
    }
}

/// The members that this kind of command must have.
fn members(kind: &str, user: u8, amount: u8, key: u8) -> String {
    let user = user % 3 + 1;
    let (amount, key) = (u16::from(amount) * 7 + 1, key % 8);
    match kind {
        "transfer" => {
            let to = user % 3 + 1;
            format!("\"from_user_id\":{user},\"to_user_id\":{to},\"amount\":{amount},\"idempotency_key\":\"key-{key}\"")
        }
        _ => format!("\"user_id\":{user},\"amount\":{amount},\"idempotency_key\":\"key-{key}\""),
    }
}

fn put(out: &mut String, what: impl std::fmt::Display) {
    write!(out, "{what}").expect("a text takes text");
}

fn text_to(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("text is JSON"));
}

fn list<T>(out: &mut String, [open, close]: [char; 2], items: &[T], mut write: impl FnMut(&mut String, &T)) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(close);
}
