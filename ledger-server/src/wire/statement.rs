//! A bank's statement, row by row: as CSV with a header, or as one JSON object a line.
//!
//! No value of a row can hold the end of a line, so in both forms a row is a line, and a statement of any length is read
//! with the memory of one. In CSV, quotes are those of RFC 4180, and the columns may come in any order.

use std::borrow::Cow;

use ledger_core::withdrawals::NoticeOutcome;
use ledger_core::{Amount, Currency};

use super::body;
use super::fields::{Field, FieldSet, Fields};
use super::scan::{Value, cut};
use crate::error::{Code, Problem};

/// The longest reference of a bank, in bytes.
const REFERENCE_BYTES_MAX: usize = 255;

/// How a statement is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Csv,
    Lines,
}

/// What a bank says of one payout. The reference may be none of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) reference: Cow<'a, str>,
    pub(crate) amount: Amount,
    pub(crate) currency: Currency,
    pub(crate) status: NoticeOutcome,
}

const COLUMNS: [Field; 4] = [Field::BankReference, Field::Amount, Field::Currency, Field::Status];
const NAMES: &str = "bank_reference, amount, currency and status";

/// Reads a statement line by line.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    format: Format,
    /// Which of [`COLUMNS`] stands where, once the header was read.
    header: Option<[usize; COLUMNS.len()]>,
    line: u64,
}

impl Reader {
    pub(crate) fn new(format: Format) -> Reader {
        Reader { format, header: None, line: 0 }
    }

    /// The number of the line read last, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The row of the next line; `None` for the header and for an empty line. A fault names the line.
    pub(crate) fn read<'a>(&mut self, line: &'a [u8]) -> Result<Option<Row<'a>>, Problem> {
        self.line += 1;
        let mut line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.line == 1 && self.format == Format::Csv {
            // Spreadsheets begin a file with the mark of UTF-8.
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let number = self.line;
        let row = match self.format {
            Format::Csv => self.csv(line),
            Format::Lines => {
                body::text(line).and_then(Fields::of_body).and_then(|fields| Row::of_fields(&fields)).map(Some)
            }
        };
        row.map_err(|problem| problem.line(number))
    }

    /// The end of the statement: a CSV must have had its header, so that an empty file is not taken for an empty statement.
    pub(crate) fn end(&self) -> Result<(), Problem> {
        if self.format == Format::Csv && self.header.is_none() {
            return Err(invalid("the statement is empty; its first line must name the columns").line(self.line.max(1)));
        }
        Ok(())
    }

    fn csv<'a>(&mut self, line: &'a [u8]) -> Result<Option<Row<'a>>, Problem> {
        let text =
            std::str::from_utf8(line).map_err(|_| invalid("the line is not UTF-8; send the statement in UTF-8"))?;
        let values = split(text)?;
        match &self.header {
            Some(places) => Row::of_values(&values, places).map(Some),
            None => {
                self.header = Some(header(&values)?);
                Ok(None)
            }
        }
    }
}

impl<'a> Row<'a> {
    fn of_fields(fields: &Fields<'a>) -> Result<Row<'a>, Problem> {
        fields.refuse_strays(FieldSet::of(&COLUMNS))?;
        let string = |field| {
            let value = fields.required(field)?;
            match value {
                Value::String(text) => Ok(text.decode()),
                other => Err(of_wrong_kind(field, &other)),
            }
        };
        let reference = reference(string(Field::BankReference)?)?;
        let amount = fields.required(Field::Amount)?;
        let amount = amount.integer(u64::MAX).and_then(Amount::new).ok_or_else(|| not_an_amount(&amount))?;
        let currency = currency(&string(Field::Currency)?)?;
        Ok(Row { reference, amount, currency, status: status(&string(Field::Status)?)? })
    }

    fn of_values(values: &[Cow<'a, str>], places: &[usize; COLUMNS.len()]) -> Result<Row<'a>, Problem> {
        if values.len() != COLUMNS.len() {
            return Err(invalid(format!("the line has {} values; it must have {}", values.len(), COLUMNS.len())));
        }
        let [reference_at, amount_at, currency_at, status_at] = *places;
        let digits = &values[amount_at];
        // `parse` alone would take a sign.
        let amount =
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().and_then(Amount::new));
        Ok(Row {
            reference: reference(values[reference_at].clone())?,
            amount: amount.flatten().ok_or_else(|| not_an_amount(&format_args!("{:?}", cut(digits))))?,
            currency: currency(&values[currency_at])?,
            status: status(&values[status_at])?,
        })
    }
}

/// The values of one line of CSV.
fn split(line: &str) -> Result<Vec<Cow<'_, str>>, Problem> {
    let (mut values, mut rest) = (Vec::with_capacity(COLUMNS.len()), line);
    loop {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                if value.contains('"') {
                    return Err(invalid(
                        "a quote stands in the middle of a value; quote the whole value and double it",
                    ));
                }
                (Cow::Borrowed(value), after)
            }
        };
        values.push(value);
        rest = match after.strip_prefix(',') {
            Some(rest) => rest,
            None if after.is_empty() => return Ok(values),
            None => return Err(invalid("something follows a quoted value; only a comma may")),
        };
    }
}

