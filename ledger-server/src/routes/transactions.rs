//! `GET /transactions` and `GET /transactions/{id}`

use axum::extract::{Request, State};
use axum::response::Response;
use ledger_core::{
    Commit, Error, IdempotencyKey, Page, PageStart, Query, Status, Transaction, TransactionKind, UserId,
};

use super::balance::missing_user;
use super::id::Id;
use crate::app::App;
use crate::error::{Code, Problem};
use crate::wire::cursor::List;
use crate::wire::json::{self, Object};
use crate::wire::{query, views};

const PARAMETERS: [&str; 11] =
    ["user_id", "page", "limit", "type", "status", "currency", "from", "to", "order", "cursor", "idempotency_key"];
const KINDS: [(&str, TransactionKind); 4] = [
    ("charge", TransactionKind::Charge),
    ("transfer", TransactionKind::Transfer),
    ("withdrawal", TransactionKind::Withdrawal),
    ("return", TransactionKind::Return),
];
pub(super) const STATUSES: [(&str, Status); 3] =
    [("pending", Status::Pending), ("completed", Status::Completed), ("failed", Status::Failed)];

/// A user's transactions, or the one that a key names.
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let asked = Asked::read(&app, &request)?;
    let page = match (&asked.key, asked.user) {
        (Some(key), _) => by_key(&app, &asked, key).await?,
        (None, Some(_)) => by_user(&app, &asked).await?,
        (None, None) => return Err(missing_user()),
    };
    Ok(asked.answer(&app, &page))
}

/// One transaction, as its source user sees it, or as the other party does.
pub(super) async fn one(State(app): State<App>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    let [viewer] = query::parameters(request.uri(), ["user_id"])?;
    let viewer = viewer.map(|viewer| viewer.user()).transpose()?;
    let not_found = || {
        let whose = viewer.map_or(String::new(), |viewer| format!(" that user {viewer} is a party of"));
        Problem::new(Code::TransactionNotFound, format!("there is no transaction {id:?}{whose}; check the id"))
    };
    let parsed = query::transaction_id(&id).ok_or_else(not_found)?;
    let found = read(app.ledger.transaction(parsed, viewer)).await?.ok_or_else(not_found)?;
    let mut out = Vec::with_capacity(512);
    views::transaction(&mut out, &(&found).into());
    Ok(views::json(out))
}

/// Waits until a read may be shown.
pub(super) async fn read<T: Unpin>(asked: Result<Commit<T>, Error>) -> Result<T, Problem> {
    asked.map_err(Problem::of_read)?.await.map_err(Problem::of_read)
}

/// What a list is asked for.
struct Asked {
    user: Option<UserId>,
    /// As the ledger takes it; its user stands for nobody where only a key is given.
    query: Query,
    page: Option<u64>,
    key: Option<String>,
}

impl Asked {
    fn read(app: &App, request: &Request) -> Result<Asked, Problem> {
        let [user, page, limit, kind, status, currency, from, to, order, cursor, key] =
            query::parameters(request.uri(), PARAMETERS)?;
        let user = user.map(|user| user.user()).transpose()?;
        if user.is_none() && key.is_none() {
            return Err(missing_user());
        }
        if let (Some(_), Some(cursor)) = (page, cursor) {
            return Err(cursor.problem(Code::InvalidPage, "page and cursor exclude each other: send one of them"));
        }
        let number = match page {
            None => 1,
            Some(page) => (page.integer().filter(|&number| number >= 1))
                .ok_or_else(|| page.problem(Code::InvalidPage, "it must be an integer from 1"))?,
        };
        let limit = query::limit(limit)?;
        let kind = kind.map(|kind| kind.one_of(&KINDS)).transpose()?;
        let status = status.map(|status| status.one_of(&STATUSES)).transpose()?;
        let currency = currency.map(|currency| currency.currency(&app.options.terms)).transpose()?;
        let from = from.map(|from| from.time(true)).transpose()?;
        let to = to.map(|to| to.time(true)).transpose()?;
        let ascending =
            order.map(|order| order.one_of(&[("asc", true), ("desc", false)])).transpose()?.unwrap_or(false);
        let mut query = Query::new(user.unwrap_or(UserId::new(1).expect("1 is a user's number")));
        let start = match cursor {
            None => PageStart::Skip((number - 1).saturating_mul(limit)),
            Some(cursor) => {
                let list = List { ledger: app.identity.ledger, user: Some(query.user), ascending };
                let (id, skip) = list.read(&cursor.text()?).ok_or_else(|| {
                    cursor.problem(
                        Code::InvalidCursor,
                        "it must be the next_cursor of a page of this list, in this order",
                    )
                })?;
                if skip == 0 { PageStart::After(id) } else { PageStart::SkipAfter(id, skip) }
            }
        };
        let key = key.map(|key| {
            let text = key.text()?.into_owned();
            match IdempotencyKey::new(&text) {
                Some(_) => Ok(text),
                None => Err(key.problem(Code::InvalidIdempotencyKey, "it must be 1 to 255 bytes of printable UTF-8")),
            }
        });
        (query.kind, query.status, query.currency) = (kind, status, currency);
        (query.from, query.to, query.ascending) = (from, to, ascending);
        (query.start, query.limit) = (start, limit as usize);
        Ok(Asked { user, query, page: cursor.is_none().then_some(number), key: key.transpose()? })
    }

