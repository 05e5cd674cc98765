//! The accept loop: sockets in, connections served, an orderly end.
//!
//! hyper is used directly and not through `axum::serve`, since it protects from nothing unless it is told to, and since
//! `pipeline_flush` (several answers in one write) doubles what pipelined clients get.

mod patience;
mod socket;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use crate::app::Http;
use patience::{HeadTimer, Patience};
use socket::Socket;

/// How much a client may ask of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServeOptions {
    /// How long a request's head may take, from its first byte (or from the connection's start, for the first one).
    pub header_deadline: Duration,
    /// How long a connection may be silent between two requests. Longer than clients and proxies keep theirs, so that it
    /// is they who close: a request that meets a closing connection cannot know whether it was seen.
    pub idle_deadline: Duration,
    /// How long a client may leave an answer unread.
    pub write_deadline: Duration,
    /// How many connections are open at once; more wait in the operating system's queue.
    pub connections_max: usize,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            header_deadline: Duration::from_secs(5),
            idle_deadline: Duration::from_secs(75),
            write_deadline: Duration::from_secs(30),
            connections_max: 10_000,
        }
    }
}

/// How many connections may wait to be accepted, if the operating system allows as many. One that finds no place is dropped,
/// and its client tries again after a second: with the 128 of tokio's own `bind`, 500 that came at once took that second.
const BACKLOG: u32 = 4_096;

/// Listens on `address`. Called within a runtime.
///
/// # Errors
/// The address is in use, or not to be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that a server can be started again while connections of the one before it linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `http` on `listener` until `stop` is ready, then answers what is in flight, for at most `drain_max`.
pub async fn serve(
    listener: TcpListener,
    http: Http,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
    drain_max: Duration,
) {
    let mut stop = pin!(stop);
    let places = Arc::new(Semaphore::new(options.connections_max));
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, place)) => spawn(stream, place, http.clone(), options, &connections),
            Err(fault) => {
                // Mostly a lack of file descriptors: others will be closed soon.
                tracing::warn!(%fault, "no connection could be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(drain_max, connections.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time and were cut off");
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // An answer is written whole; waiting for more to send with it would only delay it.
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

fn spawn(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    http: Http,
    options: ServeOptions,
    connections: &GracefulShutdown,
) {
    let patience = Arc::new(Patience::new(options.header_deadline, options.idle_deadline));
    let socket = Socket::new(stream, Arc::clone(&patience), options.write_deadline);
    // One connection's requests come one after the other, and a cell is cheaper than a clone for each.
    let http = RefCell::new(http);
    let service = service_fn(move |request: Request<Incoming>| http.borrow_mut().call(request.map(Body::new)));
    let connection = http1::Builder::new()
        .timer(HeadTimer::new(patience))
        // The timer above decides how long; this only makes hyper ask it.
        .header_read_timeout(options.header_deadline)
        .pipeline_flush(true)
        .serve_connection(socket, service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(fault) = connection.await {
            tracing::debug!(%fault, "a connection broke off");
        }
        drop(place);
    });
}
