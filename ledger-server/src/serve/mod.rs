//! The accept loop: sockets in, connections served, an orderly end.
//!
//! hyper is used directly and not through `axum::serve`, since it protects from nothing unless it is told to. What clients send is
//! looked at before hyper gets it (`ahead`): commands and balances are decided and answered past it (`lane`), so that one commit
//! serves many requests of a pipeline and their answers are written together. Everything else is hyper's.

mod ahead;
mod bells;
mod frame;
mod head;
mod lane;
mod linger;
mod outgoing;
mod patience;
mod socket;
mod turns;
mod unread;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::app::Http;
use ahead::Ahead;
use bells::Bells;
use patience::{HeadTimer, Patience};
use socket::Socket;
use turns::Turns;
use unread::Unread;

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
    /// How long a client that was answered before all of its request came is read from, so that it gets to its answer.
    pub linger_deadline: Duration,
    /// How many connections are open at once; more wait in the operating system's queue.
    pub connections_max: usize,
    /// Whether a commit wakes each of the runtime's workers once, for all requests that wait there. Not where the log counts who
    /// waits for it ([`ledger_core::Options::commit_delay`]).
    pub wakes_together: bool,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            header_deadline: Duration::from_secs(5),
            idle_deadline: Duration::from_secs(75),
            write_deadline: Duration::from_secs(30),
            linger_deadline: Duration::from_secs(5),
            connections_max: 10_000,
            wakes_together: true,
        }
    }
}

/// How many connections may wait to be accepted, if the operating system allows as many. One that finds no place is dropped,
/// and its client tries again after a second: with the 128 of tokio's own `bind`, 500 that came at once took that second.
const BACKLOG: u32 = 4_096;

/// How often it is told that no connection can be accepted: it is tried twenty times a second.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What answers that are being written when the time of a stop is over may still take.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

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

/// Serves `http` on `listener` until `stop` is ready, then answers what is in flight while `work` ends, for at most `drain_max`.
///
/// Until all of that has ended it still accepts: whoever balances the load learns from `/health` that the server is stopping, and
/// not from connections that are refused. What is accepted then is answered once and closed. What is refused is `http`'s to say.
/// `work` is begun when `stop` is ready.
pub async fn serve(
    listener: TcpListener,
    http: Http,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
    work: impl Future<Output = ()>,
    drain_max: Duration,
) {
    let workers = if options.wakes_together { tokio::runtime::Handle::current().metrics().num_workers() } else { 0 };
    let bells = Bells::hang(http.ledger().clone(), workers);
    let acceptor =
        Acceptor { listener, http, bells, options, places: Arc::new(Semaphore::new(options.connections_max)) };
    let (early, late) = (watch::channel(()).0, watch::channel(()).0);
    acceptor.accept_until(stop, &early, Stage::Serving).await;
    let deadline = tokio::time::Instant::now() + drain_max;
    // Nobody listens if there is no connection.
    let _ = early.send(());
    let ended = async { tokio::join!(work, early.closed()) };
    let ended = async { drop(tokio::time::timeout_at(deadline, ended).await) };
    acceptor.accept_until(ended, &late, Stage::Stopping).await;
    drop(acceptor);
    let _ = late.send(());
    let closed = async { tokio::join!(early.closed(), late.closed()) };
    if tokio::time::timeout_at(deadline.max(tokio::time::Instant::now() + LAST_ANSWERS), closed).await.is_err() {
        tracing::warn!("some connections did not end in time and were cut off");
    }
}

/// Where a server is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Serving,
    Stopping,
}

struct Acceptor {
    listener: TcpListener,
    http: Http,
    bells: Arc<Bells>,
    options: ServeOptions,
    places: Arc<Semaphore>,
}

impl Acceptor {
    /// Serves what comes until `end` is ready; each connection is told by `connections` that it is to end.
    async fn accept_until(&self, end: impl Future<Output = ()>, connections: &watch::Sender<()>, stage: Stage) {
        let mut end = pin!(end);
        let mut told = Told::default();
        loop {
            // The end first: what it begins may not wait for connections.
            let accepted = tokio::select! {
                biased;
                () = &mut end => return,
                accepted = accept(&self.listener, &self.places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (http, bells) = (self.http.clone(), Arc::clone(&self.bells));
                    spawn(stream, place, http, bells, self.options, connections.subscribe(), stage);
                }
                Err(fault) => {
                    // Mostly a lack of file descriptors: others will be closed soon.
                    if told.is_due(Instant::now()) {
                        tracing::warn!(%fault, "no connection could be accepted");
                    }
                    tokio::select! {
                        () = &mut end => return,
                        () = tokio::time::sleep(Duration::from_millis(50)) => {}
                    }
                }
            }
        }
    }
}

/// When something was told last.
#[derive(Default)]
struct Told(Option<Instant>);

impl Told {
    /// Whether it is to be told again, `now`.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|last| now.duration_since(last) >= TELL_EVERY);
        if is_due {
            self.0 = Some(now);
        }
        is_due
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
    bells: Arc<Bells>,
    options: ServeOptions,
    mut stop: watch::Receiver<()>,
    stage: Stage,
) {
    let patience = Arc::new(Patience::new(options.header_deadline, options.idle_deadline));
    let turns = Turns::new(http.clone());
    let unread = Arc::<Unread>::default();
    let ahead = Ahead::new(http, bells, Arc::clone(&turns), Arc::clone(&patience));
    let ahead = match stage {
        Stage::Serving => ahead,
        // Nothing is begun any more, and there is one answer a connection.
        Stage::Stopping => ahead.passing_all(),
    };
    let socket = Socket::new(stream, ahead, Arc::clone(&unread), options);
    let timer = HeadTimer::new(patience, Arc::clone(&unread));
    let service = service_fn({
        let turns = Arc::clone(&turns);
        move |request: Request<Incoming>| {
            let unread = Arc::clone(&unread);
            let serving = turns.serve(unread.watch(request));
            async move {
                // Kept to the end: nothing behind this request is begun before it.
                let mut serving = pin!(serving);
                let Ok(mut response) = serving.as_mut().await;
                if response.headers().contains_key(header::CONNECTION) {
                    unread.leave();
                } else if !unread.discard().await {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(timer)
        // The timer above decides how long; this only makes hyper ask it.
        .header_read_timeout(options.header_deadline)
        .keep_alive(stage == Stage::Serving)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_at_once_and_every_ten_seconds() {
        let (begun, mut told) = (Instant::now(), Told::default());
        let told: Vec<u64> =
            (0..=20_050).step_by(50).filter(|millis| told.is_due(begun + Duration::from_millis(*millis))).collect();
        assert_eq!(told, [0, 10_000, 20_000]);
    }
}
