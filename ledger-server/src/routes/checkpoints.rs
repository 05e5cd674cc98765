//! `POST /checkpoints`

use std::io::ErrorKind;

use axum::extract::{Request, State};
use axum::response::Response;
use ledger_core::{CheckpointError, Error};

use crate::app::App;
use crate::error::{Code, Problem};
use crate::files::is_out_of_descriptors;
use crate::wire::json::Object;
use crate::wire::{query, views};

/// Writes a snapshot of the last entry and removes the log that it makes superfluous; answers when it is durable.
pub(super) async fn checkpoint(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    query::none(request.uri())?;
    let ledger = app.ledger.clone();
    // It writes every account, which takes as long as there are accounts.
    let made = tokio::task::spawn_blocking(move || ledger.checkpoint()).await.map_err(|_| Problem::internal())?;
    let checkpoint = made.map_err(problem)?;
    let mut out = Vec::with_capacity(128);
    let mut object = Object::begin(&mut out);
    object
        .integer("seq", checkpoint.seq.get())
        .integer("bytes", checkpoint.bytes)
        .integer("segments_retired", checkpoint.segments_retired);
    object.end();
    Ok(views::json(out))
}

fn problem(err: CheckpointError) -> Problem {
    match err {
        CheckpointError::Halted(halted) => Problem::of_read(Error::Halted(halted)),
        CheckpointError::Closing => Problem::shutting_down(),
        CheckpointError::InMemory => Problem::new(Code::NotFound, err.to_string()),
        CheckpointError::Io { ref source, .. } if is_out_of_descriptors(source) => {
            Problem::new(Code::StorageFull, format!("{err}: raise the limit of open files"))
        }
        CheckpointError::Io { ref source, .. }
            if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
        {
            Problem::new(Code::StorageFull, format!("{err}: free space on the log's disk"))
        }
        // The log says which: whoever asked for it or not, a checkpoint that failed is told there.
        _ => Problem::internal(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn want_of_room_or_of_a_descriptor_is_told_from_what_is_broken() {
        for (errno, code) in [
            (Errno::NOSPC, Code::StorageFull),
            (Errno::DQUOT, Code::StorageFull),
            (Errno::MFILE, Code::StorageFull),
            (Errno::NFILE, Code::StorageFull),
            (Errno::IO, Code::Internal),
        ] {
            let source = std::io::Error::from(errno);
            assert_eq!(problem(CheckpointError::Io { context: "writing".to_owned(), source }).code(), code, "{errno}");
        }
    }
}
