//! Which resource a path names: the one list of everything that is served.

/// What a request is for. Paths that nobody serves are one route, so that a client cannot make up series of figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Route {
    /// `POST /charge`
    Charge,
    /// `POST /transfer`
    Transfer,
    /// `POST /withdraw`
    Withdraw,
    /// `POST /batch`
    Batch,
    /// `GET /balance`
    Balance,
    /// `GET /transactions`
    Transactions,
    /// `GET /transactions/{id}`
    Transaction,
    /// `GET /withdrawals`
    Withdrawals,
    /// `GET /withdrawals/{id}`
    Withdrawal,
    /// `POST /withdrawals/{id}/cancel`
    Cancel,
    /// `POST /withdrawals/{id}/resolve`
    Resolve,
    /// `POST /withdrawals/notify`
    Notify,
    /// `POST /withdrawals/{id}/notify`
    NotifyOne,
    /// `POST /reconciliations`
    Reconciliations,
    /// `GET /health`
    Health,
    /// `GET /audit`
    Audit,
    /// `GET /head`
    Head,
    /// `POST /checkpoints`
    Checkpoints,
    /// `GET /metrics`
    Metrics,
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /docs`
    Docs,
    /// Any other path.
    Other,
}

impl Route {
    /// Every route, in the order of their declaration; the last one stands for no path.
    pub const ALL: [Route; 22] = [
        Route::Charge,
        Route::Transfer,
        Route::Withdraw,
        Route::Batch,
        Route::Balance,
        Route::Transactions,
        Route::Transaction,
        Route::Withdrawals,
        Route::Withdrawal,
        Route::Cancel,
        Route::Resolve,
        Route::Notify,
        Route::NotifyOne,
        Route::Reconciliations,
        Route::Health,
        Route::Audit,
        Route::Head,
        Route::Checkpoints,
        Route::Metrics,
        Route::OpenApi,
        Route::Docs,
        Route::Other,
    ];

    /// The route of a path.
    pub fn of(path: &str) -> Route {
        let mut segments = path.strip_prefix('/').unwrap_or_default().split('/');
        match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some("charge"), None, ..) => Route::Charge,
            (Some("transfer"), None, ..) => Route::Transfer,
            (Some("withdraw"), None, ..) => Route::Withdraw,
            (Some("batch"), None, ..) => Route::Batch,
            (Some("balance"), None, ..) => Route::Balance,
            (Some("transactions"), None, ..) => Route::Transactions,
            (Some("withdrawals"), None, ..) => Route::Withdrawals,
            (Some("reconciliations"), None, ..) => Route::Reconciliations,
            (Some("health"), None, ..) => Route::Health,
            (Some("audit"), None, ..) => Route::Audit,
            (Some("head"), None, ..) => Route::Head,
            (Some("checkpoints"), None, ..) => Route::Checkpoints,
            (Some("metrics"), None, ..) => Route::Metrics,
            (Some("openapi.json"), None, ..) => Route::OpenApi,
            (Some("docs"), None, ..) => Route::Docs,
            (_, Some(""), ..) => Route::Other,
            (Some("transactions"), Some(_), None, _) => Route::Transaction,
            (Some("withdrawals"), Some("notify"), None, _) => Route::Notify,
            (Some("withdrawals"), Some(_), None, _) => Route::Withdrawal,
            (Some("withdrawals"), Some(_), Some("cancel"), None) => Route::Cancel,
            (Some("withdrawals"), Some(_), Some("resolve"), None) => Route::Resolve,
            (Some("withdrawals"), Some(_), Some("notify"), None) => Route::NotifyOne,
            _ => Route::Other,
        }
    }

    /// The path with its parameters named; `other` for what is none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Route::Charge => "/charge",
            Route::Transfer => "/transfer",
            Route::Withdraw => "/withdraw",
            Route::Batch => "/batch",
            Route::Balance => "/balance",
            Route::Transactions => "/transactions",
            Route::Transaction => "/transactions/{id}",
            Route::Withdrawals => "/withdrawals",
            Route::Withdrawal => "/withdrawals/{id}",
            Route::Cancel => "/withdrawals/{id}/cancel",
            Route::Resolve => "/withdrawals/{id}/resolve",
            Route::Notify => "/withdrawals/notify",
            Route::NotifyOne => "/withdrawals/{id}/notify",
            Route::Reconciliations => "/reconciliations",
            Route::Health => "/health",
            Route::Audit => "/audit",
            Route::Head => "/head",
            Route::Checkpoints => "/checkpoints",
            Route::Metrics => "/metrics",
            Route::OpenApi => "/openapi.json",
            Route::Docs => "/docs",
            Route::Other => "other",
        }
    }

    /// Whether it takes one command which, given whole, is decided when it is first polled: what comes after sees what it did.
    pub const fn is_command(self) -> bool {
        matches!(self, Route::Charge | Route::Transfer | Route::Withdraw)
    }

    /// Whether it is answered even when the ledger has halted or the server is stopping.
    pub const fn answers_always(self) -> bool {
        matches!(self, Route::Health | Route::Metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_of_few_routes() {
        for route in Route::ALL {
            assert_eq!(Route::of(&route.as_str().replace("{id}", "7")), route);
        }
        assert!(Route::ALL.iter().enumerate().all(|(index, route)| *route as usize == index));
        for path in [
            "",
            "/",
            "/charge/",
            "/transactions/",
            "/transactions/1/2",
            "/Charge",
            "charge",
            "/withdrawals/",
            "/withdrawals//cancel",
            "/withdrawals/1/",
            "/withdrawals/1/pay",
            "/withdrawals/1/cancel/",
            "/withdrawals/1/cancel/2",
        ] {
            assert_eq!(Route::of(path), Route::Other, "{path}");
        }
    }
}
