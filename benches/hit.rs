//! The two costs of a hit that are ours: the cache's, and a request's in process, between bytes in and bytes out.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ecr_broker::broker::Broker;
use ecr_broker::caller::Caller;
use ecr_broker::grpc;
use ecr_broker::grpc::edge::Edge;
use ecr_broker::grpc::trace::Tracing;
use ecr_broker::policy::Policy;
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use support::{HOST, TestCache, broker_settings, lookup, request};
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
    let routes = grpc::routes(broker).routes().prepare();
    let service = Edge::new(Tracing::default(), CancellationToken::new()).layer(routes);
    let service = service.for_caller(Ok(Caller::Loopback));
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

criterion_group!(benches, hit);
criterion_main!(benches);
