//! Parents that answer wrongly (P12): the child returns an error, and serves others.

use std::pin::Pin;

use ecr_broker::clock::{Clock as _, SystemClock};
use ecr_broker::pb;
use ecr_broker::pb::get_registry_credentials_request::Target;
use ecr_broker::pb::registry_credentials_service_server::{
    RegistryCredentialsService, RegistryCredentialsServiceServer,
};
use futures_util::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::brokers::{asking, child, get};
use super::support::{host, request};

/// Answers each account in another wrong way.
#[derive(Debug)]
struct Hostile;

impl Hostile {
    fn answer(request: &pb::GetRegistryCredentialsRequest) -> Result<Option<pb::RegistryCredentials>, Status> {
        let Some(Target::Registry(registry)) = &request.target else { return Err(Status::internal("no host")) };
        let good = pb::RegistryCredentials {
            registry: registry.clone(),
            endpoint: format!("https://{registry}"),
            username: "AWS".to_owned(),
            password: "secret-of-the-parent".to_owned(),
            issue_time: Some(prost_types::Timestamp { seconds: 1_796_000_000, nanos: 0 }),
            expire_time: Some((SystemClock::new().now().wall + std::time::Duration::from_hours(6)).into()),
            valid_for: Some(prost_types::Duration { seconds: 6 * 3_600, nanos: 0 }),
            ..Default::default()
        };
        let number: usize = registry[..12].parse().map_err(|_| Status::internal("no account"))?;
        Ok(match number {
            1 => None,
            2 => Some(pb::RegistryCredentials { registry: host(99), ..good }),
            3 => Some(pb::RegistryCredentials { password: String::new(), ..good }),
            4 => Some(pb::RegistryCredentials { password: "x".repeat(100_000), ..good }),
            5 => Some(pb::RegistryCredentials { password: "x".repeat(1_000_000), ..good }),
            6 => Some(pb::RegistryCredentials { expire_time: Some(prost_types::Timestamp::default()), ..good }),
            7 => Some(pb::RegistryCredentials { valid_for: Some(prost_types::Duration::default()), ..good }),
            8 => Some(pb::RegistryCredentials { username: "root".to_owned(), ..good }),
            9 => return Err(Status::internal("x".repeat(2_000))),
            _ => Some(good),
        })
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<pb::WatchRegistryCredentialsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RegistryCredentialsService for Hostile {
    async fn get_registry_credentials(
        &self,
        request: Request<pb::GetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::GetRegistryCredentialsResponse>, Status> {
        Ok(Response::new(pb::GetRegistryCredentialsResponse { credentials: Self::answer(request.get_ref())? }))
    }

    async fn batch_get_registry_credentials(
        &self,
        _: Request<pb::BatchGetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::BatchGetRegistryCredentialsResponse>, Status> {
        Err(Status::unimplemented("a test"))
    }

    type WatchRegistryCredentialsStream = Events;

    async fn watch_registry_credentials(
        &self,
        _: Request<pb::WatchRegistryCredentialsRequest>,
    ) -> Result<Response<Events>, Status> {
        Err(Status::unimplemented("a test"))
    }

    async fn list_registries(
        &self,
        _: Request<pb::ListRegistriesRequest>,
    ) -> Result<Response<pb::ListRegistriesResponse>, Status> {
        Err(Status::unimplemented("a test"))
    }

    async fn get_caller_identity(
        &self,
        _: Request<pb::GetCallerIdentityRequest>,
    ) -> Result<Response<pb::GetCallerIdentityResponse>, Status> {
        Err(Status::unimplemented("a test"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_wrong_answers_of_a_parent_are_errors_and_never_served() {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = format!("http://{}", incoming.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(RegistryCredentialsServiceServer::new(Hostile));
    tokio::spawn(server.serve_with_incoming(incoming));
    let child = child(&asking(&[&address], ""));
    for number in 1..=9 {
        let refused = get(&child, request(&host(number))).await.unwrap_err();
        assert_eq!(refused.reason, "AWS_RESPONSE_INVALID", "{number}: {refused:?}");
        assert!(refused.message.len() < 200, "{refused:?}");
    }
    assert_eq!(get(&child, request(&host(10))).await.unwrap().password, "secret-of-the-parent");
    let log = child.stop();
    assert!(!log.contains("secret-of-the-parent") && !log.contains("panicked"), "{log}");
}
