use http::Request;
use http_body_util::Full;

use super::*;

const REGISTRY: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const JSON: &str = "application/json";

async fn read_request(method: &str, target: &str, content_type: &str, body: &str) -> Result<String, (u16, String)> {
    let request = Request::builder().method(method).uri(target).header(CONTENT_TYPE, content_type);
    let (head, body) = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap().into_parts();
    let message = message(&head, body).await;
    message.map(|message| format!("{:?} {:?} {:?}", message.target, message.profile, message.min_validity)).map_err(
        |unreadable| {
            let error = unreadable.error().to_string();
            (unreadable.answer(http::Response::default()).status().as_u16(), error)
        },
    )
}

async fn get(query: &str) -> Result<String, (u16, String)> {
    read_request("GET", &format!("{PATH}{query}"), "", "").await
}

async fn post(content_type: &str, body: &str) -> Result<String, (u16, String)> {
    read_request("POST", PATH, content_type, body).await
}

#[tokio::test]
async fn query_and_body_with_the_same_fields_are_the_same_message() {
    let query = format!("?registry={REGISTRY}&profile=team-a&min_validity_seconds=7200");
    let body = format!(r#"{{"registry": "{REGISTRY}", "profile": "team-a", "min_validity_seconds": 7200}}"#);
    let expected = get(&query).await.unwrap();
    assert!(expected.contains(REGISTRY) && expected.contains("team-a") && expected.contains("7200"), "{expected}");
    for content_type in [JSON, "Application/JSON; charset=utf-8"] {
        assert_eq!(post(content_type, &body).await.unwrap(), expected, "{content_type}");
    }
    let encoded = get(&format!("?registry={}%2Fteam%2Fapp%3Av1", &REGISTRY)).await.unwrap();
    assert!(encoded.contains(&format!("{REGISTRY}/team/app:v1")), "{encoded}");
}

#[tokio::test]
async fn bad_query_is_refused_with_its_fix() {
    for (query, problem) in [
        ("", "registry: missing; name a registry host or an image"),
        ("?registry=", "registry: missing; name a registry host or an image"),
        ("?registry=a&registry=b", "query: a parameter is repeated; send each once"),
        ("?registry=a&host=b", "query: unknown parameter; use only registry, profile, min_validity_seconds"),
        ("?registry=%ff", "query: a value is not UTF-8; percent-encode UTF-8"),
        (
            "?registry=a&min_validity_seconds=-1",
            "min_validity_seconds: not a number of seconds; give a whole number, or leave it out",
        ),
    ] {
        assert_eq!(get(query).await, Err((400, problem.to_owned())), "{query}");
    }
}

#[tokio::test]
async fn bad_body_is_refused_without_repeating_it() {
    let (long, exact) = ("x".repeat(MAX_BODY), "x".repeat(MAX_BODY - r#"{"registry":""}"#.len()));
    for (body, status, problem) in [
        ("", 400, "not a JSON object"),
        ("{", 400, "not JSON at line 1"),
        (r#"{"registry": "a"} x"#, 400, "not JSON at line 1"),
        ("[\"a\", null, null]", 400, "not a JSON object"),
        (r#"{"registry": 5}"#, 400, "unknown, repeated or mistyped field at line 1 column 14"),
        (r#"{"registry": "a", "canary-field": 1}"#, 400, "unknown, repeated or mistyped field"),
        (r#"{"registry": "a", "registry": "b"}"#, 400, "unknown, repeated or mistyped field"),
        (r#"{"profile": "a"}"#, 400, "registry: missing"),
        (&format!(r#"{{"registry":"{long}"}}"#), 413, "longer than 8192 bytes"),
    ] {
        let (found, text) = post(JSON, body).await.unwrap_err();
        assert!(found == status && text.contains(problem) && !text.contains("canary"), "{found} {text}");
    }
    assert!(post(JSON, &format!(r#"{{"registry":"{exact}"}}"#)).await.is_ok(), "a body of the maximum length");
}

#[tokio::test]
async fn other_paths_methods_and_content_types_are_refused() {
    for (method, target, content_type, status) in [
        ("GET", "/", "", 400),
        ("GET", "/v1/credentials/", "", 400),
        ("GET", "/V1/credentials", "", 400),
        ("HEAD", PATH, "", 405),
        ("PUT", PATH, JSON, 405),
        ("OPTIONS", PATH, "", 405),
        ("POST", PATH, "", 415),
        ("POST", PATH, "text/plain", 415),
        ("POST", PATH, "application/x-www-form-urlencoded", 415),
        ("POST", "/v1/credentials?registry=a", JSON, 400),
    ] {
        let refused = read_request(method, target, content_type, r#"{"registry": "a"}"#).await.unwrap_err();
        assert_eq!(refused.0, status, "{method} {target} {content_type}: {}", refused.1);
    }
}

#[tokio::test(start_paused = true)]
async fn body_that_does_not_arrive_is_refused_after_its_time() {
    let request = Request::post(PATH).header(CONTENT_TYPE, JSON).body(()).unwrap();
    let (head, ()) = request.into_parts();
    let pending = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<Bytes>, std::convert::Infallible>,
    >());
    let started = tokio::time::Instant::now();
    let refused = message(&head, pending).await.unwrap_err();
    assert_eq!(started.elapsed(), BODY_TIMEOUT);
    assert_eq!(refused.error().to_string(), "body: incomplete after 6 s; send it at once");
}
