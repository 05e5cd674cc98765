//! A bank to try the ledger with: a program of its own that speaks `docs/bank-protocol.md`, with every fault on demand.
//!
//! What must hold, so that two books can be compared whatever happens to either program: a payment is in the book, and
//! synced, before anything is answered; the bank never says a definite word that its book contradicts; and a reference that
//! it recognises is paid once.

mod book;
mod conduct;
mod notices;
mod options;
mod serve;

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;

use tokio::net::TcpListener;

pub use options::BankArguments;

use book::Book;
use conduct::Conduct;
use notices::Notices;

/// Why the bank did not start, or ended.
#[derive(Debug)]
pub enum BankError {
    /// An option cannot be.
    Option(String),
    /// The book cannot be opened, or is not one.
    Book(io::Error),
    /// The address cannot be listened on.
    Listen(io::Error),
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BankError::Option(fault) => f.write_str(fault),
            BankError::Book(fault) => write!(f, "the book cannot be opened: {fault}; choose another --book"),
            BankError::Listen(fault) => {
                write!(f, "the address cannot be listened on: {fault}; choose another --listen")
            }
        }
    }
}

impl std::error::Error for BankError {}

/// Plays a bank until `stop` is ready. What it paid is in its book, also if it is killed.
///
/// # Errors
/// See [`BankError`].
pub async fn run(arguments: BankArguments, stop: impl Future<Output = ()>) -> Result<(), BankError> {
    let options = arguments.resolve().map_err(BankError::Option)?;
    let listener = TcpListener::bind(options.listen).await.map_err(BankError::Listen)?;
    let book = Book::open(&options.book).map_err(BankError::Book)?;
    let notices = options.notify.as_ref().map(Notices::new);
    let conduct = Arc::new(Conduct::new(options, book, notices));
    conduct.resume_notices();
    let address = listener.local_addr().map_err(BankError::Listen)?;
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{address}").and_then(|()| out.flush()).map_err(BankError::Listen)?;
    drop(out);
    serve::serve(listener, conduct, stop).await;
    Ok(())
}