    /// Whether a transaction that was found by its key is one of those asked for.
    fn admits(&self, found: &Transaction) -> bool {
        let query = &self.query;
        query.kind.is_none_or(|kind| found.kind == kind)
            && query.status.is_none_or(|status| found.status == status)
            && query.currency.is_none_or(|currency| found.currency == currency)
            && query.from.is_none_or(|from| found.created_at >= from)
            && query.to.is_none_or(|to| found.created_at < to)
    }

    fn answer(&self, app: &App, page: &Page) -> Response {
        let mut out = Vec::with_capacity(128 + 384 * page.transactions.len());
        let mut object = Object::begin(&mut out);
        json::array(object.name("transactions"), &page.transactions, |out, found| {
            views::transaction(out, &found.into())
        });
        match page.total {
            Some(total) => object.integer("total", total),
            None => object.null("total"),
        };
        match self.page {
            Some(number) => object.integer("page", number),
            None => object.null("page"),
        };
        object.integer("limit", self.query.limit as u64);
        let list = List { ledger: app.identity.ledger, user: Some(self.query.user), ascending: self.query.ascending };
        match page.next {
            Some(PageStart::After(id)) => object.word("next_cursor", &list.cursor(id, 0)),
            Some(PageStart::SkipAfter(id, skip)) => object.word("next_cursor", &list.cursor(id, skip)),
            Some(PageStart::Skip(_)) | None => object.null("next_cursor"),
        };
        object.end();
        views::json(out)
    }
}

async fn by_user(app: &App, asked: &Asked) -> Result<Page, Problem> {
    let query = &asked.query;
    let filtered = query.kind.is_some()
        || query.status.is_some()
        || query.currency.is_some()
        || query.from.is_some()
        || query.to.is_some();
    if !filtered {
        return read(app.ledger.transactions(query)).await;
    }
    // A filter may scan 100,000 transactions: milliseconds that other requests must not wait for.
    let (ledger, query) = (app.ledger.clone(), query.clone());
    let asked = tokio::task::spawn_blocking(move || ledger.transactions(&query)).await;
    read(asked.map_err(|_| Problem::internal())?).await
}

/// The page of the one transaction that has the key, if it is one of those asked for.
async fn by_key(app: &App, asked: &Asked, key: &str) -> Result<Page, Problem> {
    let key = IdempotencyKey::new(key).ok_or_else(Problem::internal)?;
    let mut found = read(app.ledger.transaction_by_key(key)).await?;
    if let (Some(transaction), Some(user)) = (&found, asked.user) {
        found = read(app.ledger.transaction(transaction.id, Some(user))).await?;
    }
    let mut transactions: Vec<_> = found.into_iter().filter(|transaction| asked.admits(transaction)).collect();
    let total = transactions.len() as u64;
    transactions.retain(|transaction| match asked.query.start {
        PageStart::Skip(skipped) => skipped == 0,
        PageStart::SkipAfter(..) => false,
        PageStart::After(id) if asked.query.ascending => transaction.id > id,
        PageStart::After(id) => transaction.id < id,
    });
    Ok(Page { transactions, total: Some(total), next: None })
}