/// What stands between quotes, of which the first was taken off, and what follows them.
fn unquote(quoted: &str) -> Result<(Cow<'_, str>, &str), Problem> {
    let (mut value, mut rest) = (Cow::Borrowed(""), quoted);
    loop {
        let (part, after) = rest
            .split_once('"')
            .ok_or_else(|| invalid("a quote is not closed on its line; no value may hold the end of a line"))?;
        value += part;
        match after.strip_prefix('"') {
            Some(after) => {
                value += "\"";
                rest = after;
            }
            None => return Ok((value, after)),
        }
    }
}

/// Where in a line each column stands.
fn header(names: &[Cow<'_, str>]) -> Result<[usize; COLUMNS.len()], Problem> {
    let stray = names.iter().find(|name| !COLUMNS.iter().any(|column| column.as_str() == **name));
    if let Some(stray) = stray {
        return Err(invalid(format!("there is no column {:?} here; the first line must name {NAMES}", cut(stray))));
    }
    let mut places = [0; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        let name = column.as_str();
        let mut found = names.iter().enumerate().filter(|(_, have)| **have == name).map(|(at, _)| at);
        *place = match (found.next(), found.next()) {
            (Some(at), None) => at,
            (None, _) => return Err(invalid(format!("the column {name} is missing; add it")).field(name)),
            (Some(_), Some(_)) => return Err(invalid(format!("the column {name} came more than once")).field(name)),
        };
    }
    Ok(places)
}

fn reference(text: Cow<'_, str>) -> Result<Cow<'_, str>, Problem> {
    if (1..=REFERENCE_BYTES_MAX).contains(&text.len()) {
        return Ok(text);
    }
    let rule = format!("it must have 1 to {REFERENCE_BYTES_MAX}");
    Err(invalid(format!("bank_reference has {} bytes; {rule}", text.len())).field("bank_reference"))
}

fn currency(code: &str) -> Result<Currency, Problem> {
    Currency::new(code).ok_or_else(|| {
        let detail = format!("currency is {:?}; it must be 3 to 8 of A–Z and 0–9", cut(code));
        Problem::new(Code::InvalidCurrency, detail).field("currency")
    })
}

fn status(word: &str) -> Result<NoticeOutcome, Problem> {
    NoticeOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == word).ok_or_else(|| {
        let rule = "it must be one of settled, failed, pending, returned";
        invalid(format!("status is {:?}; {rule}", cut(word))).field("status")
    })
}

fn not_an_amount(shown: &dyn std::fmt::Display) -> Problem {
    let detail = format!("amount is {shown}; it must be an integer of minor units from 1 to 9007199254740991");
    Problem::new(Code::InvalidAmount, detail).field("amount")
}

fn of_wrong_kind(field: Field, value: &Value<'_>) -> Problem {
    let name = field.as_str();
    let code = if field == Field::Currency { Code::InvalidCurrency } else { Code::InvalidRequest };
    Problem::new(code, format!("{name} is {value}; it must be a string")).field(name)
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4180 for one line, a character at a time, knowing nothing of the reader.
    fn naive(line: &str) -> Option<Vec<String>> {
        #[derive(PartialEq)]
        enum At {
            Start,
            Plain,
            Quoted,
            AfterQuote,
        }
        let (mut values, mut value, mut at) = (Vec::new(), String::new(), At::Start);
        for character in line.chars() {
            at = match (at, character) {
                (At::Quoted, '"') => At::AfterQuote,
                (At::Quoted, _) => {
                    value.push(character);
                    At::Quoted
                }
                (_, ',') => {
                    values.push(std::mem::take(&mut value));
                    At::Start
                }
                (At::Start, '"') => At::Quoted,
                (At::AfterQuote, '"') => {
                    value.push('"');
                    At::Quoted
                }
                (At::Plain, '"') | (At::AfterQuote, _) => return None,
                (At::Start | At::Plain, _) => {
                    value.push(character);
                    At::Plain
                }
            };
        }
        values.push(value);
        (at != At::Quoted).then_some(values)
    }

    fn rows(format: Format, text: &str) -> Result<Vec<String>, (Code, u64)> {
        let mut reader = Reader::new(format);
        let mut rows = Vec::new();
        let shown =
            |row: Row<'_>| format!("{} {} {} {}", row.reference, row.amount.minor(), row.currency, row.status.as_str());
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            match reader.read(line.as_bytes()) {
                Ok(row) => rows.extend(row.map(shown)),
                Err(problem) => return Err((problem.code(), reader.line())),
            }
        }
        reader.end().map_err(|problem| (problem.code(), reader.line()))?;
        Ok(rows)
    }

    #[test]
    fn both_forms_say_the_same() {
        let csv = "\u{feff}status,\"amount\",currency,bank_reference\r\n\r\nsettled,500,USD,\"a \"\"b\"\", c\"\r\nreturned,1,EUR,é";
        let lines = r#"{"bank_reference":"a \"b\", c","amount":500,"currency":"USD","status":"settled"}

            {"status":"returned","currency":"EUR","amount":1,"bank_reference":"\u00e9"}"#;
        let expected = vec!["a \"b\", c 500 USD settled".to_owned(), "é 1 EUR returned".to_owned()];
        assert_eq!(rows(Format::Csv, csv), Ok(expected.clone()));
        assert_eq!(rows(Format::Lines, lines), Ok(expected));
        assert_eq!(rows(Format::Lines, ""), Ok(vec![]));
        assert_eq!(rows(Format::Csv, "bank_reference,amount,currency,status\n"), Ok(vec![]));
    }

    #[test]
    fn a_bad_line_is_named() {
        const HEAD: &str = "bank_reference,amount,currency,status\n";
        let cases = [
            ("", Code::InvalidRequest, 1),
            ("a,1,USD,settled", Code::InvalidRequest, 1),
            ("bank_reference,amount,currency\n", Code::InvalidRequest, 1),
            ("bank_reference,amount,currency,status,status\n", Code::InvalidRequest, 1),
            ("bank_reference,amount,currency,status,fee\n", Code::InvalidRequest, 1),
            ("{HEAD}a,1,USD", Code::InvalidRequest, 2),
            ("{HEAD}a,1,USD,settled,", Code::InvalidRequest, 2),
            ("{HEAD}a,1,USD,settled\na,1,USD,paid", Code::InvalidRequest, 3),
            ("{HEAD}\n\na,1,USD,Settled", Code::InvalidRequest, 4),
            ("{HEAD}a,,USD,settled", Code::InvalidAmount, 2),
            ("{HEAD}a,+1,USD,settled", Code::InvalidAmount, 2),
            ("{HEAD}a,1.00,USD,settled", Code::InvalidAmount, 2),
            ("{HEAD}a,0,USD,settled", Code::InvalidAmount, 2),
            ("{HEAD}a, 1,USD,settled", Code::InvalidAmount, 2),
            ("{HEAD}a,9007199254740992,USD,settled", Code::InvalidAmount, 2),
            ("{HEAD}a,1,usd,settled", Code::InvalidCurrency, 2),
            ("{HEAD},1,USD,settled", Code::InvalidRequest, 2),
            ("{HEAD}\"a,1,USD,settled", Code::InvalidRequest, 2),
            ("{HEAD}a\"\",1,USD,settled", Code::InvalidRequest, 2),
            ("{HEAD}\"a\"b,1,USD,settled", Code::InvalidRequest, 2),
        ];
        for (text, code, line) in cases {
            assert_eq!(rows(Format::Csv, &text.replace("{HEAD}", HEAD)), Err((code, line)), "{text}");
        }
        let good = r#"{"bank_reference":"a","amount":1,"currency":"USD","status":"settled"}"#;
        let cases = [
            (good.replace('}', ""), Code::InvalidJson),
            ("[]".to_owned(), Code::InvalidRequest),
            (good.replace("\"status\":\"settled\"", "\"fee\":1"), Code::InvalidRequest),
            (good.replace(",\"status\":\"settled\"", ""), Code::InvalidRequest),
            (good.replace("\"a\"", "5"), Code::InvalidRequest),
            (good.replace("\"a\"", "\"\""), Code::InvalidRequest),
            (good.replace(":1", ":\"1\""), Code::InvalidAmount),
            (good.replace(":1", ":1.0"), Code::InvalidAmount),
            (good.replace("\"USD\"", "null"), Code::InvalidCurrency),
            (good.replace("USD", "U"), Code::InvalidCurrency),
            (good.replace("settled", "paid"), Code::InvalidRequest),
        ];
        for (bad, code) in cases {
            assert_eq!(rows(Format::Lines, &format!("{good}\n\n{bad}\n{good}")), Err((code, 3)), "{bad}");
        }
        let mut reader = Reader::new(Format::Csv);
        assert!(reader.read(HEAD.trim_end().as_bytes()).unwrap().is_none());
        assert_eq!(reader.read(b"\xff,1,USD,settled").unwrap_err().code(), Code::InvalidRequest);
        assert!(reader.read(format!("{},1,USD,settled", "x".repeat(256)).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn a_line_is_split_as_a_naive_reader_splits_it(line in "[a,\" é]{0,12}") {
            let values = split(&line).ok().map(|values| values.into_iter().map(Cow::into_owned).collect());
            prop_assert_eq!(values, naive(&line));
        }
    }
}
