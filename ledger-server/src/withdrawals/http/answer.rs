//! What a bank's answer means: the tables of `docs/bank-protocol.md`, and the strict reading of what they are looked up by.
//!
//! A definite class needs everything at once: the listed status, the listed word, and a body that is about this payout.
//! Whatever falls short of that is ambiguous, or unanswered; there is no way to be lenient that cannot lose money.

use std::collections::HashSet;

use ledger_core::INTEGER_MAX;
use ledger_core::withdrawals::{AttemptClass, InquiryAnswer};

use super::super::gateway::Payout;
use crate::wire::scan::{NotJson, Scanner, Value};

/// The certain answers to a payout: status, word, class.
const SUBMISSIONS: [(u16, &str, AttemptClass); 5] = [
    (200, "settled", AttemptClass::Settled),
    (202, "accepted", AttemptClass::Accepted),
    (422, "rejected", AttemptClass::Rejected),
    (503, "not_executed", AttemptClass::NotSent),
    (429, "not_executed", AttemptClass::NotSent),
];

/// The readable answers to an inquiry: status, word, answer.
const INQUIRIES: [(u16, &str, InquiryAnswer); 5] = [
    (200, "settled", InquiryAnswer::Settled),
    (200, "failed", InquiryAnswer::Failed),
    (200, "pending", InquiryAnswer::Pending),
    (404, "not_found", InquiryAnswer::NotFound),
    (501, "unsupported", InquiryAnswer::Unsupported),
];

/// The class of an answer to `payout`, and what the bank said.
pub(super) fn of_submission(payout: &Payout, status: u16, body: &[u8]) -> (AttemptClass, String) {
    let answer = match Answer::read(body) {
        Ok(answer) => answer,
        Err(fault) => return (AttemptClass::Ambiguous, format!("status {status}, unreadable: {fault}")),
    };
    let said = answer.in_words(status);
    if let Err(fault) = answer.is_about(payout) {
        return (AttemptClass::Ambiguous, format!("{said}; {fault}"));
    }
    if answer.amount.is_none() || answer.currency.is_none() {
        return (AttemptClass::Ambiguous, format!("{said}; amount or currency is missing"));
    }
    let class = SUBMISSIONS.iter().find(|row| (row.0, row.1) == (status, &*answer.outcome)).map(|row| row.2);
    (class.unwrap_or(AttemptClass::Ambiguous), said)
}

/// The answer to an inquiry about `payout`, and what the bank said.
pub(super) fn of_inquiry(payout: &Payout, status: u16, body: &[u8]) -> (InquiryAnswer, String) {
    let answer = match Answer::read(body) {
        Ok(answer) => answer,
        Err(fault) => return (InquiryAnswer::Unanswered, format!("status {status}, unreadable: {fault}")),
    };
    let said = answer.in_words(status);
    if let Err(fault) = answer.is_about(payout) {
        return (InquiryAnswer::Unanswered, format!("{said}; {fault}"));
    }
    let row = INQUIRIES.iter().find(|row| (row.0, row.1) == (status, &*answer.outcome));
    (row.map_or(InquiryAnswer::Unanswered, |row| row.2), said)
}

/// The members that the protocol names.
struct Answer {
    reference: String,
    outcome: String,
    amount: Option<u64>,
    currency: Option<String>,
    reason: Option<String>,
}

impl Answer {
    /// Reads one object and nothing after it. Members that the protocol does not name are ignored, but none may occur
    /// twice: of two outcomes neither is certain.
    fn read(body: &[u8]) -> Result<Answer, String> {
        let text = std::str::from_utf8(body).map_err(|_| "not UTF-8".to_owned())?;
        let (mut reference, mut outcome, mut amount, mut currency, mut reason) = (None, None, None, None, None);
        let (mut names, mut fault) = (HashSet::new(), None);
        let mut scanner = Scanner::new(text);
        let object = scanner.object(|scanner, name| {
            let (name, value) = (name.decode(), scanner.value()?);
            let is_readable = match &*name {
                "bank_reference" => keep(&mut reference, value),
                "outcome" => keep(&mut outcome, value),
                "currency" => keep(&mut currency, value),
                "reason" => value == Value::Null || keep(&mut reason, value),
                "amount" => {
                    amount = value.integer(INTEGER_MAX);
                    amount.is_some()
                }
                _ => true,
            };
            if !is_readable {
                fault.get_or_insert_with(|| format!("{name} is {value}"));
            }
            if let Some(twice) = names.replace(name.into_owned()) {
                fault.get_or_insert_with(|| format!("{twice} occurs twice"));
            }
            Ok(())
        });
        let described = |not_json: NotJson| not_json.to_string();
        object.map_err(described)?.ok_or("not an object")?;
        scanner.end().map_err(described)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let reference = reference.ok_or("bank_reference is missing")?;
        let outcome = outcome.ok_or("outcome is missing")?;
        Ok(Answer { reference, outcome, amount, currency, reason })
    }

    /// Whether what it names is the payout's. It may leave out amount and currency.
    fn is_about(&self, payout: &Payout) -> Result<(), String> {
        let (amount, currency) = (payout.amount.minor(), payout.currency.as_str());
        if self.reference != payout.reference.to_string() {
            return Err(format!("it is about {}", self.reference));
        }
        if self.amount.is_some_and(|have| have != amount) || self.currency.as_ref().is_some_and(|have| have != currency)
        {
            return Err(format!("the payout was {amount} {currency}"));
        }
        Ok(())
    }

    /// Everything that was said, for people to read.
    fn in_words(&self, status: u16) -> String {
        let mut words = format!("status {status}, {}", self.outcome);
        if let Some(amount) = self.amount {
            words += &format!(" {amount}");
        }
        if let Some(currency) = &self.currency {
            words += &format!(" {currency}");
        }
        if let Some(reason) = &self.reason {
            words += &format!(": {reason}");
        }
        words
    }
}

/// Keeps a text; `false`: it is none.
fn keep(place: &mut Option<String>, value: Value<'_>) -> bool {
    let Value::String(text) = value else { return false };
    *place = Some(text.decode().into_owned());
    true
}
