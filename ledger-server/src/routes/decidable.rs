//! Requests that are decided when they are first looked at, so that nothing but the disk is waited for.

use super::replying::Replying;
use super::{balance, submit};
use crate::app::App;
use crate::error::Problem;
use crate::route::Route;
use crate::wire::asked::Asked;
use crate::wire::operation::Kind;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decidable {
    /// One command; what comes after it sees what it did.
    Command(Kind),
    /// `GET /balance`
    Balance,
}

impl Decidable {
    /// What a method and a path ask for, if it is decided at once.
    pub(crate) fn of(method: &str, path: &str) -> Option<Decidable> {
        match (method, path) {
            ("POST", "/charge") => Some(Decidable::Command(Kind::Charge)),
            ("POST", "/transfer") => Some(Decidable::Command(Kind::Transfer)),
            ("POST", "/withdraw") => Some(Decidable::Command(Kind::Withdraw)),
            ("GET", "/balance") => Some(Decidable::Balance),
            _ => None,
        }
    }

    pub(crate) fn route(self) -> Route {
        match self {
            Decidable::Command(Kind::Charge) => Route::Charge,
            Decidable::Command(Kind::Transfer) => Route::Transfer,
            Decidable::Command(Kind::Withdraw) => Route::Withdraw,
            Decidable::Balance => Route::Balance,
        }
    }

    /// Decides it, by what the handlers of the router call too.
    pub(crate) fn decide(self, app: &App, asked: &Asked<'_>, body: &[u8]) -> Result<Replying, Problem> {
        match self {
            Decidable::Command(kind) => submit::decide(app, asked, body, kind),
            Decidable::Balance => balance::ask(app, asked),
        }
    }
}
