//! ID token of a GitHub Actions job, from the runner's token endpoint. Forgejo's and Gitea's runners have the same endpoint.

use reqwest::Url;

use super::http;
use crate::bearer_token::BearerToken;
use crate::environment;

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const PERMISSION: &str = "add `permissions: { id-token: write }` to the job; in a container, pass both variables on";

pub(super) fn is_present() -> bool {
    [URL, TOKEN].into_iter().all(|name| environment::variable(name).is_some())
}

/// Requests a token for the audience.
pub(super) async fn request(audience: &str) -> Result<BearerToken, String> {
    let text = |name| {
        let value = environment::variable(name).and_then(|value| value.into_string().ok());
        value.ok_or_else(|| format!("token_source github: {name} is not set; {PERMISSION}"))
    };
    let url = text(URL)?;
    fetch(&url, &text(TOKEN)?.into(), audience).await.map_err(|problem| format!("token_source github: {problem}"))
}

async fn fetch(url: &str, proof: &BearerToken, audience: &str) -> Result<BearerToken, String> {
    let mut url: Url = url.parse().map_err(|_| format!("{URL} is not a URL; do not set it by hand"))?;
    url.query_pairs_mut().append_pair("audience", audience);
    http::fetch_token(&url, proof).await
}

#[cfg(test)]
mod tests {
    use crate::client::token::http::tests::{Endpoint, Reply};

    use super::*;

    #[tokio::test]
    async fn job_asks_with_the_audience_and_its_request_token() {
        let endpoint = Endpoint::start([Reply::json(200, r#"{"count":7,"value":"a.b.c"}"#)]).await;
        let url = format!("{}/token?api-version=2.0", endpoint.url);
        let token = fetch(&url, &"proof".to_owned().into(), "https://broker/?a&b").await.unwrap();
        assert_eq!(token.expose(), "a.b.c");
        let request = endpoint.requests().remove(0);
        assert!(
            request.starts_with("GET /token?api-version=2.0&audience=https%3A%2F%2Fbroker%2F%3Fa%26b HTTP/1.1\r\n")
        );
        assert!(request.to_lowercase().contains("\r\nauthorization: bearer proof\r\n"), "{request}");
    }

    #[tokio::test]
    async fn refusal_names_the_status_and_failures_are_repeated() {
        let busy = || Reply::json(503, "busy");
        let endpoint = Endpoint::start([busy(), Reply::json(200, r#"{"value":"a.b.c"}"#)]).await;
        let request = |endpoint: &Endpoint| {
            let url = endpoint.url.clone();
            async move { fetch(&url, &"proof".to_owned().into(), "a").await.map(|token| token.expose().to_owned()) }
        };
        assert_eq!(request(&endpoint).await.unwrap(), "a.b.c");
        for (replies, expected) in [
            (vec![Reply::json(403, "no")], "the token endpoint answered 403"),
            (vec![busy(), busy(), busy()], "the token endpoint answered 503"),
            (vec![Reply::json(200, "{}")], "answer is not a token"),
            (vec![Reply::json(200, &format!("{{\"value\":\"{}\"}}", "x".repeat(70_000)))], "longer than 64 KiB"),
        ] {
            let error = request(&Endpoint::start(replies).await).await.unwrap_err();
            assert!(error.contains(expected) && error.contains("; "), "{expected}: {error}");
        }
    }
}
