//! AWS with one token for every registry, so that all programs answer with as many bytes. Those of the simulated AWS vary.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::BASE64;
use ecr_broker::clock::{Clock as _, SystemClock};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The length of ECR's passwords.
const PASSWORD: usize = 2_400;
const LIFETIME: Duration = Duration::from_hours(12);

pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let output = output()?;
    loop {
        let (io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let output = output.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(request, output.clone()));
            _ = Builder::new().serve_connection(TokioIo::new(io), service).await;
        });
    }
}

fn output() -> anyhow::Result<Bytes> {
    let token = BASE64.encode(format!("AWS:{}", "x".repeat(PASSWORD)).as_bytes());
    let end = SystemClock::new().now().after(LIFETIME).wall.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let authorization = serde_json::json!({ "authorizationToken": token, "expiresAt": end });
    Ok(serde_json::json!({ "authorizationData": [authorization] }).to_string().into())
}

async fn respond(request: Request<Incoming>, output: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    // What the client sends after a failure is of no interest.
    _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(output));
    let content = http::HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content);
    Ok(response)
}
