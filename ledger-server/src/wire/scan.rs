//! A strict JSON scanner that borrows: RFC 8259 and nothing more, over text that is known to be UTF-8.
//!
//! serde could read these bodies, but could not say what this API promises to say: that bytes which are not JSON come
//! before an unknown field, and an unknown field before a field with a wrong value, each with a code of its own.

use std::borrow::Cow;
use std::fmt;

/// How deep values may nest. Nothing that is accepted nests deeper than two; the rest is scanned only to be refused.
const DEPTH_MAX: usize = 64;

/// Where text stops being JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotJson {
    /// The byte, from 0.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) what: &'static str,
}

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not JSON at byte {}: {}", self.at, self.what)
    }
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// What the string says; copied only where it has escapes.
    pub(crate) fn decode(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }
}

/// One value; what is inside of objects and arrays is checked, and left to whoever wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// Its digits, sign, point and exponent.
    Number(&'a str),
    String(Text<'a>),
    /// With its braces.
    Object(&'a str),
    /// With its brackets.
    Array(&'a str),
}

impl Value<'_> {
    /// An integer of at most `max`, written as digits alone: `5.0` and `5e0` are floats here, as in most clients.
    pub(crate) fn integer(&self, max: u64) -> Option<u64> {
        match self {
            Value::Number(digits) => digits.parse().ok().filter(|&number| number <= max),
            _ => None,
        }
    }
}

impl fmt::Display for Value<'_> {
    /// The value for a message: as it was written, cut to a readable length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => value.fmt(f),
            Value::Number(digits) => f.write_str(cut(digits)),
            Value::String(text) if text.raw.len() > CUT_AT => write!(f, "\"{}…\"", cut(text.raw)),
            Value::String(text) => write!(f, "\"{}\"", text.raw),
            Value::Object(_) => f.write_str("an object"),
            Value::Array(_) => f.write_str("an array"),
        }
    }
}

const CUT_AT: usize = 64;

/// At most the first 64 bytes, cut between characters.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(CUT_AT)]
}

/// Reads values out of text, from left to right.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.text.len() - self.at
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, NotJson> {
        Err(NotJson { at: self.at, what })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), NotJson> {
        if self.peek() != Some(byte) {
            return self.fail(what);
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but white space may be left.
    pub(crate) fn end(&mut self) -> Result<(), NotJson> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { self.fail("nothing may follow the value") }
    }

    /// One value, checked to its last byte.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, NotJson> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: usize) -> Result<Value<'a>, NotJson> {
        self.skip_space();
        let start = self.at;
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(self.number()?)),
            Some(b'{') => {
                self.members(depth + 1, |scanner, _, depth| scanner.value_at(depth).map(|_| ()))?;
                Ok(Value::Object(&self.text[start..self.at]))
            }
            Some(b'[') => {
                self.elements(depth + 1, |scanner, depth| scanner.value_at(depth).map(|_| ()))?;
                Ok(Value::Array(&self.text[start..self.at]))
            }
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => self.fail("a value must stand here"),
            None => self.fail("the text ends where a value must stand"),
        }
    }

    fn word(&mut self, word: &'static str, value: Value<'a>) -> Result<Value<'a>, NotJson> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.fail("the only words are true, false and null");
        }
        self.at += word.len();
        Ok(value)
    }

    /// An object, whose members' values `member` reads; `None` if another kind of value stands here, with nothing read.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Scanner<'a>, Text<'a>) -> Result<(), NotJson>,
    ) -> Result<Option<()>, NotJson> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            return Ok(None);
        }
        self.members(1, |scanner, name, _| member(scanner, name)).map(Some)
    }

    /// An array, whose elements `element` reads; `None` if another kind of value stands here, with nothing read.
    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Scanner<'a>) -> Result<(), NotJson>,
    ) -> Result<Option<()>, NotJson> {
        self.skip_space();
        if self.peek() != Some(b'[') {
            return Ok(None);
        }
        self.elements(1, |scanner, _| element(scanner)).map(Some)
    }

    fn members(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Scanner<'a>, Text<'a>, usize) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.nest(depth)?;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return self.fail("a member's name in quotes must stand here");
            }
            let name = self.string()?;
            self.skip_space();
            self.expect(b':', "a colon must follow a member's name")?;
            member(self, name, depth)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.fail("a comma or a closing brace must follow a member"),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn elements(
        &mut self,
        depth: usize,
        mut element: impl FnMut(&mut Scanner<'a>, usize) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.nest(depth)?;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self, depth)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.fail("a comma or a closing bracket must follow an element"),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Past an opening brace or bracket.
    fn nest(&mut self, depth: usize) -> Result<(), NotJson> {
        if depth > DEPTH_MAX {
            return self.fail("values nest deeper than 64");
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<Text<'a>, NotJson> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(&self.text.as_bytes()[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fail("a control character in a string must be escaped"),
                None => return self.fail("the string does not end"),
            }
        }
    }

    /// One escape, checked: an escape that no character can come out of makes the text not JSON.
    fn escape(&mut self) -> Result<(), NotJson> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match decode_unicode(&rest[1..]) {
                Some((_, length)) => self.at += 2 + length,
                None => return self.fail("\\u needs four hexadecimal digits, and a surrogate its other half"),
            },
            _ => return self.fail("there is no such escape"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<&'a str, NotJson> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.fail("a digit must stand here"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits_needed()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits_needed()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn digits_needed(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        self.digits();
        if self.at == start { self.fail("a digit must stand here") } else { Ok(()) }
    }
}

