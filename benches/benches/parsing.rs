//! A charge's body read by the server's own scanner, and by parsers into a struct of borrowed fields.
//!
//! The server's reading ends with a command whose every field was checked; the others stop at numbers and texts.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ledger_core::Currency;
use ledger_server::Terms;
use serde::Deserialize;
use serde::de::IgnoredAny;

const PLAIN: &str = r#"{"user_id":123456,"amount":10050,"idempotency_key":"0000002a9e3779b97f4a7c15"}"#;
const HELD: &str = r#"{"user_id": 123456, "amount": 10050, "currency": "USD", "release_at": "2030-01-15T12:00:00Z", "idempotency_key": "0000002a9e3779b97f4a7c15"}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is read is not looked at")]
struct Charge<'a> {
    user_id: u64,
    amount: u64,
    #[serde(borrow)]
    idempotency_key: Cow<'a, str>,
    #[serde(borrow)]
    currency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    release_at: Option<Cow<'a, str>>,
    metadata: Option<IgnoredAny>,
}

fn parsing(criterion: &mut Criterion) {
    let terms = Terms { currency: Currency::USD, currencies: vec![Currency::USD], destination_required: false };
    for (what, body) in [("plain", PLAIN.as_bytes()), ("held", HELD.as_bytes())] {
        let mut group = criterion.benchmark_group(format!("the body of a charge, {what}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("as the server reads it", |bencher| {
            bencher.iter(|| {
                let read = ledger_server::bench::charge(black_box(body), &terms, |command| {
                    black_box(&command);
                });
                read.expect("a valid charge")
            });
        });
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| black_box(serde_json::from_slice::<Charge<'_>>(black_box(body)).expect("a valid charge")));
        });
        group.bench_function("sonic-rs", |bencher| {
            bencher.iter(|| black_box(sonic_rs::from_slice::<Charge<'_>>(black_box(body)).expect("a valid charge")));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    targets = parsing
}
criterion_main!(benches);
