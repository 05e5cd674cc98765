//! How a reply lies on the wire: byte for byte as hyper frames it.

use std::cell::RefCell;
use std::time::{Duration, Instant, SystemTime};

use bytes::{BufMut, BytesMut};
use httpdate::HttpDate;

use crate::wire::reply::Reply;

/// What a head takes, generously, beside headers of its own.
const HEAD_BYTES: usize = 192;

/// Writes `reply` at the end of `out`.
pub(super) fn write(out: &mut BytesMut, reply: &Reply, now: Instant) {
    let headers: usize = reply.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    out.reserve(HEAD_BYTES + headers + reply.body.len());
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(reply.status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(reply.status.canonical_reason().unwrap_or("<none>").as_bytes());
    out.put_slice(b"\r\ncontent-type: ");
    out.put_slice(reply.media.as_bytes());
    for (name, value) in &reply.headers {
        out.put_slice(b"\r\n");
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
    }
    out.put_slice(b"\r\ncontent-length: ");
    out.put_slice(itoa::Buffer::new().format(reply.body.len()).as_bytes());
    out.put_slice(b"\r\ndate: ");
    DATE.with_borrow_mut(|date| out.put_slice(date.text(now)));
    out.put_slice(b"\r\n\r\n");
    out.put_slice(&reply.body);
}

thread_local! {
    static DATE: RefCell<Date> = const { RefCell::new(Date { text: [0; 29], until: None }) };
}

/// The value of `Date`, made once a second.
struct Date {
    text: [u8; 29],
    until: Option<Instant>,
}

impl Date {
    fn text(&mut self, now: Instant) -> &[u8; 29] {
        if self.until.is_none_or(|until| now >= until) {
            let time = SystemTime::now();
            let into_second = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
            self.until = Some(now + (Duration::from_secs(1) - Duration::from_nanos(into_second.into())));
            self.text.copy_from_slice(HttpDate::from(time).to_string().as_bytes());
        }
        &self.text
    }
}
