use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use tonic_types::ErrorDetails;

use super::*;
use crate::api::json::unreadable::Mistake;
use crate::caller::Caller;
use crate::clock::{Clock, SystemClock};
use crate::limits::{self, LimitHits, Limits};
use crate::metrics::Registry;

fn limits() -> Limits {
    let (one, registry) = (NonZeroU32::MIN, &mut Registry::default());
    let settings = limits::Settings {
        requests_per_second: one,
        local_requests_per_second: one,
        in_flight: 1_000,
        watch_memory: 1 << 20,
        watch_memory_per_caller: 1 << 20,
        failures_per_second: one,
        unproved_connections: 1,
        callers: Vec::new(),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Limits::new(settings, &clock, &LimitHits::new(registry), &mut Registry::default())
}

async fn parts(response: Response<Full<Bytes>>) -> (u16, http::HeaderMap, Value) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn credentials_are_flat_and_the_docker_config_has_them() {
    let credentials = RegistryCredentials {
        registry: "public.ecr.aws".to_owned(),
        username: "AWS".to_owned(),
        password: "pass\"word".to_owned(),
        expire_time: Some(prost_types::Timestamp { seconds: 1_764_000_000, nanos: 68_000_000 }),
        refresh_after: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        credential_id: "5d49".to_owned(),
        ..RegistryCredentials::default()
    };
    let (status, headers, body) = parts(of(Ok(credentials), None)).await;
    assert_eq!((status, headers[CACHE_CONTROL].as_bytes()), (200, &b"no-store"[..]));
    let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "registry",
        "username",
        "password",
        "expires_at",
        "refresh_after_seconds",
        "credential_id",
        "dockerconfigjson",
    ];
    assert_eq!(keys, expected);
    assert!(body.as_object().unwrap().values().all(|value| value.is_string() || value.is_number()), "{body}");
    assert_eq!((&body["password"], &body["expires_at"]), (&json!("pass\"word"), &json!("2025-11-24T16:00:00.068Z")));
    assert_eq!(body["refresh_after_seconds"], 3_600);
    let config: Value = serde_json::from_str(body["dockerconfigjson"].as_str().unwrap()).unwrap();
    let auth = BASE64.encode(b"AWS:pass\"word");
    assert_eq!(config, json!({ "auths": { "public.ecr.aws": { "auth": auth } } }));
}

/// hyper drops the chunk once it is written: see `server::http1::connection`.
#[tokio::test]
async fn call_is_in_flight_while_a_part_of_its_answer_is_left() {
    let limits = limits();
    let admission = limits.admit(&Caller::Loopback.principal(), NonZeroU32::MIN).unwrap();
    let answer = of(Ok(RegistryCredentials::default()), Some(ResponseAdmission::new(Arc::new(admission))));
    let mut rest = answer.into_body().collect().await.unwrap().to_bytes();
    drop(rest.split_to(10));
    assert_eq!(limits.status().requests.used, 1);
    drop(rest);
    assert_eq!(limits.status().requests.used, 0);
}

#[tokio::test]
async fn error_has_reason_message_request_id_and_delay() {
    let mut details = ErrorDetails::new();
    details.set_error_info("AWS_THROTTLED", "ecr-broker", []);
    details.set_request_info("0123", "");
    details.set_retry_info(Some(Duration::from_millis(1_200)));
    let status = Status::with_error_details(Code::ResourceExhausted, "too much; retry", details);
    let (code, headers, body) = parts(of(Err(status), None)).await;
    let expected = json!({
        "reason": "AWS_THROTTLED", "message": "too much; retry", "request_id": "0123", "retry_after_seconds": 2,
    });
    assert_eq!((code, body), (429, expected));
    assert_eq!((headers[RETRY_AFTER].as_bytes(), headers[REQUEST_ID].as_bytes()), (&b"2"[..], &b"0123"[..]));
    assert_eq!(headers[CACHE_CONTROL], "no-store");
}

/// External Secrets takes 404 as a secret that is gone, and may delete its copy.
#[test]
fn no_code_is_404_and_only_unauthenticated_is_401() {
    for number in 0..17 {
        let status = http_status(Code::from_i32(number));
        assert_ne!(status, StatusCode::NOT_FOUND, "{number}");
        assert_eq!(status == StatusCode::UNAUTHORIZED, Code::from_i32(number) == Code::Unauthenticated, "{number}");
    }
}

/// hyper answers a head that it cannot read with 400, and one that is too large with 431.
#[test]
fn table_of_the_documentation_has_every_status_and_no_other() {
    let page = include_str!("../../../../docs/clients/json.md");
    let listed: BTreeSet<u16> = page.lines().filter_map(|row| row.split('|').nth(1)?.trim().parse().ok()).collect();
    let of_grpc = (0..17).map(|number| if number == 0 { StatusCode::OK } else { http_status(Code::from_i32(number)) });
    let of_mistakes = Mistake::ALL.into_iter().map(Mistake::status);
    let of_heads = [StatusCode::BAD_REQUEST, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE];
    let answered = of_grpc.chain(of_mistakes).chain(of_heads).map(|status| status.as_u16());
    assert_eq!(listed, answered.collect());
}

#[tokio::test]
async fn unauthenticated_answer_names_the_scheme() {
    let (code, headers, body) = parts(of(Err(Status::unauthenticated("send a token")), None)).await;
    assert_eq!((code, &body["reason"]), (401, &json!("INTERNAL_ERROR")), "a status without details");
    assert_eq!(headers[WWW_AUTHENTICATE], "Bearer");
    assert!(!headers.contains_key(RETRY_AFTER) && !headers.contains_key(REQUEST_ID), "{headers:?}");
}
