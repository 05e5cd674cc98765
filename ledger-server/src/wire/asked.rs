//! What a handler looks at in a request's head, whoever parsed that.

use axum::http::header;
use axum::http::request::Parts;

use super::body::{self, Media};
use super::key::HeaderKey;
use super::query::{self, Parameter};
use crate::error::Problem;

/// The head of a request, as far as it concerns commands and balances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) content_type: Option<&'a [u8]>,
    pub(crate) content_encoding: Option<&'a [u8]>,
    pub(crate) key: HeaderKey<'a>,
    pub(crate) query: Option<&'a str>,
}

impl<'a> Asked<'a> {
    pub(crate) fn of(head: &'a Parts) -> Asked<'a> {
        let value = |name| head.headers.get(name).map(|value| value.as_bytes());
        Asked {
            content_type: value(header::CONTENT_TYPE),
            content_encoding: value(header::CONTENT_ENCODING),
            key: HeaderKey::of(&head.headers),
            query: head.uri.query(),
        }
    }

    /// Refuses a body that is not declared as `application/json`.
    pub(crate) fn json_only(&self) -> Result<(), Problem> {
        body::declared_among(self.content_type, self.content_encoding, &[Media::Json]).map(|_| ())
    }

    /// As [`query::parameters`].
    pub(crate) fn parameters<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<[Option<Parameter<'a>>; N], Problem> {
        query::parameters_of(self.query, names)
    }
}
