//! Responses of AWS: each is an error or a credential that the response contains, never a panic (P12).

#![no_main]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use data_encoding::BASE64;
use ecr_broker::clock::SystemClock;
use ecr_broker::credential::{Credential, CredentialKey, ProfileName, Revision};
use ecr_broker::hops::Hops;
use ecr_broker::metrics::Registry;
use ecr_broker::profile::Profile;
use ecr_broker::proxy::Proxies;
use ecr_broker::request_id::RequestId;
use ecr_broker::source::aws::{Aws, Settings, Verification, admission};
use ecr_broker::source::span::FetchSpan;
use ecr_broker::source::{CredentialSource as _, FetchProgress, FetchRequest, Metrics};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::Instant;

struct World {
    runtime: Runtime,
    aws: Aws,
    /// The response to every request.
    answer: Arc<Mutex<Vec<u8>>>,
}

const STATUSES: [&str; 8] = ["200", "204", "301", "400", "403", "429", "500", "503"];

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = Arc::new(Mutex::new(Vec::new()));
    let endpoint = runtime.block_on(answering(Arc::clone(&answer)));
    let profile = Profile {
        role_chain: vec!["arn:aws:iam::123456789012:role/pull".parse().unwrap()],
        verify: None,
        ..Profile::of_parent("role".into())
    };
    let second = Duration::from_secs(1);
    let settings = Settings {
        region: Some("eu-central-1".into()),
        regions: Vec::new(),
        needs_region: false,
        imds_disabled: false,
        ca_bundle: None,
        ecr_endpoint: Some(endpoint.clone()),
        ecr_endpoints: BTreeMap::new(),
        ecr_public_endpoint: Some(endpoint.clone()),
        ecr_public_region: "us-east-1".into(),
        sts_endpoint: Some(endpoint),
        signin_endpoint: None,
        endpoints_are_fips: false,
        web_identity: None,
        proxies: Proxies::default(),
        connect_timeout: second,
        attempt_timeout: second,
        operation_timeout: second,
        admission: admission::Settings {
            max_in_flight_per_region: 64,
            max_in_flight: 256,
            max_queued_per_requester: 2_048,
        },
        profiles: vec![profile],
        verification: Verification::default(),
        simulated_credentials: true,
        sts_calls_per_second: NonZeroU32::MAX,
    };
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let aws = runtime.block_on(Aws::load(settings, Arc::new(SystemClock::new()), &metrics, &mut registry)).unwrap();
    World { runtime, aws, answer }
});

/// Starts a server that reads one request of a connection, answers and closes.
async fn answering(answer: Arc<Mutex<Vec<u8>>>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // A call's body has a few bytes and is in the same packet as the head.
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let answer = answer.lock().unwrap().clone();
            _ = stream.write_all(&answer).await;
            _ = stream.shutdown().await;
        }
    });
    endpoint
}

fuzz_target!(|data: &[u8]| {
    let Some((&[way, status], body)) = data.split_first_chunk::<2>() else { return };
    let World { runtime, aws, answer } = &*WORLD;
    let raw = way & 4 != 0;
    *answer.lock().unwrap() = if raw {
        body.to_vec()
    } else {
        let status = STATUSES[usize::from(status) % STATUSES.len()];
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let (host, profile) = match way & 3 {
        0 => ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", ProfileName::default_profile()),
        1 => ("public.ecr.aws", ProfileName::default_profile()),
        // STS and ECR both return this response.
        _ => ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "role".into()),
    };
    let key = CredentialKey {
        registry: host.parse().unwrap(),
        profile,
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    };
    let request = FetchRequest {
        key,
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
    let fetched = runtime.block_on(aws.fetch(&request));
    if let Ok(credential) = fetched {
        assert!(way & 3 < 2, "a credential without a role session");
        assert!(stands_in(&credential, body, raw), "a credential that the response does not contain");
    }
});

/// Returns whether the response contains the token. JSON may have escaped it.
fn stands_in(credential: &Credential, answer: &[u8], raw: bool) -> bool {
    let token = BASE64.encode(format!("AWS:{}", &*credential.password().expose()).as_bytes());
    let json: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    match json {
        Some(json) => json.to_string().contains(&token),
        // A raw response may be chunked, so the token need not be in one piece.
        None => raw && answer.windows(2).any(|window| window == b"{\""),
    }
}
