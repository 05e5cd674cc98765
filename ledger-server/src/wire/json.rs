//! Writes JSON into a buffer, member by member.

use std::borrow::Cow;

use ledger_core::Timestamp;

use super::time;

/// An object being written. [`Object::end`] closes it; an object that is left open is a bug of its writer.
pub(crate) struct Object<'b> {
    out: &'b mut Vec<u8>,
    empty: bool,
}

impl<'b> Object<'b> {
    /// Opens an object at the end of `out`.
    pub(crate) fn begin(out: &'b mut Vec<u8>) -> Object<'b> {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Begins a member; the caller writes its value into what this returns.
    pub(crate) fn name(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn integer(&mut self, name: &'static str, value: u64) -> &mut Self {
        integer(self.name(name), value);
        self
    }

    pub(crate) fn text(&mut self, name: &'static str, value: &str) -> &mut Self {
        text(self.name(name), value);
        self
    }

    /// A text that is known to need no escapes.
    pub(crate) fn word(&mut self, name: &'static str, value: &str) -> &mut Self {
        let out = self.name(name);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
        self
    }

    pub(crate) fn time(&mut self, name: &'static str, value: Timestamp) -> &mut Self {
        let out = self.name(name);
        out.push(b'"');
        time::write(out, value);
        out.push(b'"');
        self
    }

    pub(crate) fn bool(&mut self, name: &'static str, value: bool) -> &mut Self {
        self.raw(name, if value { b"true" } else { b"false" })
    }

    pub(crate) fn null(&mut self, name: &'static str) -> &mut Self {
        self.raw(name, b"null")
    }

    /// Bytes that are JSON already.
    pub(crate) fn raw(&mut self, name: &'static str, json: &[u8]) -> &mut Self {
        self.name(name).extend_from_slice(json);
        self
    }

    /// An integer beyond 64 bits.
    pub(crate) fn wide(&mut self, name: &'static str, value: i128) -> &mut Self {
        self.name(name).extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes an array, whose elements `element` writes.
pub(crate) fn array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut element: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        element(out, item);
    }
    out.push(b']');
}

pub(crate) fn integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a string with the escapes that JSON requires, and no others: equal texts have equal bytes.
pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&escape(rest[at]));
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(byte: u8) -> Cow<'static, [u8]> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => Cow::Borrowed(b"\\\""),
        b'\\' => Cow::Borrowed(b"\\\\"),
        b'\n' => Cow::Borrowed(b"\\n"),
        b'\r' => Cow::Borrowed(b"\\r"),
        b'\t' => Cow::Borrowed(b"\\t"),
        _ => Cow::Owned(vec![b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_and_elements_are_separated() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.integer("a", 1).text("b", "\"\u{1}").null("c").bool("d", true).wide("e", -(1 << 100));
        array(object.name("f"), [1, 2], integer);
        object.end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"a":1,"b":"\"\u0001","c":null,"d":true,"e":-1267650600228229401496703205376,"f":[1,2]}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(value in any::<String>()) {
            let mut out = Vec::new();
            text(&mut out, &value);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), value);
        }
    }
}
