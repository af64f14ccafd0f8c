//! Token endpoint over HTTP: a GET with a bearer token, answered with JSON.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::bearer_token::BearerToken;
use crate::client::error_chain::error_chain;
use crate::jitter;
use crate::proxy::Proxies;

/// Attempts: endpoints of CI services fail now and then.
const ATTEMPTS: u32 = 3;
/// Upper end of the wait before the second attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest answer, far above what a header can have.
const MAX_ANSWER: usize = 64 << 10;

/// An attempt that failed.
struct AttemptError {
    problem: String,
    may_pass: bool,
}

#[derive(Deserialize)]
struct Answer {
    value: String,
}

/// Fetches `value` of the JSON at a URL, as the holder of `proof`. The caller sets the time limit.
pub(super) async fn fetch_token(url: &Url, proof: &BearerToken) -> Result<BearerToken, String> {
    let client = client(url).map_err(|error| error_chain(&error))?;
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match fetch(&client, url, proof).await {
            Err(AttemptError { may_pass: true, .. }) => sleep(jitter::at_least(wait / 2, 1.0)).await,
            outcome => return outcome.map_err(|error| error.problem),
        }
        wait *= 2;
    }
    fetch(&client, url, proof).await.map_err(|error| error.problem)
}

/// Follows no redirect: the proof belongs to this host.
fn client(url: &Url) -> reqwest::Result<Client> {
    let builder = Client::builder().redirect(Policy::none());
    // A proxy would receive the proof of an http URL unencrypted, on another host.
    let builder = match url.scheme() {
        "http" => builder.no_proxy(),
        _ => builder.proxy(Proxies::from_environment().0.for_reqwest()),
    };
    builder.build()
}

async fn fetch(client: &Client, url: &Url, proof: &BearerToken) -> Result<BearerToken, AttemptError> {
    let authorization = Zeroizing::new(format!("Bearer {}", proof.expose()));
    let mut authorization = HeaderValue::from_str(&authorization)
        .map_err(|_| AttemptError::lasting("the request token is malformed; do not set it by hand"))?;
    authorization.set_sensitive(true);
    let request = client.get(url.clone()).header(AUTHORIZATION, authorization).header(ACCEPT, "application/json");
    let response = request.send().await.map_err(AttemptError::of_connection)?;
    match response.status() {
        StatusCode::OK => read(response).await,
        status => Err(AttemptError::of_status(status)),
    }
}

async fn read(mut response: Response) -> Result<BearerToken, AttemptError> {
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    while let Some(chunk) = response.chunk().await.map_err(AttemptError::of_connection)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(AttemptError::lasting("the answer is longer than 64 KiB; check the endpoint"));
        }
        body.extend_from_slice(&chunk);
    }
    let answer: Result<Answer, _> = serde_json::from_slice(&body);
    answer
        .map(|answer| answer.value.into())
        .map_err(|_| AttemptError::lasting("the answer is not a token; check the endpoint"))
}

impl AttemptError {
    fn lasting(problem: &str) -> Self {
        Self { problem: problem.to_owned(), may_pass: false }
    }

    fn of_connection(error: reqwest::Error) -> Self {
        let problem = format!(
            "the token endpoint does not answer: {}; check network and proxy",
            error_chain(&error.without_url())
        );
        Self { problem, may_pass: true }
    }

    fn of_status(status: StatusCode) -> Self {
        let fix = if status.is_server_error() { "try again later" } else { "check the job's permissions" };
        let problem = format!("the token endpoint answered {}; {fix}", status.as_u16());
        Self { problem, may_pass: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS }
    }
}

#[cfg(test)]
pub(in crate::client::token) mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A token endpoint on loopback that gives one reply per connection.
    pub(in crate::client::token) struct Endpoint {
        pub(in crate::client::token) url: String,
        requests: Arc<Mutex<Vec<String>>>,
    }

    pub(in crate::client::token) struct Reply(String);

    impl Reply {
        pub(in crate::client::token) fn json(status: u16, body: &str) -> Self {
            let length = body.len();
            Self(format!(
                "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            ))
        }
    }

    impl Endpoint {
        pub(in crate::client::token) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (requests, replies): (Arc<Mutex<Vec<_>>>, Vec<_>) = (Arc::default(), replies.into_iter().collect());
            let seen = requests.clone();
            tokio::spawn(async move {
                for Reply(reply) in replies {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                    let _ = stream.write_all(reply.as_bytes()).await;
                }
            });
            Self { url, requests }
        }

        pub(in crate::client::token) fn requests(&self) -> Vec<String> {
            self.requests.lock().unwrap().clone()
        }
    }
}
