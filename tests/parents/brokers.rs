//! Children and parents for the tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use ecr_broker::pb::{GetRegistryCredentialsRequest, RegistryCredentials};
use tonic::{Code, IntoRequest, Status};
use tonic_types::StatusExt as _;

use crate::program::{Server, simulated_broker};
use crate::support::Client;

/// What a parent serves if it serves everything.
pub(crate) const EVERYTHING: &str = r#"registries = [{ accounts = ["*"], regions = ["*"] }, { public = true }]"#;
/// A port that no program listens on.
pub(crate) const DEAD: &str = "http://127.0.0.1:1";

/// The parts of an error that programs decide by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) message: String,
}

/// Returns the address of a broker as a parent's address.
pub(crate) fn address(broker: &Server) -> String {
    broker.address.replace("grpc://", "http://").replace("grpcs://127.0.0.1", "https://localhost")
}

/// Starts a parent with a simulated AWS.
pub(crate) fn parent(arguments: &[&str]) -> Server {
    simulated_broker(arguments, &[])
}

/// Starts a parent with this configuration.
pub(crate) fn parent_with(config: &str, arguments: &[&str]) -> (Server, tempfile::TempDir) {
    let (directory, file) = config_file(config);
    (simulated_broker(&[&["--config", &file], arguments].concat(), &[]), directory)
}

/// Returns a file with a configuration.
pub(crate) fn config_file(config: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.toml");
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

/// Returns the configuration of a child with one parent that serves everything.
pub(crate) fn asking(addresses: &[&str], more: &str) -> String {
    format!("[[parents]]\nname = \"central\"\naddresses = {addresses:?}\n{EVERYTHING}\n{more}\n")
}

/// Starts a child on loopback, without any AWS settings.
pub(crate) fn child(config: &str) -> Server {
    child_with(config, &[], &[])
}

pub(crate) fn child_with(config: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
    let mut config = config.to_owned();
    _ = write!(config, "\n[authentication]\nloopback = true\n");
    let (_directory, file) = config_file(&config);
    let serve = ["serve", "--listen", "127.0.0.1:0", "--config", &file];
    Server::start(&[&serve, arguments].concat(), environment)
}

pub(crate) async fn client(broker: &Server) -> Client {
    let uri = broker.address.replace("grpc://", "http://");
    Client::new(tonic::transport::Endpoint::from_shared(uri).unwrap().connect().await.unwrap())
}

/// Calls a broker once.
pub(crate) async fn get(
    broker: &Server,
    request: impl IntoRequest<GetRegistryCredentialsRequest>,
) -> Result<RegistryCredentials, Refused> {
    let answer = client(broker).await.get_registry_credentials(request).await;
    answer.map(|answer| answer.into_inner().credentials.unwrap()).map_err(|status| refused(&status))
}

fn refused(status: &Status) -> Refused {
    let details = status.get_error_details();
    let info = details.error_info().cloned().unwrap_or_else(|| panic!("{status:?}"));
    Refused {
        code: status.code(),
        reason: info.reason,
        metadata: info.metadata.into_iter().collect(),
        retry_after: details.retry_info().and_then(|info| info.retry_delay),
        message: status.message().to_owned(),
    }
}
