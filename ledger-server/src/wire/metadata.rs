//! Metadata: a flat object of strings, kept by the ledger as opaque bytes.
//!
//! The bytes are canonical (keys sorted by their UTF-8, no white space, the fewest escapes), so that the same object
//! written in another order is the same command.

use std::borrow::Cow;

use super::json;
use super::scan::{Scanner, Text, Value};
use crate::error::{Code, Problem};

const KEYS_MAX: usize = 16;
const BYTES_MAX: usize = 1024;

/// The canonical bytes of what came for `metadata`.
pub(crate) fn canonical(value: Value<'_>) -> Result<Vec<u8>, Problem> {
    let Value::Object(raw) = value else {
        return Err(invalid(format!("metadata is {value}; it must be an object whose values are strings")));
    };
    let mut members: Vec<(Cow<'_, str>, Text<'_>)> = Vec::new();
    let mut other = None;
    // The text was scanned before, as a part of the body, so it is JSON.
    let _ = Scanner::new(raw).object(|scanner, name| {
        match scanner.value()? {
            Value::String(text) => members.push((name.decode(), text)),
            value => {
                other.get_or_insert((name, value));
            }
        }
        Ok(())
    });
    if let Some((name, value)) = other {
        return Err(invalid(format!("metadata has {value} at {:?}; every value must be a string", name.decode())));
    }
    if members.len() > KEYS_MAX {
        return Err(invalid(format!("metadata has {} keys; at most {KEYS_MAX} are kept", members.len())));
    }
    members.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    if let Some(pair) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(invalid(format!("metadata has the key {:?} more than once; send it once", pair[0].0)));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    bytes.push(b'{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        json::text(&mut bytes, name);
        bytes.push(b':');
        json::text(&mut bytes, &value.decode());
    }
    bytes.push(b'}');
    if bytes.len() > BYTES_MAX {
        return Err(invalid(format!("metadata has {} bytes; at most {BYTES_MAX} are kept", bytes.len())));
    }
    Ok(bytes)
}

fn invalid(detail: String) -> Problem {
    Problem::new(Code::InvalidRequest, detail).field("metadata")
}

/// Writes kept metadata into an answer. What this server kept is JSON; a program that embeds the ledger may have kept
/// anything, which is then shown as a string of hexadecimal digits.
pub(crate) fn write(out: &mut Vec<u8>, bytes: &[u8]) {
    let is_json = std::str::from_utf8(bytes).is_ok_and(|text| {
        let mut scanner = Scanner::new(text);
        matches!(scanner.value(), Ok(Value::Object(_))) && scanner.end().is_ok()
    });
    if is_json {
        out.extend_from_slice(bytes);
    } else {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        json::text(out, &digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, Problem> {
        let value = Scanner::new(text).value().unwrap();
        canonical(value).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn equal_objects_have_equal_bytes() {
        let canonical = r#"{"a":"1","b":"é\n","é":""}"#;
        assert_eq!(of(r#"{"b":"é\n","a":"1","é":""}"#).unwrap(), canonical);
        assert_eq!(of(r#" { "\u00e9" : "" , "\u0061" : "\u0031", "b" : "\u00e9\u000a" } "#.trim()).unwrap(), canonical);
        assert_eq!(of("{}").unwrap(), "{}");
    }

    #[test]
    fn what_is_not_flat_small_and_of_strings_is_refused() {
        let many = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("\"k{n}\":\"v\"")).collect();
            format!("{{{}}}", members.join(","))
        };
        let long = |length: usize| format!("{{\"k\":\"{}\"}}", "v".repeat(length));
        assert!(of(&many(16)).is_ok());
        assert!(of(&long(1024 - 8)).is_ok());
        for no in [
            &many(17),
            &long(1024 - 7),
            "[]",
            "\"a\"",
            "5",
            "true",
            r#"{"a":1}"#,
            r#"{"a":null}"#,
            r#"{"a":{"b":"c"}}"#,
            r#"{"a":["b"]}"#,
            r#"{"a":"1","\u0061":"2"}"#,
        ] {
            let problem = of(no).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidRequest, "{no}");
        }
    }

    #[test]
    fn foreign_bytes_are_shown_in_hexadecimal() {
        let mut out = Vec::new();
        write(&mut out, b"{\"a\"\xff");
        assert_eq!(out, b"\"7b226122ff\"");
    }
}
