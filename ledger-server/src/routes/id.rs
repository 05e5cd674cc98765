//! The id that a path names.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

/// The second segment of the path: what it says, or, if that is not UTF-8, as it came. Nothing has the id of such a one, which is
/// for the handler to say.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Infallible> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Id(id)),
            Err(_) => Ok(Id(parts.uri.path().split('/').nth(2).unwrap_or_default().to_owned())),
        }
    }
}
