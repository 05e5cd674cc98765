//! The object of a withdrawal: where it is in its life, and all that was said of it, for the person who has to judge it.

use ledger_core::TransactionId;
use ledger_core::withdrawals::{AttemptRecord, Discrepancy, ReturnCredit, Withdrawal};

use super::json::{self, Object};

/// Writes the whole object.
pub(crate) fn write(out: &mut Vec<u8>, withdrawal: &Withdrawal) {
    let mut object = Object::begin(out);
    head(&mut object, withdrawal);
    let attempts = withdrawal.history.iter().zip(1..);
    json::array(object.name("attempts"), attempts, |out, (record, number)| attempt(out, record, number));
    let dossier = withdrawal.dossier();
    json::array(object.name("inquiries"), &dossier.answers, |out, record| {
        let mut object = Object::begin(out);
        object.time("at", record.at).word("answer", record.answer.as_str()).text("evidence", &record.evidence);
        object.end();
    });
    json::array(object.name("notices"), &dossier.notices, |out, record| {
        let mut object = Object::begin(out);
        object.time("at", record.at).word("outcome", record.outcome.as_str());
        object.time("occurred_at", record.occurred_at).text("evidence", &record.evidence);
        object.end();
    });
    resolution(&mut object, withdrawal);
    returned(&mut object, withdrawal);
    json::array(object.name("discrepancies"), &dossier.discrepancies, discrepancy);
    ending(&mut object, withdrawal);
    object.end();
}

fn head(object: &mut Object<'_>, withdrawal: &Withdrawal) {
    object
        .integer("id", withdrawal.id.get())
        .integer("user_id", withdrawal.user.get())
        .word("currency", withdrawal.currency.as_str())
        .integer("amount", withdrawal.amount.minor())
        .word("status", withdrawal.substatus.status().as_str())
        .word("substatus", withdrawal.substatus.as_str())
        .text("bank_reference", &withdrawal.reference.to_string());
    match withdrawal.failure_reason() {
        Some(reason) => object.text("failure_reason", &reason),
        None => object.null("failure_reason"),
    };
    if let Some(destination) = &withdrawal.destination {
        object.text("destination", destination);
    }
    object.time("created_at", withdrawal.created_at).time("changed_at", withdrawal.changed_at);
    match withdrawal.due {
        Some(due) => object.time("due_at", due),
        None => object.null("due_at"),
    };
    object.bool("maybe_paid", withdrawal.maybe_paid);
}

fn attempt(out: &mut Vec<u8>, record: &AttemptRecord, number: u64) {
    let mut object = Object::begin(out);
    object.integer("attempt", number).time("started_at", record.started_at);
    match &record.end {
        Some((at, class, evidence)) => {
            object.time("ended_at", *at).word("class", class.as_str()).text("evidence", evidence);
        }
        None => {
            object.null("ended_at").null("class").null("evidence");
        }
    }
    object.end();
}

fn resolution(object: &mut Object<'_>, withdrawal: &Withdrawal) {
    let Some(record) = &withdrawal.dossier().resolution else {
        object.null("resolution");
        return;
    };
    let mut inner = Object::begin(object.name("resolution"));
    inner.time("at", record.at).word("outcome", record.outcome.as_str());
    inner.text("operator", &record.operator).text("evidence", &record.evidence);
    inner.end();
}

fn returned(object: &mut Object<'_>, withdrawal: &Withdrawal) {
    let Some(record) = &withdrawal.dossier().returned else {
        object.null("returned");
        return;
    };
    let mut inner = Object::begin(object.name("returned"));
    inner.time("at", record.at).word("credit", record.credit.as_str());
    match Some(record.id).filter(|_| record.credit == ReturnCredit::User) {
        Some(id) => inner.integer("transaction_id", TransactionId::get(id)),
        None => inner.null("transaction_id"),
    };
    inner.time("occurred_at", record.occurred_at).text("evidence", &record.evidence);
    inner.end();
}

fn discrepancy(out: &mut Vec<u8>, record: &Discrepancy) {
    let mut object = Object::begin(out);
    object.time("at", record.at).word("by", record.said.by()).word("said", record.said.as_str());
    object.word("says", record.says.as_str()).bool("posted", record.posted);
    match &record.operator {
        Some(operator) => object.text("operator", operator),
        None => object.null("operator"),
    };
    object.text("evidence", &record.evidence);
    object.end();
}

fn ending(object: &mut Object<'_>, withdrawal: &Withdrawal) {
    let Some(ending) = &withdrawal.ending else {
        object.null("ending");
        return;
    };
    let mut inner = Object::begin(object.name("ending"));
    inner.time("at", ending.at).word("event", ending.event.as_str()).text("evidence", &ending.evidence);
    inner.end();
}
