//! Query parameters: named, each at most once.

use std::borrow::Cow;

use axum::http::Uri;
use ledger_core::{Currency, Timestamp, TransactionId, UserId};

use super::operation::Terms;
use super::scan::cut;
use super::time;
use crate::error::{Code, Problem};

/// One parameter's value, still encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter<'a> {
    name: &'static str,
    raw: &'a str,
}

/// The values of `names`, in their order. A parameter that nobody named, or one that came twice, is refused.
pub(crate) fn parameters<'a, const N: usize>(
    uri: &'a Uri,
    names: [&'static str; N],
) -> Result<[Option<Parameter<'a>>; N], Problem> {
    parameters_of(uri.query(), names)
}

/// The same, of what stands behind the question mark.
pub(crate) fn parameters_of<'a, const N: usize>(
    query: Option<&'a str>,
    names: [&'static str; N],
) -> Result<[Option<Parameter<'a>>; N], Problem> {
    let mut values = [None; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, true).unwrap_or(Cow::Borrowed(name));
        let Some(index) = names.iter().position(|known| *known == name) else {
            let allowed = if N == 0 { "there are none".to_owned() } else { format!("they are {}", names.join(", ")) };
            let detail = format!("there is no query parameter {:?} here; {allowed}", cut(&name));
            return Err(Problem::new(Code::InvalidRequest, detail).field(name.into_owned()));
        };
        if values[index].is_some() {
            let detail = format!("the query parameter {name} came more than once; send it once");
            return Err(Problem::new(Code::InvalidRequest, detail).field(names[index]));
        }
        values[index] = Some(Parameter { name: names[index], raw });
    }
    Ok(values)
}

/// Refuses any query parameter.
pub(crate) fn none(uri: &Uri) -> Result<(), Problem> {
    parameters(uri, []).map(|[]| ())
}

/// How many items a page has: 10 unless `given`.
pub(crate) fn limit(given: Option<Parameter<'_>>) -> Result<u64, Problem> {
    let Some(limit) = given else { return Ok(10) };
    let number = limit.integer().filter(|number| (1..=100).contains(number));
    number.ok_or_else(|| limit.problem(Code::InvalidPage, "it must be an integer from 1 to 100"))
}

/// The id that a path names. It is written in one way only: "007" names nothing.
pub(crate) fn transaction_id(text: &str) -> Option<TransactionId> {
    text.parse().ok().and_then(TransactionId::new).filter(|id| id.to_string() == text)
}

impl<'a> Parameter<'a> {
    /// A problem with this parameter; `rule` says what it must be.
    pub(crate) fn problem(self, code: Code, rule: &str) -> Problem {
        Problem::new(code, format!("{} is {:?}; {rule}", self.name, cut(self.raw))).field(self.name)
    }

    pub(crate) fn text(self) -> Result<Cow<'a, str>, Problem> {
        let rule = "it must be percent-encoded UTF-8";
        decode(self.raw, true).ok_or_else(|| self.problem(Code::InvalidRequest, rule))
    }

    /// Digits alone: no sign, no space.
    pub(crate) fn integer(self) -> Option<u64> {
        let text = decode(self.raw, true)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok() } else { None }
    }

    pub(crate) fn user(self) -> Result<UserId, Problem> {
        let rule = "it must be an integer from 1 to 9007199254740991";
        self.integer().and_then(UserId::new).ok_or_else(|| self.problem(Code::InvalidUserId, rule))
    }

    pub(crate) fn currency(self, terms: &Terms) -> Result<Currency, Problem> {
        let code = decode(self.raw, true);
        code.and_then(|code| terms.currency(&code))
            .ok_or_else(|| terms.no_such_currency(format_args!("{:?}", cut(self.raw))))
    }

    /// A time; `up` rounds what is below the microsecond up.
    pub(crate) fn time(self, up: bool) -> Result<Timestamp, Problem> {
        // A plus sign in a time can only be that of an offset, so it is not read as the space that forms make of it.
        let text = decode(self.raw, false);
        text.and_then(|text| if up { time::parse_up(&text) } else { time::parse_down(&text) }).ok_or_else(|| {
            self.problem(Code::InvalidRequest, "it must be an RFC 3339 time such as 2024-01-15T12:00:00Z")
        })
    }

    /// One of `words`, as what it stands for.
    pub(crate) fn one_of<T: Copy>(self, words: &[(&'static str, T)]) -> Result<T, Problem> {
        let text = decode(self.raw, true).unwrap_or(Cow::Borrowed(self.raw));
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.problem(Code::InvalidRequest, &format!("it must be one of {}", words.join(", ")))
        })
    }
}

/// Percent-decoding; with `form`, a plus sign is a space. `None` if that is not UTF-8 or not an encoding.
fn decode(raw: &str, form: bool) -> Option<Cow<'_, str>> {
    if !raw.bytes().any(|byte| byte == b'%' || (form && byte == b'+')) {
        return Some(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            b'+' if form => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_named_and_come_once() {
        let uri: Uri = "/x?b=2&&%61=1&".parse().unwrap();
        let [a, b] = parameters(&uri, ["a", "b"]).unwrap();
        assert_eq!((a.unwrap().integer(), b.unwrap().integer()), (Some(1), Some(2)));
        for query in ["/x?c=1", "/x?a=1&a=1", "/x?a=1&%61=2", "/x?A=1", "/x?c", "/x?%ff=1"] {
            assert_eq!(parameters(&query.parse().unwrap(), ["a", "b"]).unwrap_err().code(), Code::InvalidRequest);
        }
        assert!(none(&"/x".parse().unwrap()).is_ok());
        assert!(none(&"/x?".parse().unwrap()).is_ok());
        assert!(none(&"/x?a".parse().unwrap()).is_err());
    }

    #[test]
    fn values_are_decoded_as_forms_are_but_an_offset_keeps_its_plus() {
        let parameter = |raw| Parameter { name: "a", raw };
        assert_eq!(parameter("a+b%20c%2B%C3%A9").text().unwrap(), "a b c+é");
        assert!(parameter("%").text().is_err());
        assert!(parameter("%f").text().is_err());
        assert!(parameter("%ff").text().is_err());
        for raw in ["2024-01-15T12:00:00+02:00", "2024-01-15T12%3A00%3A00%2b02:00"] {
            assert_eq!(parameter(raw).time(true).unwrap().to_string(), "2024-01-15T10:00:00Z");
        }
        assert_eq!(parameter("%31%30").integer(), Some(10));
        for raw in ["", "+1", "-1", "1.0", "0x1", "%", "%2b1", "%ff", "99999999999999999999"] {
            assert_eq!(parameter(raw).integer(), None, "{raw}");
        }
    }
}
