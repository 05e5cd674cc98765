//! The accept loop: sockets in, connections served, an orderly end.
//!
//! hyper is used directly and not through `axum::serve`, since it protects from nothing unless it is told to. What pipelined
//! clients send is looked at before hyper gets it (`ahead`), so that one commit serves many of their requests, and their answers
//! are written together (`socket`), which doubles what they get.

mod ahead;
mod head;
mod patience;
mod socket;
mod turns;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::app::Http;
use patience::{HeadTimer, Patience};
use socket::Socket;
use turns::Turns;

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
    let (connections, _) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, place)) => spawn(stream, place, http.clone(), options, connections.subscribe()),
            Err(fault) => {
                // Mostly a lack of file descriptors: others will be closed soon.
                tracing::warn!(%fault, "no connection could be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    // Nobody listens if there is no connection.
    let _ = connections.send(());
    if tokio::time::timeout(drain_max, connections.closed()).await.is_err() {
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
    mut stop: watch::Receiver<()>,
) {
    let patience = Arc::new(Patience::new(options.header_deadline, options.idle_deadline));
    let turns = Turns::new(http);
    let socket = Socket::new(stream, Arc::clone(&turns), Arc::clone(&patience), options.write_deadline);
    let service = service_fn({
        let turns = Arc::clone(&turns);
        move |request: Request<Incoming>| turns.serve(request)
    });
    let connection = http1::Builder::new()
        .timer(HeadTimer::new(patience))
        // The timer above decides how long; this only makes hyper ask it.
        .header_read_timeout(options.header_deadline)
        .serve_connection(socket, service);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            _ = stop.changed() => {
                turns.stop();
                // hyper would answer one more and close. What was begun has been decided, so it is answered first.
                let mut is_last = false;
                poll_fn(|cx| loop {
                    if !is_last && !turns.has_begun() {
                        is_last = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    let polled = connection.as_mut().poll(cx);
                    if polled.is_ready() || is_last || turns.has_begun() {
                        return polled;
                    }
                })
                .await
            }
        };
        if let Err(fault) = ended {
            tracing::debug!(%fault, "a connection broke off");
        }
        drop((place, stop));
    });
}
