//! The flags and variables that name a broker and how to reach it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{Address, AddressError, Settings};

/// Beyond it a wait is no limit any more.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// Where a broker listens that was told nothing else.
const SYSTEM_SOCKET: &str = "/run/ecr-broker/broker.sock";
const USER_SOCKET: &str = "ecr-broker/broker.sock";
const LOOPBACK: &str = "127.0.0.1:50051";

/// Addresses with commas between them; a variable that is empty names none.
#[derive(Debug, Clone)]
struct Addresses(Vec<Address>);

fn addresses(text: &str) -> Result<Addresses, AddressError> {
    let texts = text.split(',').filter(|text| !text.trim().is_empty());
    texts.map(str::parse).collect::<Result<_, _>>().map(Addresses)
}

/// How to reach the broker.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The broker: http://HOST:PORT, https://HOST:PORT or unix:/PATH; several with commas between them are tried in order.
    /// Default: the Unix sockets /run/ecr-broker/broker.sock and $XDG_RUNTIME_DIR/ecr-broker/broker.sock where they exist,
    /// then http://127.0.0.1:50051
    #[arg(long, env = "ECR_BROKER_ADDRESS", value_name = "ADDRESS", value_parser = addresses)]
    address: Option<Addresses>,
    /// A file with a bearer token, read at every call; never sent in the clear to an address that was not given
    #[arg(long, env = "ECR_BROKER_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's
    #[arg(long, env = "ECR_BROKER_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The client's own certificate (PEM)
    #[arg(long, env = "ECR_BROKER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the client's certificate (PEM)
    #[arg(long, env = "ECR_BROKER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How long to wait in all
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// $XDG_RUNTIME_DIR, where a broker of the user's own listens
    #[arg(long, env = "XDG_RUNTIME_DIR", hide = true)]
    runtime_dir: Option<PathBuf>,
}

impl Connection {
    pub(super) fn settings(&self) -> Settings {
        let given = self.address.as_ref().map(|Addresses(given)| given).filter(|given| !given.is_empty());
        Settings {
            addresses: given.cloned().unwrap_or_else(|| self.usual_addresses()),
            addresses_given: given.is_some(),
            token_file: self.token_file.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            timeout: self.timeout.min(LONGEST_WAIT),
        }
    }

    fn usual_addresses(&self) -> Vec<Address> {
        let user = self.runtime_dir.as_ref().map(|directory| directory.join(USER_SOCKET));
        let sockets =
            [Some(PathBuf::from(SYSTEM_SOCKET)), user].into_iter().flatten().filter(|path| Path::exists(path));
        sockets.map(Address::Unix).chain([Address::Plain(LOOPBACK.to_owned())]).collect()
    }
}
