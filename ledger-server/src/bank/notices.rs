//! Notices: signed, repeated until they are taken.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use ledger_core::Timestamp;
use tokio::sync::Semaphore;

use super::book::Line;
use super::options::Notify;
use crate::wire::json::Object;
use crate::withdrawals::{SIGNATURE_HEADER, Transport, Trust};

/// How long one sending may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How many are sent at once.
const AT_ONCE: usize = 16;
/// The first wait after a sending that was not taken; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// After so many sendings the bank gives up until it is started again: about an hour and a half.
const SENDINGS_MAX: u32 = 500;

/// The way to the ledger.
pub(super) struct Notices {
    notify: Notify,
    transport: Transport,
    free: Arc<Semaphore>,
}

impl Notices {
    pub(super) fn new(notify: &Notify) -> Notices {
        let transport = Transport::new(&Trust::public(), TIMEOUT, AT_ONCE);
        Notices { notify: notify.clone(), transport, free: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Sends the notice of a line whose outcome is final until it is answered 200; `false`: it never was.
    pub(super) async fn deliver(&self, line: &Line) -> bool {
        let body = Bytes::from(body(line));
        let mut pause = PAUSE_MIN;
        for _ in 0..SENDINGS_MAX {
            let Ok(place) = self.free.acquire().await else { return false };
            let sent = self.transport.exchange(self.request(&body)).await;
            drop(place);
            match sent {
                Ok(reply) if reply.status == 200 => return true,
                Ok(reply) => {
                    tracing::debug!(reference = line.order.reference, status = reply.status, "a notice was not taken")
                }
                Err(fault) => tracing::debug!(reference = line.order.reference, ?fault, "a notice was not delivered"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        tracing::warn!(reference = line.order.reference, "a notice was given up");
        false
    }

    /// Signed anew for each sending: the ledger does not believe an old signature.
    fn request(&self, body: &Bytes) -> Request<Full<Bytes>> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = self.notify.secret.sign(unix, body);
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.notify.address.at("");
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(SIGNATURE_HEADER, HeaderValue::from_str(&signature).expect("digits, letters and signs"));
        request
    }
}

fn body(line: &Line) -> Vec<u8> {
    let final_at = line.final_at();
    let occurred_at = i64::try_from(final_at).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::MAX);
    let mut out = Vec::with_capacity(160);
    let mut object = Object::begin(&mut out);
    object
        .text("bank_reference", &line.order.reference)
        .word("outcome", line.status(final_at))
        .time("occurred_at", occurred_at);
    object.end();
    out
}
