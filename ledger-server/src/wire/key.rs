//! The header `Idempotency-Key`, taken raw: its bytes are the key, quotes and all.

use axum::http::HeaderMap;

use crate::error::{Code, Problem};

/// The header as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeaderKey<'a> {
    Absent,
    Present(&'a [u8]),
    Repeated,
}

impl<'a> HeaderKey<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> HeaderKey<'a> {
        let mut values = headers.get_all("idempotency-key").iter();
        match (values.next(), values.next()) {
            (None, _) => HeaderKey::Absent,
            (Some(value), None) => HeaderKey::Present(value.as_bytes()),
            (Some(_), Some(_)) => HeaderKey::Repeated,
        }
    }

    /// With one header more.
    pub(crate) fn and(self, value: &'a [u8]) -> HeaderKey<'a> {
        if matches!(self, HeaderKey::Absent) { HeaderKey::Present(value) } else { HeaderKey::Repeated }
    }

    /// The key that the header names, if any.
    pub(crate) fn text(self) -> Result<Option<&'a str>, Problem> {
        match self {
            HeaderKey::Absent => Ok(None),
            HeaderKey::Present(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|_| {
                invalid("the header Idempotency-Key is not UTF-8; send 1 to 255 bytes of printable UTF-8")
            }),
            HeaderKey::Repeated => Err(invalid("the header Idempotency-Key came more than once; send it once")),
        }
    }

    /// In a batch each operation carries its own key.
    pub(crate) fn refuse(self) -> Result<(), Problem> {
        match self {
            HeaderKey::Absent => Ok(()),
            HeaderKey::Present(_) | HeaderKey::Repeated => Err(invalid(
                "a batch takes no header Idempotency-Key, since each operation carries its own; remove the header",
            )),
        }
    }
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::InvalidIdempotencyKey, detail).field("idempotency_key")
}
