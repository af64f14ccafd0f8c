//! Benchmarks of what the broker itself adds to a cache hit: the cache, a request in process, a decision over many grants, and the
//! verification of a bearer token.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/tokens/mod.rs"]
mod tokens;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use ecr_broker::authn::Peer;
use ecr_broker::caller::Caller;
use ecr_broker::limits::Origin;
use ecr_broker::policy::{Accounts, CallerPattern, Decision, Effect, Grant, IndexedPolicy, Policy, RegistryPattern};
use ecr_broker::registry::Registry;
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use support::{HOST, ManualClock, Setup, TestCache, lookup, request};
use tokens::{ISSUER, SUBJECT, Signer};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

fn cache_hit(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let cache = runtime.block_on(async { TestCache::new().cache });
    runtime.block_on(cache.get(lookup(HOST))).unwrap();
    let lookup = lookup(HOST);
    criterion.bench_function("cache hit", |bencher| {
        bencher.to_async(&runtime).iter(|| async { black_box(cache.get(lookup.clone()).await.unwrap()) });
    });
}

/// From the bytes of a request to the bytes of its response.
fn request_hit(criterion: &mut Criterion) {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let app = runtime.block_on(async {
        let TestCache { settings, source, clock, .. } = TestCache::new();
        Setup::new(&settings, directory.path()).build(source, clock).unwrap()
    });
    let service = app.grpc_service().for_peer(Peer::Known(Caller::Loopback), Origin::Uid(0), None);
    let message = request(HOST).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = Bytes::from([&[0], length.as_slice(), &message].concat());
    criterion.bench_function("request that hits", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let request = http::Request::post("/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials")
                .header("content-type", "application/grpc")
                .body(Full::new(frame.clone()))
                .unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            black_box(response.into_body().collect().await.unwrap())
        });
    });
}

/// A grant for one account.
fn grant(number: u64, uid: u32, effect: Effect) -> Grant {
    Grant {
        id: number.to_string(),
        callers: vec![CallerPattern::Uid(uid)],
        registries: vec![RegistryPattern::Private {
            accounts: Accounts::Of(vec![format!("{number:012}").parse().unwrap()]),
            regions: vec!["eu-*".parse().unwrap()],
        }],
        profile: Some("default".into()),
        effect,
        max_lifetime: None,
    }
}

/// Of the grants about the caller every second one denies, and only the last one allows. Decisions look at the index, as the broker's
/// do.
fn decision(criterion: &mut Criterion) {
    let caller = Caller::Process { uid: 1001, gid: 1001 };
    let effect = |number| if number % 2 == 0 { Effect::Allow } else { Effect::Deny };
    let own = |number| grant(number, 1001, effect(number));
    let others = |number| grant(number, if number == 1000 { 1001 } else { 2002 }, effect(number));
    let policies: [(&str, Vec<Grant>); 3] = [
        ("decision over 1 grant", vec![own(1000)]),
        ("decision over 1,000 grants", (1..=1000).map(own).collect()),
        ("decision over 1,000 grants, 999 about another caller", (1..=1000).map(others).collect()),
    ];
    let registry: Registry = "000000001000.dkr.ecr.eu-central-1.amazonaws.com".parse().unwrap();
    for (name, grants) in policies {
        let policy = IndexedPolicy::from(Policy::Grants(grants));
        let decide = || policy.decide(&caller, black_box(&registry), "");
        assert!(matches!(decide(), Decision::Allow { grant: Some(grant) } if grant.id == "1000"));
        criterion.bench_function(name, |bencher| bencher.iter(|| black_box(decide())));
    }
}

/// Every call with a bearer token verifies it. Callers send the same token again and again, so verified tokens are remembered.
fn token(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let issuers = tokens::issuers(&signer, directory.path(), clock.clone());
    let now = tokens::seconds(&*clock);
    // More than the broker remembers, so that each is new when its turn comes.
    let all: Vec<_> = (0..10_000).map(|number| signer.token(ISSUER, &format!("{SUBJECT}-{number}"), now)).collect();
    let mut new = all.iter().cycle();
    criterion.bench_function("bearer token, ES256, new", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(issuers.verify(new.next().unwrap())).unwrap()));
    });
    criterion.bench_function("bearer token, ES256, again", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(issuers.verify(&all[0])).unwrap()));
    });
}

criterion_group!(benches, cache_hit, request_hit, decision, token);
criterion_main!(benches);
