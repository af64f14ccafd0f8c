//! The baseline: tonic's own server with a service that answers a constant.

use ecr_broker::pb;
use ecr_broker::pb::registry_credentials_service_server::{
    RegistryCredentialsService, RegistryCredentialsServiceServer,
};
use futures_util::stream::{Empty, poll_fn};
use prost::Message as _;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::address::Listener;
use crate::tls::Tls;

struct Constant(pb::GetRegistryCredentialsResponse);

pub(crate) async fn serve(listener: Listener, tls: Option<&Tls>, message: &[u8]) -> anyhow::Result<()> {
    let service = RegistryCredentialsServiceServer::new(Constant(pb::GetRegistryCredentialsResponse::decode(message)?));
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls.tonic()?)?;
    }
    let router = server.add_service(service);
    match listener {
        Listener::Tcp(listener) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming(incoming).await?;
        }
        Listener::Unix(listener, _) => {
            let accept = poll_fn(move |context| listener.poll_accept(context).map_ok(|(io, _)| io).map(Some));
            router.serve_with_incoming(accept).await?;
        }
    }
    Ok(())
}

fn other_method<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("a benchmark"))
}

#[tonic::async_trait]
impl RegistryCredentialsService for Constant {
    type WatchRegistryCredentialsStream = Empty<Result<pb::WatchRegistryCredentialsResponse, Status>>;

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
        other_method()
    }

    async fn watch_registry_credentials(
        &self,
        _: Request<pb::WatchRegistryCredentialsRequest>,
    ) -> Result<Response<Self::WatchRegistryCredentialsStream>, Status> {
        other_method()
    }

    async fn get_caller_identity(
        &self,
        _: Request<pb::GetCallerIdentityRequest>,
    ) -> Result<Response<pb::GetCallerIdentityResponse>, Status> {
        other_method()
    }

    async fn list_registries(
        &self,
        _: Request<pb::ListRegistriesRequest>,
    ) -> Result<Response<pb::ListRegistriesResponse>, Status> {
        other_method()
    }
}
