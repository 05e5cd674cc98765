//! What the bodies look like.
//!
//! Requests are closed: what is not named is refused. Answers are open: fields may be added to them.

use ledger_core::withdrawals::{AttemptClass, InquiryAnswer, NoticeOutcome, Resolution, ReturnCredit};
use ledger_core::{INTEGER_MAX, Status, Substatus};
use serde_json::{Map, Value, json};

use crate::error::Code;

/// Every schema by its name.
pub(super) fn all() -> Value {
    let groups =
        [scalars(), commands(), batches(), reads(), withdrawals(), interventions(), reconciliations(), service()];
    let mut schemas = Map::new();
    for group in groups {
        let Value::Object(group) = group else { continue };
        schemas.extend(group);
    }
    schemas.into()
}

/// A reference to another schema.
fn of(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The same with a description of its own.
fn described(name: &str, description: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}"), "description": description})
}

fn or_null(schema: Value, description: &str) -> Value {
    json!({"anyOf": [schema, {"type": "null"}], "description": description})
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn count(description: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": description})
}

fn sum(description: &str) -> Value {
    json!({"type": "integer", "description": description})
}

fn list(name: &str, description: &str) -> Value {
    json!({"type": "array", "items": of(name), "description": description})
}

/// An answer: every property that is not among `optional` is always there.
fn answer(description: &str, optional: &[&str], properties: Value) -> Value {
    let names = properties.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let required: Vec<_> = names.filter(|name| !optional.contains(name)).collect();
    json!({"type": "object", "description": description, "required": required, "properties": properties})
}

/// A request: the same, and nothing else may be there.
fn request(description: &str, optional: &[&str], properties: Value, example: Value) -> Value {
    let mut schema = answer(description, optional, properties);
    schema["additionalProperties"] = false.into();
    schema["examples"] = json!([example]);
    schema
}

fn scalars() -> Value {
    let substatuses = Substatus::ALL.map(Substatus::as_str);
    let statuses = [Status::Pending, Status::Completed, Status::Failed].map(Status::as_str);
    json!({
        "Integer": {"type": "integer", "minimum": 1, "maximum": INTEGER_MAX, "description": "Exact in every client."},
        "Amount": {"type": "integer", "minimum": 1, "maximum": INTEGER_MAX, "description": "Whole minor units."},
        "Currency": {"type": "string", "pattern": "^[A-Z0-9]{3,8}$",
            "description": "One of those that the server was started with."},
        "Time": {"type": "string", "format": "date-time",
            "description": "RFC 3339, to the microsecond; answered in UTC."},
        "Key": {"type": "string", "minLength": 1, "maxLength": 255,
            "description": "1 to 255 bytes of printable UTF-8; names one command for as long as the ledger lives."},
        "Metadata": {"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string"},
            "description": "At most 16 keys and 1 KiB; given back as it came."},
        "Status": {"enum": statuses},
        "Substatus": {"enum": substatuses,
            "description": "Where in its life a withdrawal is. `needs_review` is pending, `cancelled` failed, \
                `returned` completed."},
        "Type": {"enum": ["charge", "transfer", "withdrawal", "return"]},
    })
}

