//! An answer with its body whole, before it is framed.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What is answered: as a [`Response`] by way of axum and hyper, or written as it is.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) media: &'static str,
    /// Those beyond `Content-Type` and what framing adds.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A 200 with a body of JSON.
    pub(crate) fn json(body: Vec<u8>) -> Reply {
        Reply { status: StatusCode::OK, media: "application/json", headers: Vec::new(), body }
    }

    /// Marked as one that was given before.
    pub(crate) fn replayed(self) -> Reply {
        self.with(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"))
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body.into());
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media));
        response.headers_mut().extend(self.headers);
        response
    }
}
