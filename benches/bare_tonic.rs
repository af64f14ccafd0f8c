//! The baseline of `rpc.sh` and `instructions.sh`: tonic's own server with a constant response of the broker's size.
//!
//! - `bare_tonic BROKER` calls the broker at that URI once, then serves its response on a free port, which it prints.
//! - `bare_tonic BROKER CERTIFICATE KEY AUTHORITY CERTIFICATE KEY` does the same with TLS: the first pair is the client's, the
//!   second the server's.
//! - `bare_tonic URL CERTIFICATE KEY AUTHORITY CALLS` is a client that makes that many calls on one connection.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

use ecr_broker::pb;
use ecr_broker::pb::get_registry_credentials_request::Target;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use ecr_broker::pb::registry_credentials_service_server::{
    RegistryCredentialsService, RegistryCredentialsServiceServer,
};
use futures_util::stream::Empty;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

struct Constant(pb::GetRegistryCredentialsResponse);

#[tonic::async_trait]
impl RegistryCredentialsService for Constant {
    async fn get_registry_credentials(
        &self,
        _: Request<pb::GetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::GetRegistryCredentialsResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    async fn batch_get_registry_credentials(
        &self,
        _: Request<pb::BatchGetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::BatchGetRegistryCredentialsResponse>, Status> {
        Err(Status::unimplemented("a benchmark"))
    }

    type WatchRegistryCredentialsStream = Empty<Result<pb::WatchRegistryCredentialsResponse, Status>>;

    async fn watch_registry_credentials(
        &self,
        _: Request<pb::WatchRegistryCredentialsRequest>,
    ) -> Result<Response<Self::WatchRegistryCredentialsStream>, Status> {
        Err(Status::unimplemented("a benchmark"))
    }

    async fn get_caller_identity(
        &self,
        _: Request<pb::GetCallerIdentityRequest>,
    ) -> Result<Response<pb::GetCallerIdentityResponse>, Status> {
        Err(Status::unimplemented("a benchmark"))
    }

    async fn list_registries(
        &self,
        _: Request<pb::ListRegistriesRequest>,
    ) -> Result<Response<pb::ListRegistriesResponse>, Status> {
        Err(Status::unimplemented("a benchmark"))
    }
}

/// A certificate with its key, and the authority to trust.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

impl Pair {
    fn read([certificate, key, authority]: [&String; 3]) -> Self {
        let read = |path| std::fs::read(path).unwrap();
        Self { certificate: read(certificate), key: read(key), authority: read(authority) }
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }
}

fn request() -> pb::GetRegistryCredentialsRequest {
    let registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com".to_owned();
    pb::GetRegistryCredentialsRequest { target: Some(Target::Registry(registry)), ..Default::default() }
}

async fn connect(url: &str, pair: Option<&Pair>) -> RegistryCredentialsServiceClient<Channel> {
    let mut endpoint = Endpoint::from_shared(url.replace("grpc", "http")).unwrap();
    if let Some(pair) = pair {
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&pair.authority)).identity(pair.identity());
        endpoint = endpoint.tls_config(tls).unwrap();
    }
    RegistryCredentialsServiceClient::new(endpoint.connect().await.unwrap())
}

/// Makes the calls one after another.
async fn load(url: &str, pair: Option<&Pair>, calls: &str) {
    let mut client = connect(url, pair).await;
    for _ in 0..calls.parse().unwrap() {
        client.get_registry_credentials(request()).await.unwrap();
    }
}

async fn serve(broker: &str, client: Option<&Pair>, pair: Option<&Pair>) {
    let answer = connect(broker, client).await.get_registry_credentials(request()).await.unwrap().into_inner();
    let listener = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
    let scheme = if pair.is_some() { "grpcs" } else { "grpc" };
    println!("listening on {scheme}://{}", listener.local_addr().unwrap());
    let mut server = Server::builder();
    if let Some(pair) = pair {
        server = server.tls_config(ServerTlsConfig::new().identity(pair.identity())).unwrap();
    }
    let service = RegistryCredentialsServiceServer::new(Constant(answer));
    server.add_service(service).serve_with_incoming(listener).await.unwrap();
}

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().collect::<Vec<_>>().as_slice() {
        [broker] => serve(broker, None, None).await,
        [broker, certificate, key, authority, own_certificate, own_key] => {
            let (client, own) = ([*certificate, *key, *authority], [*own_certificate, *own_key, *authority]);
            serve(broker, Some(&Pair::read(client)), Some(&Pair::read(own))).await;
        }
        [url, certificate, key, authority, calls] => {
            load(url, Some(&Pair::read([*certificate, *key, *authority])), calls).await;
        }
        _ => eprintln!("bare_tonic: wrong arguments; run benches/rpc.sh or benches/instructions.sh instead"),
    }
}