fn commands() -> Value {
    let release_at = or_null(of("Time"), "Until when the credit is held.");
    let currency = or_null(of("Currency"), "Default: the server's default currency.");
    let metadata = or_null(of("Metadata"), "Kept with the transaction.");
    let key = or_null(of("Key"), "Required here or in the header `Idempotency-Key`.");
    let common = ["currency", "metadata", "idempotency_key", "release_at"];
    json!({
        "Charge": request("Money in.", &common, json!({
            "user_id": of("Integer"), "amount": of("Amount"), "release_at": release_at, "currency": currency,
            "metadata": metadata, "idempotency_key": key,
        }), json!({"user_id": 123, "amount": 5000, "release_at": "2030-01-15T12:00:00Z",
        "idempotency_key": "charge-1"})),
        "Transfer": request("From one user to another.", &common, json!({
            "from_user_id": of("Integer"), "to_user_id": of("Integer"), "amount": of("Amount"),
            "release_at": release_at,
            "currency": currency, "metadata": metadata, "idempotency_key": key,
        }), json!({"from_user_id": 123, "to_user_id": 456, "amount": 700, "idempotency_key": "transfer-1"})),
        "Withdraw": request("Money out.", &["currency", "metadata", "idempotency_key", "destination"], json!({
            "user_id": of("Integer"), "amount": of("Amount"),
            "destination": or_null(json!({"type": "string", "minLength": 1, "maxLength": 255}),
                "Where the bank pays to, 1 to 255 bytes; required unless the bank is the simulated one."),
            "currency": currency, "metadata": metadata, "idempotency_key": key,
        }), json!({"user_id": 123, "amount": 3000, "destination": "DE89370400440532013000",
        "idempotency_key": "withdraw-1"})),
        "Receipt": answer("What a command did.", &["status"], json!({
            "message": text("For people."), "idempotency_key": of("Key"),
            "status": described("Status", "Of a withdrawal."),
            "transaction": of("Transaction"), "balance": described("Balance", "Right after the command."),
        })),
    })
}

fn batches() -> Value {
    let operation = |kind: &str, name: &str| {
        json!({
            "type": "object", "required": ["type"], "properties": {"type": {"const": kind}},
            "description": format!("With the fields of {name}."),
        })
    };
    json!({
        "Batch": request("Many commands.", &["atomic"], json!({
            "operations": {"type": "array", "items": of("Operation"), "minItems": 1, "maxItems": 10_000},
            "atomic": or_null(json!({"type": "boolean"}), "All or none; default false."),
        }), json!({"atomic": true, "operations": [
            {"type": "charge", "user_id": 123, "amount": 5000, "idempotency_key": "b-1"},
            {"type": "transfer", "from_user_id": 123, "to_user_id": 456, "amount": 700, "idempotency_key": "b-2"},
        ]})),
        "Operation": {
            "description": "One command, with its `type` and its own key.",
            "oneOf": [operation("charge", "Charge"), operation("transfer", "Transfer"),
                operation("withdraw", "Withdraw")],
        },
        "BatchResults": answer("What became of each operation.", &[], json!({
            "results": list("Result", "In the order of the operations."),
            "completed": count("Charges and transfers."), "pending": count("Withdrawals."),
            "duplicates": count("Repeats of earlier commands."), "rejected": count("Nothing was recorded for these."),
        })),
        "Result": answer("What became of one operation.", &["line", "transaction_id", "transaction", "error"], json!({
            "line": count("Of a stream: the operation's line, from 1."),
            "status": {"enum": ["completed", "pending", "duplicate", "rejected"]},
            "transaction_id": of("Integer"),
            "transaction": described("Transaction", "The original, of a duplicate."),
            "error": described("Problem", "Why it was rejected."),
        })),
        "StreamLine": {
            "description": "A result; or why the stream ended early; or, as the last line, that it is done.",
            "anyOf": [
                of("Result"),
                answer("It ended early.", &[], json!({"line": count("Where."), "error": of("Problem")})),
                answer("It is done.", &[], json!({
                    "done": {"const": true}, "lines": count("All lines."), "completed": count(""), "pending": count(""),
                    "duplicates": count(""), "rejected": count(""),
                })),
            ],
        },
    })
}

