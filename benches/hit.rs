//! The costs of a hit that are ours: the cache's, a request's in process, between bytes in and bytes out, what the grants decide, and
//! what it takes to verify a token.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/tokens/mod.rs"]
mod tokens;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ecr_broker::api::grpc;
use ecr_broker::api::grpc::middleware::Middleware;
use ecr_broker::api::grpc::trace::Tracing;
use ecr_broker::authn::Peer;
use ecr_broker::broker::Broker;
use ecr_broker::caller::Caller;
use ecr_broker::limits::{Limits, Origin};
use ecr_broker::policy::{Accounts, CallerPattern, Decision, Effect, Grant, Policy, RegistryPattern};
use ecr_broker::registry::Registry;
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use support::{HOST, ManualClock, TestCache, broker_settings, limits_settings, lookup, request};
use tokens::{ISSUER, SUBJECT, Signer};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tower::{Layer as _, ServiceExt as _};

fn hit(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let test = {
        let _entered = runtime.enter();
        TestCache::new()
    };
    runtime.block_on(test.cache.get(lookup(HOST))).unwrap();
    let wish = lookup(HOST);
    criterion.bench_function("cache hit", |bencher| {
        bencher.to_async(&runtime).iter(|| async { black_box(test.cache.get(wish.clone()).await.unwrap()) });
    });

    let broker = Arc::new(Broker::new(test.cache.clone(), broker_settings(Policy::Open, None), None));
    let limits = Limits::new(limits_settings(), test.clock.clone());
    let routes = grpc::routes(broker, limits.clone(), support::HOUR).routes().prepare();
    let service = Middleware::new(Tracing::default(), None, limits, CancellationToken::new()).layer(routes);
    let service = service.for_peer(Peer::Known(Caller::Loopback), Origin::Uid(0));
    let message = request(HOST).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = bytes::Bytes::from([&[0], length.as_slice(), &message].concat());
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

/// A thousand grants that are all about the caller, every second one a deny, and the last of them the one that allows.
fn decision(criterion: &mut Criterion) {
    let grants = (1..=1000_u64).map(|number| Grant {
        id: number.to_string(),
        callers: vec![CallerPattern::Uid(1001)],
        registries: vec![RegistryPattern::Private {
            accounts: Accounts::Of(vec![format!("{number:012}").parse().unwrap()]),
            regions: vec!["eu-*".parse().unwrap()],
        }],
        profile: Some("default".into()),
        effect: if number % 2 == 0 { Effect::Allow } else { Effect::Deny },
    });
    let policy = Policy::Grants(grants.collect());
    let caller = Caller::Process { uid: 1001, gid: 1001 };
    let registry: Registry = "000000001000.dkr.ecr.eu-central-1.amazonaws.com".parse().unwrap();
    assert!(
        matches!(policy.decide(&caller, &registry, ""), Decision::Allow { grant: Some(grant) } if grant.id == "1000")
    );
    criterion.bench_function("decision over 1,000 grants", |bencher| {
        bencher.iter(|| black_box(policy.decide(&caller, black_box(&registry), "")));
    });
}

/// A bearer token is weighed at every call that brings one; the keys are there. Callers send theirs again and again.
fn token(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let issuers = tokens::issuers(&signer, directory.path(), clock.clone());
    let now = tokens::seconds(&*clock);
    // More than are remembered, so that none is when its turn comes again.
    let all: Vec<_> = (0..10_000).map(|number| signer.token(ISSUER, &format!("{SUBJECT}-{number}"), now)).collect();
    let mut new = all.iter().cycle();
    criterion.bench_function("bearer token, ES256, new", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(issuers.verify(new.next().unwrap())).unwrap()));
    });
    criterion.bench_function("bearer token, ES256, again", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(issuers.verify(&all[0])).unwrap()));
    });
}

criterion_group!(benches, hit, decision, token);
criterion_main!(benches);
