//! Bodies: what they are declared as, how large they are, and how long they may take.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use crate::error::{Code, Problem};

/// The largest body of a single command.
pub(crate) const SINGLE_BYTES_MAX: usize = 64 << 10;
/// The largest body of a batch.
pub(crate) const BATCH_BYTES_MAX: usize = 4 << 20;
/// How much room is made for a body because it was announced.
const EXPECTED_BYTES_MAX: usize = 256 << 10;

/// What a body is declared as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Media {
    Json,
    Lines,
    Csv,
}

impl Media {
    const ALL: [Media; 3] = [Media::Json, Media::Lines, Media::Csv];

    /// What a `Content-Type` names; parameters such as a charset are allowed and ignored, since every text here is UTF-8.
    pub(crate) fn of(declared: &[u8]) -> Option<Media> {
        let essence = declared.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        Media::ALL.into_iter().find(|media| essence.eq_ignore_ascii_case(media.as_str().as_bytes()))
    }

    const fn as_str(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Lines => "application/x-ndjson",
            Media::Csv => "text/csv",
        }
    }
}

/// Refuses a body that is not declared as `application/json`.
pub(crate) fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    media_among(headers, &[Media::Json]).map(|_| ())
}

/// What the body is declared as, if that is one of `allowed`.
pub(crate) fn media_among(headers: &HeaderMap, allowed: &[Media]) -> Result<Media, Problem> {
    refuse_codings(headers)?;
    let value = |name| headers.get(name).map(|value| value.as_bytes());
    declared_among(value(header::CONTENT_TYPE), value(header::CONTENT_ENCODING), allowed)
}

/// Refuses a body that was coded for its transfer in any way but chunks: hyper takes what others it is declared in for none.
fn refuse_codings(headers: &HeaderMap) -> Result<(), Problem> {
    let chunked_alone = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if let Some(coding) = headers.get_all(header::TRANSFER_ENCODING).iter().find(|coding| !chunked_alone(coding)) {
        let coding = String::from_utf8_lossy(coding.as_bytes()).into_owned();
        let detail = format!("the header Transfer-Encoding is {coding:?}; send the body as it is, or chunked");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    Ok(())
}

/// The same, by the values of `Content-Type` and `Content-Encoding`.
pub(crate) fn declared_among(
    content_type: Option<&[u8]>,
    content_encoding: Option<&[u8]>,
    allowed: &[Media],
) -> Result<Media, Problem> {
    if content_encoding.is_some_and(|encoding| encoding != b"identity") {
        return Err(unsupported("the body is compressed; send it as it is, without Content-Encoding"));
    }
    let rule = || allowed.iter().map(|media| media.as_str()).collect::<Vec<_>>().join(" or ");
    let Some(declared) = content_type else {
        return Err(unsupported(format!("the header Content-Type is missing; send Content-Type: {}", rule())));
    };
    Media::of(declared).filter(|media| allowed.contains(media)).ok_or_else(|| {
        let declared = String::from_utf8_lossy(declared).into_owned();
        unsupported(format!("the header Content-Type is {declared:?}; send Content-Type: {}", rule()))
    })
}

fn unsupported(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::UnsupportedMediaType, detail)
}

/// The whole body, of at most `bytes_max` bytes, which must come within `deadline`.
pub(crate) async fn read(
    body: Body,
    headers: &HeaderMap,
    bytes_max: usize,
    deadline: Duration,
) -> Result<Bytes, Problem> {
    read_within(None, body, headers, bytes_max, deadline).await
}

/// The same; what a body has beyond that of a single command counts against `budget`, in bytes, for as long as it is kept.
pub(crate) async fn read_within(
    budget: Option<&Arc<Semaphore>>,
    body: Body,
    headers: &HeaderMap,
    bytes_max: usize,
    deadline: Duration,
) -> Result<Bytes, Problem> {
    refuse_codings(headers)?;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    // What is declared is believed up to a point: memory is not to be had for a number.
    let expected = declared.map_or(0, |length| (length as usize).min(EXPECTED_BYTES_MAX));
    let mut collecting = pin!(collect(budget, body, expected, bytes_max));
    // A small body has nearly always come with its head: then no timer is made.
    if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(collecting.as_mut().poll(cx))).await {
        return read;
    }
    tokio::time::timeout(deadline, collecting).await.unwrap_or_else(|_| {
        let seconds = deadline.as_secs_f64();
        Err(Problem::new(
            Code::RequestTimeout,
            format!("the body did not come whole within {seconds} s; nothing was recorded: send it again, faster"),
        ))
    })
}

async fn collect(
    budget: Option<&Arc<Semaphore>>,
    mut body: Body,
    expected: usize,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut whole: Option<BytesMut> = None;
    let mut share: Option<Share> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|fault| {
            let detail = format!("the body broke off ({fault}); nothing was recorded: send it again");
            Problem::new(Code::InvalidRequest, detail)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.as_ref().map_or(first.len(), BytesMut::len) + data.len();
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        if let Some(budget) = budget.filter(|_| length > SINGLE_BYTES_MAX) {
            share.get_or_insert_with(|| Share::none(budget)).grow_to(length)?;
        }
        match &mut whole {
            Some(whole) => whole.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let mut joined = BytesMut::with_capacity(expected.max(length * 2));
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                whole = Some(joined);
            }
        }
    }
    let whole = whole.map_or(first, BytesMut::freeze);
    Ok(match share {
        None => whole,
        Some(share) => Bytes::from_owner(Kept { whole, _share: share }),
    })
}

/// What one body has of the budget for all of them.
struct Share {
    budget: Arc<Semaphore>,
    bytes: usize,
}

impl Share {
    fn none(budget: &Arc<Semaphore>) -> Share {
        Share { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Twice of it, since so much memory is taken at once while a body grows.
    fn grow_to(&mut self, length: usize) -> Result<(), Problem> {
        if self.bytes >= length {
            return Ok(());
        }
        let more = u32::try_from(2 * length - self.bytes).map_err(|_| Problem::internal())?;
        let taken = self.budget.try_acquire_many(more).map_err(|_| {
            let detail = "the large bodies that are being read have as much memory as they may; repeat later";
            Problem::new(Code::Overloaded, detail)
        })?;
        // Given back by `drop`.
        taken.forget();
        self.bytes = 2 * length;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.add_permits(self.bytes);
    }
}

/// A body, and what it has of the budget.
struct Kept {
    whole: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.whole
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body has more than {bytes_max} bytes; send less at once"))
}

/// The body as text.
pub(crate) fn text(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|fault| {
        let detail = format!("the body is not UTF-8 at byte {}; send one JSON value in UTF-8", fault.valid_up_to());
        Problem::new(Code::InvalidJson, detail)
    })
}