fn reads() -> Value {
    let of_some = [
        "release_at",
        "counterparty_user_id",
        "returns",
        "substatus",
        "attempts",
        "bank_reference",
        "failure_reason",
        "destination",
        "metadata",
    ];
    json!({
        "Transaction": answer("A transaction as one user sees it, as it stands now.", &of_some, json!({
            "id": of("Integer"), "user_id": of("Integer"), "currency": of("Currency"), "amount": of("Amount"),
            "type": of("Type"),
            "direction": {"enum": ["credit", "debit"]}, "status": of("Status"),
            "idempotency_key": text("The caller's name for it; empty for a return, which nobody commanded."),
            "created_at": of("Time"), "release_at": described("Time", "Until when the credit is, or was, held."),
            "counterparty_user_id": described("Integer", "The other user of a transfer."),
            "returns": described("Integer", "The withdrawal whose money came back, of a return."),
            "substatus": described("Substatus", "Of a withdrawal, as all that follow."),
            "attempts": count("Attempts that were started."),
            "bank_reference": text("What the bank knows it by; the same for every attempt."),
            "failure_reason": or_null(json!({"type": "string"}), "Why it failed, with what the bank or an operator said."),
            "destination": text("Where it is paid to."), "metadata": of("Metadata"),
        })),
        "TransactionPage": answer("A page of transactions.", &[], json!({
            "transactions": list("Transaction", "In the order that was asked for."),
            "total": or_null(count(""), "How many match; null where counting would scan more than 100,000."),
            "page": or_null(count(""), "Null where a cursor was given."), "limit": count("As asked for."),
            "next_cursor": or_null(json!({"type": "string"}), "Null at the end."),
        })),
        "Balance": answer("An account. `total` = `withdrawable` + `held` + `reserved`.", &[], json!({
            "user_id": of("Integer"), "currency": of("Currency"), "total": count("All that the account owns."),
            "withdrawable": count("What may be spent now."),
            "held": count("Credited with a `release_at` that has not come."),
            "reserved": count("Set aside for withdrawals whose fate is open."),
            "next_release_at": or_null(of("Time"), "When the next hold matures."),
            "seq": count("The state after every entry up to this one."),
        })),
        "Audit": answer("The sums of all accounts.", &[], json!({
            "balanced": {"type": "boolean", "description": "Whether every currency sums to zero."},
            "deep": {"type": "boolean", "description": "Whether every account was added up again."},
            "currencies": list("CurrencyAudit", "Sorted by currency."),
            "seq": count("The state after every entry up to this one."),
        })),
        "CurrencyAudit": answer("All accounts of one currency.", &["mismatched_shards"], json!({
            "currency": of("Currency"), "accounts": count("Users' accounts."), "total": sum("What users own."),
            "withdrawable": sum(""), "held": sum(""), "reserved": sum(""),
            "external": sum("The world outside: what went out minus what came in."),
            "suspense": sum("Below zero by what was paid after a release; above by returns that had no room."),
            "sum": {"const": 0}, "mismatched_shards": count("Deep only: shards whose sums are not their accounts'."),
        })),
    })
}

fn withdrawals() -> Value {
    let credits = [ReturnCredit::User, ReturnCredit::Suspense, ReturnCredit::Nobody].map(ReturnCredit::as_str);
    json!({
        "WithdrawalPage": answer("A page of withdrawals.", &[], json!({
            "withdrawals": list("Withdrawal", "Oldest first."), "limit": count("As asked for."),
            "next_cursor": or_null(json!({"type": "string"}), "Null at the end."),
        })),
        "Withdrawal": answer("A payout, with all that was said of it.", &["destination"], json!({
            "id": of("Integer"), "user_id": of("Integer"), "currency": of("Currency"), "amount": of("Amount"),
            "status": of("Status"),
            "substatus": of("Substatus"),
            "bank_reference": text("What the bank knows it by; the same for every attempt."),
            "failure_reason": or_null(json!({"type": "string"}), "Why it failed, with what the bank or an operator said."),
            "destination": text("Where it is paid to."),
            "created_at": of("Time"), "changed_at": of("Time"),
            "due_at": or_null(of("Time"), "When it is looked at again by itself."),
            "maybe_paid": {"type": "boolean", "description": "Whether an attempt may have been executed."},
            "attempts": list("Attempt", "In their order."),
            "inquiries": list("InquiryRecord", "The newest 16 answers, oldest first."),
            "notices": list("NoticeRecord", "What the bank told by itself; repeats are not kept."),
            "resolution": or_null(of("ResolutionRecord"), "How an operator decided."),
            "returned": or_null(of("ReturnRecord"), "That the payment came back."),
            "discrepancies": list("Discrepancy", "What was said against how it ended."),
            "ending": or_null(of("Ending"), "How it ended; null while it is open."),
        })),
        "Attempt": answer("One attempt.", &[], json!({
            "attempt": count("From 1."), "started_at": of("Time"),
            "ended_at": or_null(of("Time"), "Null while it is running."),
            "class": or_null(json!({"enum": AttemptClass::ALL.map(AttemptClass::as_str)}), "How it ended."),
            "evidence": or_null(json!({"type": "string"}), "What the bank said."),
        })),
        "InquiryRecord": answer("The bank's answer to an inquiry.", &[], json!({
            "at": of("Time"), "answer": {"enum": InquiryAnswer::ALL.map(InquiryAnswer::as_str)},
            "evidence": text("What it said."),
        })),
        "NoticeRecord": answer("What the bank told by itself.", &[], json!({
            "at": described("Time", "When it was recorded."), "outcome": of("NoticeOutcome"),
            "occurred_at": described("Time", "By the bank's clock."),
            "evidence": text("What was signed, word for word."),
        })),
        "ResolutionRecord": answer("An operator's decision.", &[], json!({
            "at": of("Time"), "outcome": of("Resolution"), "operator": text("His name."),
            "evidence": text("What he went by."),
        })),
        "ReturnRecord": answer("A payment that came back.", &[], json!({
            "at": described("Time", "When it was recorded."),
            "credit": {"enum": credits, "description": "Who has the money now."},
            "transaction_id": or_null(of("Integer"), "The user's credit."),
            "occurred_at": described("Time", "By the bank's clock."),
            "evidence": text("What the bank said."),
        })),
        "Discrepancy": answer("Something that was said against how a withdrawal ended.", &[], json!({
            "at": of("Time"), "by": {"enum": ["attempt", "inquiry", "notice", "operator"]}, "said": text("The word."),
            "says": {"enum": ["paid", "released", "stands"], "description": "What that says of the money."},
            "posted": {"type": "boolean", "description": "Whether the payment was posted from suspense."},
            "operator": or_null(json!({"type": "string"}), "His name, where it was one."),
            "evidence": text("What was said."),
        })),
        "Ending": answer("How a withdrawal ended.", &[], json!({
            "at": of("Time"), "event": text("By what."), "evidence": text("What the bank or the operator said."),
        })),
    })
}

