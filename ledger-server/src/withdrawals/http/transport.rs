//! One HTTP exchange over a pool of connections, and how far it came.
//!
//! What matters of a failure is whether a byte of the request can have left. [`Broken::NotSent`] is said only where hyper's
//! client tells, by type, that there was no connection to write to: the name, the socket or TLS failed, or took too long.
//! (A pooled connection that turns out closed before the request was begun is replaced by the client itself.) All else is
//! [`Broken::Unknown`].

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{HeaderMap, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

/// The longest body that is read.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The longest wait for a connection, TLS included.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: less than most servers keep theirs, so that few requests meet one being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Which certificates are believed.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// Those that Mozilla's root store vouches for, as it was when this program was built.
    pub fn public() -> Trust {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        Trust::of(roots)
    }

    /// Only those that the certificates in a PEM file vouch for.
    ///
    /// # Errors
    /// A message for the operator: the file cannot be read, or holds no certificate.
    pub fn from_file(path: &Path) -> Result<Trust, String> {
        let described = |fault: &dyn fmt::Display| format!("the certificates in {}: {fault}", path.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|fault| described(&fault))? {
            let certificate = certificate.map_err(|fault| described(&fault))?;
            roots.add(certificate).map_err(|fault| described(&fault))?;
        }
        if roots.is_empty() {
            return Err(described(&"there is none; write PEM blocks that begin with BEGIN CERTIFICATE"));
        }
        Ok(Trust::of(roots))
    }

    fn of(roots: RootCertStore) -> Trust {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust(Arc::new(config))
    }
}

/// A pool of connections.
#[derive(Clone)]
pub(crate) struct Transport {
    client: Client<Patient<HttpsConnector<HttpConnector>>, Full<Bytes>>,
    timeout: Duration,
}

/// A whole answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// No byte of the request has left.
    NotSent(String),
    /// The request may have arrived.
    Unknown(String),
}

impl Transport {
    /// Keeps up to `idle_max` connections; an exchange takes at most `timeout`.
    pub(crate) fn new(trust: &Trust, timeout: Duration, idle_max: usize) -> Transport {
        let mut http = HttpConnector::new();
        // Otherwise it refuses the addresses that are TLS's.
        http.enforce_http(false);
        http.set_nodelay(true);
        let config = ClientConfig::clone(&trust.0);
        let https =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(http);
        let patient = Patient { inner: https, timeout: (timeout / 2).min(CONNECT_TIMEOUT_MAX) };
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(idle_max)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(BODY_BYTES_MAX)
            .build(patient);
        Transport { client, timeout }
    }

    /// Sends `request` and reads the whole answer, whatever its status.
    pub(crate) async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, Broken> {
        match tokio::time::timeout(self.timeout, self.send(request)).await {
            Ok(result) => result,
            Err(_) => Err(Broken::Unknown(format!("no whole answer within {:?}", self.timeout))),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Broken> {
        let response = self.client.request(request).await.map_err(|fault| {
            let words = chain(&fault);
            if fault.is_connect() { Broken::NotSent(words) } else { Broken::Unknown(words) }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|fault| {
            Broken::Unknown(format!("status {}, and no whole body: {}", head.status.as_u16(), chain(&*fault)))
        })?;
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }
}

impl Reply {
    /// Whether its body says that it is JSON, as it is.
    pub(crate) fn is_json(&self) -> bool {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json") && !self.headers.contains_key(CONTENT_ENCODING)
    }
}

/// A fault with its causes: hyper's own words do not repeat them.
fn chain(fault: &dyn Error) -> String {
    let mut words = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        words += &format!(": {inner}");
        cause = inner.source();
    }
    words
}

/// A connector that gives up: on the name, the socket and TLS together, which have no deadline of their own.
#[derive(Clone)]
struct Patient<C> {
    inner: C,
    timeout: Duration,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<C> Service<Uri> for Patient<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let (connecting, timeout) = (self.inner.call(address), self.timeout);
        Box::pin(async move {
            tokio::time::timeout(timeout, connecting).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {timeout:?}")).into())
            })
        })
    }
}
