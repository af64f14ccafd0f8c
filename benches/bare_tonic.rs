//! What `rpc.sh` compares with: tonic's own server, answering every call with one constant answer of the size of the broker's.
//!
//! `bare_tonic BROKER` asks the broker at that URI once, then answers with what it said, on a free port that it prints.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

use ecr_broker::pb;
use ecr_broker::pb::get_registry_credentials_request::Target;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use ecr_broker::pb::registry_credentials_service_server::{
    RegistryCredentialsService, RegistryCredentialsServiceServer,
};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
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

#[tokio::main]
async fn main() {
    let Some(broker) = std::env::args().nth(1).filter(|argument| argument.starts_with("http://")) else {
        eprintln!("bare_tonic: run benches/rpc.sh, which starts this");
        return;
    };
    let registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com".to_owned();
    let request = pb::GetRegistryCredentialsRequest { target: Some(Target::Registry(registry)), ..Default::default() };
    let mut client = RegistryCredentialsServiceClient::connect(broker).await.unwrap();
    let answer = client.get_registry_credentials(request).await.unwrap().into_inner();
    let listener = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
    println!("listening on grpc://{}", listener.local_addr().unwrap());
    Server::builder()
        .add_service(RegistryCredentialsServiceServer::new(Constant(answer)))
        .serve_with_incoming(listener)
        .await
        .unwrap();
}
