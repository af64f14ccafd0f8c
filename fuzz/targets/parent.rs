//! Answers of a parent broker: each is an error, or a credential for the requested registry that the answer contains (P12).
//!
//! The first byte says what the rest is: a message, an error with its details, or the bytes of the response.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64_NOPAD;
use ecr_broker::clock::SystemClock;
use ecr_broker::credential::{CredentialKey, ProfileName, Revision};
use ecr_broker::hops::{Hops, InstanceId};
use ecr_broker::policy::RegistryPattern;
use ecr_broker::request_id::RequestId;
use ecr_broker::source::broker::{Fallback, ParentBroker, Settings};
use ecr_broker::source::span::FetchSpan;
use ecr_broker::source::{CredentialSource as _, FetchProgress, FetchRequest};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use libfuzzer_sys::fuzz_target;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::Instant;

struct World {
    runtime: Runtime,
    parent: ParentBroker,
    /// The answer to every call.
    answer: Arc<Mutex<Vec<u8>>>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = Arc::new(Mutex::new(Vec::new()));
    let address = runtime.block_on(answering(Arc::clone(&answer)));
    let settings = Settings {
        name: "central".parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        tls_ca: None,
        tls_identity: None,
        token_file: None,
        registries: vec![RegistryPattern::Public],
        profiles: vec![ProfileName::default_profile()],
        fallback: Fallback::None,
        forward_callers: false,
    };
    let parent =
        runtime.block_on(async { ParentBroker::new(&settings, InstanceId::random(), Arc::new(SystemClock::new())) });
    World { runtime, parent, answer }
});

async fn answering(answer: Arc<Mutex<Vec<u8>>>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answer)));
        }
    });
    address
}

async fn serve(stream: TcpStream, answer: Arc<Mutex<Vec<u8>>>) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_, respond))) = connection.accept().await {
        let answer = answer.lock().unwrap().clone();
        _ = respond_with(respond, &answer);
    }
}

fn respond_with(mut respond: SendResponse<Bytes>, answer: &[u8]) -> Result<(), h2::Error> {
    let Some((way, rest)) = answer.split_first() else { return Ok(()) };
    let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(response, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(way / 3 % 18)));
    match way % 3 {
        0 => {
            trailers.insert("grpc-status", HeaderValue::from(0));
            let head = [&[0][..], &u32::try_from(rest.len()).unwrap().to_be_bytes()].concat();
            stream.send_data([&head, rest].concat().into(), false)?;
        }
        1 => {
            let details = BASE64_NOPAD.encode(rest);
            trailers.insert("grpc-status-details-bin", HeaderValue::from_str(&details).unwrap());
        }
        _ => stream.send_data(rest.to_vec().into(), false)?,
    }
    stream.send_trailers(trailers)
}

fuzz_target!(|data: &[u8]| {
    let World { runtime, parent, answer } = &*WORLD;
    *answer.lock().unwrap() = data.to_vec();
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    let request = FetchRequest {
        key: CredentialKey {
            registry: host.parse().unwrap(),
            profile: ProfileName::default_profile(),
            revision: Revision::default(),
            caller: None,
            lifetime: None,
        },
        min_validity: Duration::ZERO,
        rejected: None,
        replaces: None,
        new_session: false,
        requester: None,
        proof: None,
        request_id: RequestId::random(),
        hops: Hops::default(),
        parent_span: None,
        deadline: Instant::now() + Duration::from_secs(60),
        progress: FetchProgress::default(),
        span: FetchSpan::default(),
    };
    if let Ok(credential) = runtime.block_on(parent.fetch(&request)) {
        let contains = |text: &str| data.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(contains(&credential.password().expose()), "a credential that the answer does not contain");
        assert!(contains(host), "a credential of another registry");
    }
});