/// How many bytes from the start need no look: neither quote, backslash nor control character. Eight at a time, with
/// the test for a zero byte from Warren, "Hacker's Delight", 6-1; a false positive lies only above a true one.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut length = 0;
    for chunk in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*chunk);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let special = below_space | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let plain = |byte: &&u8| **byte >= 0x20 && **byte != b'"' && **byte != b'\\';
    length + bytes[length..].iter().take_while(plain).count()
}

/// The character of four hexadecimal digits, or of a surrogate pair (`D83D\uDE00`), and how many bytes say it.
fn decode_unicode(bytes: &[u8]) -> Option<(char, usize)> {
    let unit = |bytes: &[u8]| -> Option<u32> {
        bytes.get(..4)?.iter().try_fold(0, |unit, &byte| Some(unit << 4 | char::from(byte).to_digit(16)?))
    };
    let first = unit(bytes)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).map(|character| (character, 4));
    }
    let second = unit(bytes.get(4..)?.strip_prefix(b"\\u")?)?;
    let low = second.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + low).map(|character| (character, 10))
}

/// What a checked string with escapes says.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = &rest.as_bytes()[at + 1..];
        let (character, length) = match escape.first() {
            Some(b'u') => decode_unicode(&escape[1..]).map_or(('\u{fffd}', 1), |(c, length)| (c, 1 + length)),
            Some(b'b') => ('\u{8}', 1),
            Some(b'f') => ('\u{c}', 1),
            Some(b'n') => ('\n', 1),
            Some(b'r') => ('\r', 1),
            Some(b't') => ('\t', 1),
            Some(&byte) => (char::from(byte), 1),
            None => break,
        };
        text.push(character);
        rest = &rest[at + 1 + length..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Value<'_>, NotJson> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.end()?;
        Ok(value)
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let cases = [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "{]",
            "[}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{a:1}",
            "{'a':1}",
            "{\"a\":1}x",
            "1 2",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1.e5",
            "1e",
            "1e+",
            "0x10",
            "NaN",
            "Infinity",
            "-Infinity",
            "nul",
            "nulls",
            "True",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\n\"",
            "\"\t\"",
            "\"\u{1f}\"",
            "\u{feff}{}",
            "// c\n1",
            "/**/1",
            "{\"a\":1 \"b\":2}",
            "[1]]",
            "{}{}",
            "\u{a0}1",
            "-01",
            "1_000",
            "--1",
            "1e5.5",
        ];
        for case in cases {
            assert!(read(case).is_err(), "{case:?}");
            assert!(serde_json::from_str::<serde_json::Value>(case).is_err(), "{case:?} is JSON, says serde_json");
        }
    }

    #[test]
    fn what_is_json_is_read() {
        let cases = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "12",
            "-1.5e+3",
            "1E5",
            "\"\"",
            "\"a\\n\\u00e9\\ud83d\\ude00\"",
            "{}",
            "[]",
            " { \"a\" : [ 1 , { \"b\" : null } ] , \"c\" : \"d\" } \r\n\t",
            "[[[[1]]]]",
            "\"\u{7f}é😀\"",
            "\"12345678\\\"\"",
        ];
        for case in cases {
            assert!(read(case).is_ok(), "{case:?}: {:?}", read(case));
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        assert!(read(&nested(DEPTH_MAX + 1)).is_err());
        assert!(read(&"[".repeat(1 << 16)).is_err());
    }

    #[test]
    fn only_whole_digits_are_integers() {
        let integer = |text| read(text).unwrap().integer(100);
        assert_eq!(integer("0"), Some(0));
        assert_eq!(integer("100"), Some(100));
        for no in ["101", "-1", "-0", "1.0", "1e1", "\"5\"", "null", "true", "[1]", "99999999999999999999999"] {
            assert_eq!(integer(no), None, "{no}");
        }
    }

    #[test]
    fn a_long_value_is_cut_in_messages() {
        let text = format!("\"{}\"", "é".repeat(200));
        assert_eq!(read(&text).unwrap().to_string().chars().count(), 32 + 3);
    }

    proptest! {
        #[test]
        fn strings_come_back_as_serde_json_wrote_them(text in "\\PC*|[\\x00-\\x7f]{0,40}") {
            let written = serde_json::to_string(&text).unwrap();
            let Value::String(read) = read(&written).unwrap() else { panic!("not a string") };
            prop_assert_eq!(read.decode(), text);
        }

        #[test]
        fn scanner_and_serde_json_agree_on_what_is_json(text in "[\\[\\]{}:,\"\\\\ 01.eE+\\-untrfals\\n]{0,24}") {
            prop_assert_eq!(read(&text).is_ok(), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
        }

        #[test]
        fn the_plain_prefix_is_what_a_byte_loop_finds(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let slow = bytes.iter().take_while(|&&b| b >= 0x20 && b != b'"' && b != b'\\').count();
            prop_assert_eq!(plain_prefix(&bytes), slow);
        }
    }
}
