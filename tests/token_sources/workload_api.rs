//! A SPIFFE Workload API that issues JWT-SVIDs and X.509-SVIDs over a Unix socket.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::certificates::{Authority, Pair};

const JWT: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";
const X509: &str = "/SpiffeWorkloadAPI/FetchX509SVID";

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

#[derive(Clone, prost::Message)]
struct X509SvidRequest {}

#[derive(Clone, prost::Message)]
struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<X509Svid>,
}

/// Certificate chain, key and trust bundle, in DER form.
#[derive(Clone, prost::Message)]
#[allow(clippy::struct_field_names, reason = "the names of the protocol")]
pub(crate) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) bundle: Vec<u8>,
}

impl X509Svid {
    /// Returns the SVID of a certificate that the authority signed.
    pub(crate) fn of(id: &str, pair: &Pair, authority: &Authority) -> Self {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap().secret_der().to_vec();
        let (x509_svid, bundle) = (der(&pair.certificate), der(&authority.pem()));
        Self { spiffe_id: id.to_owned(), x509_svid, x509_svid_key: key, bundle }
    }
}

type IssueSvid = Arc<dyn Fn() -> X509Svid + Send + Sync>;
type Issue = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The service; `issue` returns the token for an audience, or `None` for a workload without an identity.
#[derive(Clone)]
struct WorkloadApi {
    issue: Issue,
    issue_svid: IssueSvid,
}

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
        let Self { issue, issue_svid } = self.clone();
        Box::pin(async move {
            match request.uri().path() {
                JWT => Ok(answer_jwt(issue, request).await),
                X509 => Ok(answer_x509(issue_svid, request).await),
                other => panic!("{other}"),
            }
        })
    }
}

async fn answer_jwt(issue: Issue, request: http::Request<Body>) -> http::Response<Body> {
    let codec: ProstCodec<JwtSvidResponse, JwtSvidRequest> = ProstCodec::default();
    let unary = service_fn(move |request| {
        let issue = Arc::clone(&issue);
        async move { fetch_jwt_svid(&request, &issue) }
    });
    Grpc::new(codec).unary(unary, request).await
}

/// Answers with one X.509-SVID, and keeps the stream open for the next.
async fn answer_x509(issue: IssueSvid, request: http::Request<Body>) -> http::Response<Body> {
    let codec: ProstCodec<X509SvidResponse, X509SvidRequest> = ProstCodec::default();
    let streaming = service_fn(move |request: Request<X509SvidRequest>| {
        let first = check_header(&request).map(|()| X509SvidResponse { svids: vec![issue()] });
        let answers = first.map(|first| Response::new(stream::iter([Ok(first)]).chain(stream::pending())));
        async move { answers }
    });
    Grpc::new(codec).server_streaming(streaming, request).await
}

fn check_header<T>(request: &Request<T>) -> Result<(), Status> {
    match request.metadata().get("workload.spiffe.io") {
        Some(value) if value == "true" => Ok(()),
        _ => Err(Status::invalid_argument("security header missing from request")),
    }
}

fn fetch_jwt_svid(request: &Request<JwtSvidRequest>, issue: &Issue) -> Result<Response<JwtSvidResponse>, Status> {
    check_header(request)?;
    let [audience] = request.get_ref().audience.as_slice() else {
        return Err(Status::invalid_argument("audience must be specified"));
    };
    let svid = issue(audience).ok_or_else(|| Status::permission_denied("no identity issued"))?;
    let svid = JwtSvid { spiffe_id: "spiffe://example/job".to_owned(), svid, hint: String::new() };
    Ok(Response::new(JwtSvidResponse { svids: vec![svid] }))
}

/// Serves until the runtime ends.
pub(crate) fn serve(
    socket: &Path,
    issue: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    issue_svid: impl Fn() -> X509Svid + Send + Sync + 'static,
) {
    let listener = UnixListener::bind(socket).unwrap();
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let service = WorkloadApi { issue: Arc::new(issue), issue_svid: Arc::new(issue_svid) };
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
}
