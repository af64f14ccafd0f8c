//! A SPIFFE Workload API that issues JWT-SVIDs over a Unix socket.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream;
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

const METHOD: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";

#[derive(Clone, prost::Message)]
struct JwtSvidRequest {
    #[prost(string, repeated, tag = "1")]
    audience: Vec<String>,
    #[prost(string, tag = "2")]
    spiffe_id: String,
}

#[derive(Clone, prost::Message)]
struct JwtSvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<JwtSvid>,
}

#[derive(Clone, prost::Message)]
struct JwtSvid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(string, tag = "2")]
    svid: String,
    #[prost(string, tag = "3")]
    hint: String,
}

type Issue = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The service; `issue` returns the token for an audience, or `None` for a workload without an identity.
#[derive(Clone)]
struct WorkloadApi(Issue);

impl NamedService for WorkloadApi {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}

impl tower::Service<http::Request<Body>> for WorkloadApi {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let issue = Arc::clone(&self.0);
        Box::pin(async move {
            assert_eq!(request.uri().path(), METHOD);
            let codec: ProstCodec<JwtSvidResponse, JwtSvidRequest> = ProstCodec::default();
            let unary = service_fn(move |request| {
                let issue = Arc::clone(&issue);
                async move { fetch_jwt_svid(&request, &issue) }
            });
            Ok(Grpc::new(codec).unary(unary, request).await)
        })
    }
}

fn fetch_jwt_svid(request: &Request<JwtSvidRequest>, issue: &Issue) -> Result<Response<JwtSvidResponse>, Status> {
    if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
        return Err(Status::invalid_argument("security header missing from request"));
    }
    let [audience] = request.get_ref().audience.as_slice() else {
        return Err(Status::invalid_argument("audience must be specified"));
    };
    let svid = issue(audience).ok_or_else(|| Status::permission_denied("no identity issued"))?;
    let svid = JwtSvid { spiffe_id: "spiffe://example/job".to_owned(), svid, hint: String::new() };
    Ok(Response::new(JwtSvidResponse { svids: vec![svid] }))
}

/// Serves until the runtime ends.
pub(crate) fn serve(socket: &Path, issue: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
    let listener = UnixListener::bind(socket).unwrap();
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let server = tonic::transport::Server::builder().add_service(WorkloadApi(Arc::new(issue)));
    tokio::spawn(server.serve_with_incoming(incoming));
}