fn interventions() -> Value {
    let key = or_null(of("Key"), "Required here or in the header `Idempotency-Key`.");
    json!({
        "Resolution": {"enum": Resolution::ALL.map(Resolution::as_str),
            "description": "That the bank paid, or that it did not and will not."},
        "NoticeOutcome": {"enum": NoticeOutcome::ALL.map(NoticeOutcome::as_str),
            "description": "`returned`: paid, and the money came back."},
        "Cancellation": request("Giving a withdrawal up.", &["idempotency_key"], json!({"idempotency_key": key}),
            json!({"idempotency_key": "cancel-3"})),
        "Decision": request("How an operator decides.", &["idempotency_key"], json!({
            "outcome": of("Resolution"),
            "evidence": {"type": "string", "minLength": 1, "maxLength": 1024,
                "description": "What he goes by, 1 to 1024 bytes."},
            "operator": {"type": "string", "minLength": 1, "maxLength": 255,
                "description": "His name, 1 to 255 bytes."},
            "idempotency_key": key,
        }), json!({"outcome": "completed", "evidence": "statement of 2024-01-16, line 7", "operator": "grace",
        "idempotency_key": "resolve-3"})),
        "Notice": request("What a bank tells by itself.", &[], json!({
            "bank_reference": text("As it was handed to the bank."), "outcome": of("NoticeOutcome"),
            "occurred_at": described("Time", "By the bank's clock."),
        }), json!({"bank_reference": "923dba30a0984342b1abeed0b1084ade-1-3", "outcome": "settled",
        "occurred_at": "2024-01-15T12:00:00Z"})),
        "Noticed": answer("What the notice came to.", &[], json!({
            "bank_reference": text(""), "status": of("Status"), "substatus": of("Substatus"),
            "change": {"enum": ["changed", "repeat", "discrepancy"],
                "description": "`discrepancy`: it contradicts how the withdrawal ended, which is recorded."},
        })),
    })
}

