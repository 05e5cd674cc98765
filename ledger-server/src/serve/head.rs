//! What can be told of a request before hyper sees it.

use crate::routes::Decidable;
use crate::wire::asked::Asked;
use crate::wire::body::Media;
use crate::wire::key::HeaderKey;

/// More headers than a plain request has.
const HEADERS_MAX: usize = 32;
/// The longest head that is waited for here. hyper, which takes longer ones, says what becomes of them.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// What some bytes begin with.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// A part of a head.
    Part,
    /// A plain request, of so many bytes, that is not there whole.
    Begun(usize),
    /// A plain request that is there whole, and can be decided at once.
    Decidable(Decidable, Asked<'a>, Whole<'a>),
    /// Another plain request that is there whole, and of how many bytes it is.
    Whole(usize),
    /// Something that is not plain. Where it ends is for hyper to say.
    Other,
}

/// A whole request's body, and of how many bytes all of it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole<'a> {
    pub(super) body: &'a [u8],
    pub(super) bytes: usize,
}

/// Looks at a request with the same parser as hyper. One is plain if nothing in its head but a `Content-Length` concerns the
/// connection: then it ends where that says, and hyper says so too. Nor is a stream of commands plain: its answer has
/// begun when the first of them is decided; nor what a page in a browser asks for, which may have to be refused.
pub(super) fn look(input: &[u8]) -> Seen<'_> {
    #[cfg(test)]
    tests::LOOKS.set(tests::LOOKS.get() + 1);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(input) {
        Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= HEAD_BYTES_MAX => {
            let (Some((method, path, query)), Some(said)) = (plain_line(&head), Said::of(head.headers)) else {
                return Seen::Other;
            };
            let bytes = head_bytes + said.body_bytes;
            if input.len() < bytes {
                return Seen::Begun(bytes);
            }
            match Decidable::of(method, path) {
                Some(what) if query.is_none_or(is_unquestionable) => {
                    let asked = Asked { query, ..said.asked };
                    Seen::Decidable(what, asked, Whole { body: &input[head_bytes..bytes], bytes })
                }
                _ => Seen::Whole(bytes),
            }
        }
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => Seen::Part,
        _ => Seen::Other,
    }
}

/// Method, path and query of a plain request's first line.
fn plain_line<'a>(head: &httparse::Request<'_, 'a>) -> Option<(&'a str, &'a str, Option<&'a str>)> {
    let (method, target) = (head.method?, head.path?);
    let is_plain = head.version == Some(1) && matches!(method, "GET" | "POST") && target.starts_with('/');
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    is_plain.then_some((method, path, query))
}

/// Whether a query has nothing in it that hyper could find fault with.
fn is_unquestionable(query: &str) -> bool {
    query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"&=%+-_.~:,".contains(&byte))
}

/// What plain headers say.
struct Said<'a> {
    body_bytes: usize,
    asked: Asked<'a>,
}

impl<'a> Said<'a> {
    /// `None`: they are not plain.
    fn of(headers: &[httparse::Header<'a>]) -> Option<Said<'a>> {
        let mut length = None;
        let mut asked = Asked { content_type: None, content_encoding: None, key: HeaderKey::Absent, query: None };
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                if length.replace(digits(header.value)?).is_some() {
                    return None;
                }
            } else if is("content-type") {
                if Media::of(header.value) == Some(Media::Lines) {
                    return None;
                }
                asked.content_type.get_or_insert(header.value);
            } else if is("content-encoding") {
                asked.content_encoding.get_or_insert(header.value);
            } else if is("idempotency-key") {
                asked.key = asked.key.and(header.value);
            } else if is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive")
                || ["transfer-encoding", "expect", "upgrade", "te", "origin"].into_iter().any(is)
            {
                return None;
            }
        }
        Some(Said { body_bytes: length.unwrap_or(0), asked })
    }
}

/// A length of few digits and nothing else.
fn digits(value: &[u8]) -> Option<usize> {
    let is_length = (1..=9).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_length.then(|| value.iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0')))
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
