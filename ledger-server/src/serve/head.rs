//! What can be told of a request before hyper sees it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use bytes::Bytes;

use crate::wire::body::Media;

/// More headers than a plain request has.
const HEADERS_MAX: usize = 32;
/// The longest head that is waited for here. hyper, which takes longer ones, says what becomes of them.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// What some bytes begin with.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once; a box would be an allocation for each request"
)]
pub(super) enum Seen {
    /// A part of a head.
    Part,
    /// A plain request, of so many bytes, that is not there whole.
    Begun(usize),
    /// A plain request, and of how many bytes it is.
    Whole(Request<Body>, usize),
    /// Something that is not plain. Where it ends is for hyper to say.
    Other,
}

/// Looks at a request with the same parser as hyper. One is plain if nothing in its head but a `Content-Length` concerns the
/// connection: then it ends where that says, and hyper says so too. Nor is a stream of commands plain: its answer has
/// begun when the first of them is decided.
pub(super) fn look(input: &Bytes) -> Seen {
    #[cfg(test)]
    tests::LOOKS.set(tests::LOOKS.get() + 1);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(input) {
        Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= HEAD_BYTES_MAX => {
            let Some(body_bytes) = plain_body_bytes(&head) else { return Seen::Other };
            let bytes = head_bytes + body_bytes;
            if input.len() < bytes {
                return Seen::Begun(bytes);
            }
            request(&head, input, input.slice(head_bytes..bytes))
                .map_or(Seen::Other, |request| Seen::Whole(request, bytes))
        }
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => Seen::Part,
        _ => Seen::Other,
    }
}

/// How many bytes follow a plain head; `None`: it is not plain.
fn plain_body_bytes(head: &httparse::Request<'_, '_>) -> Option<usize> {
    let mut length = None;
    for header in &*head.headers {
        let is = |name: HeaderName| header.name.eq_ignore_ascii_case(name.as_str());
        if is(header::CONTENT_LENGTH) {
            if length.replace(digits(header.value)?).is_some() {
                return None;
            }
        } else if is(header::CONTENT_TYPE) && Media::of(header.value) == Some(Media::Lines)
            || is(header::CONNECTION) && !header.value.eq_ignore_ascii_case(b"keep-alive")
            || [header::TRANSFER_ENCODING, header::EXPECT, header::UPGRADE, header::TE].into_iter().any(is)
        {
            return None;
        }
    }
    let is_plain = head.version == Some(1)
        && matches!(head.method, Some("GET" | "POST"))
        && head.path.is_some_and(|path| path.starts_with('/'));
    is_plain.then(|| length.unwrap_or(0))
}

/// A length of few digits and nothing else.
fn digits(value: &[u8]) -> Option<usize> {
    let is_length = (1..=9).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_length.then(|| value.iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0')))
}

/// The request as hyper would give it; `None`: it would not.
fn request(head: &httparse::Request<'_, '_>, input: &Bytes, body: Bytes) -> Option<Request<Body>> {
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for header in &*head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(input.slice_ref(header.value)).ok()?);
    }
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = if head.method? == "GET" { Method::GET } else { Method::POST };
    *request.uri_mut() = Uri::from_maybe_shared(input.slice_ref(head.path?.as_bytes())).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
pub(super) mod tests {
    thread_local! {
        pub(super) static LOOKS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }

    /// How often this thread has looked at a request.
    pub(in crate::serve) fn looks() -> u32 {
        LOOKS.get()
    }
}