fn reconciliations() -> Value {
    json!({
        "StatementRow": request("What a bank says of one payout.", &[], json!({
            "bank_reference": text(""), "amount": of("Amount"), "currency": of("Currency"),
            "status": of("NoticeOutcome"),
        }), json!({"bank_reference": "923dba30a0984342b1abeed0b1084ade-1-3", "amount": 3000, "currency": "USD",
        "status": "settled"})),
        "Reconciliation": answer("How a statement and the log compare. The lists end after 1,000, the totals do not.",
            &[], json!({
            "matched": count("References of which both say the same."),
            "missing_here": list("MissingHere", "Rows whose reference is none of this ledger's."),
            "missing_there": list("Here", "Withdrawals that were paid and are not in the statement."),
            "mismatched": list("Mismatch", "References of which the two say different things."),
            "rows": count("Rows of the statement."), "missing_here_total": count(""), "missing_there_total": count(""),
            "mismatched_total": count(""),
        })),
        "MissingHere": answer("A row of the statement.", &[], json!({
            "line": count("Its line, from 1."), "bank_reference": text(""), "amount": of("Amount"),
            "currency": of("Currency"),
            "status": of("NoticeOutcome"),
        })),
        "Here": answer("What the log says.", &[], json!({
            "id": of("Integer"), "bank_reference": text(""), "amount": of("Amount"), "currency": of("Currency"),
            "status": of("Status"),
            "substatus": of("Substatus"),
        })),
        "There": answer("What the statement says.", &[], json!({
            "amount": of("Amount"), "currency": of("Currency"), "status": of("NoticeOutcome"),
        })),
        "Mismatch": answer("A reference of which the two say different things.", &[], json!({
            "reason": {"enum": ["amount", "currency", "status", "paid_twice"]}, "bank_reference": text(""),
            "here": of("Here"),
            "there": of("There"),
        })),
    })
}

fn service() -> Value {
    let of_some = ["title", "field", "transaction", "withdrawable", "index", "error", "line", "withdrawal"];
    json!({
        "Health": answer("Whether it serves.", &["reason", "mirror_degraded", "clock_leap_seconds"], json!({
            "status": {"enum": ["ok", "halted", "shutting_down"]}, "reason": text("Why it halted."),
            "queue_length": count("Withdrawals that wait for a worker, or with a stopped executor for a start with one."),
            "queue_capacity": count("How many may wait."),
            "in_flight": count("Withdrawals being performed."), "workers": count("How many are performed at once."),
            "pending_withdrawals": count("Those whose fate is open."),
            "durable_seq": count("The last entry that survives a power cut."),
            "uptime_seconds": count("Since when the server runs."),
            "executor": {"enum": ["running", "stopped"], "description": "Whether withdrawals are performed."},
            "mirror_degraded": text("Which directory of a mirrored ledger has failed, and why."),
            "clock_leap_seconds": count("How far the machine's clock is ahead of the time that is believed."),
        })),
        "Checkpoint": answer("A snapshot that was written.", &[], json!({
            "seq": count("The last entry that is in it."),
            "bytes": count("Bytes that were written; 0: nothing had changed since the last one."),
            "segments_retired": count("Files of the log that could go."),
        })),
        "Head": answer("The history up to an entry, in one hash.", &["signature", "public_key"], json!({
            "ledger": text("Which ledger: its UUID."), "seq": count("Up to this entry."), "head": text("BLAKE3, in hexadecimal."),
            "signature": text("Ed25519, in hexadecimal; only where the server has a key."),
            "public_key": text("What the signature is checked with, in hexadecimal."),
        })),
        "Problem": answer("Why not (RFC 9457).", &of_some, json!({
            "status": {"type": "integer", "description": "The HTTP status."},
            "title": text("What the code means in general."),
            "detail": text("Which value, why, and what to do: for people."),
            "code": {"enum": Code::ALL.map(Code::as_str).to_vec(),
                "description": "For programs; never changes its status."},
            "field": text("The one field at fault."), "line": count("The line at fault, from 1."),
            "transaction": described("Transaction", "The original, where the key was used before."),
            "withdrawal": described("Withdrawal", "As it stands, where it cannot be decided."),
            "withdrawable": count("What is withdrawable, where that is too little."),
            "index": count("Which operation of the batch, from 0."),
            "error": described("Problem", "Why that operation was rejected."),
        })),
        "Document": {"type": "object", "description": "An OpenAPI document."},
    })
}
