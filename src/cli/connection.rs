//! The flags and variables that name a broker and how to reach it.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::{Addresses, ConfigError, PartialConfig, Paths, Settings};

/// How to reach the broker.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The broker: http://HOST:PORT, https://HOST:PORT or unix:/PATH; several with commas between them are tried in order.
    /// Default: the Unix sockets /run/ecr-broker/broker.sock and $XDG_RUNTIME_DIR/ecr-broker/broker.sock where they exist,
    /// then http://127.0.0.1:50051
    #[arg(long, env = "ECR_BROKER_ADDRESS", value_name = "ADDRESS")]
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
    /// How long to wait in all; of watch and sync, for each connection [default: 5s]
    #[arg(long, env = "ECR_BROKER_TIMEOUT", value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// $XDG_RUNTIME_DIR, where a broker of the user's own listens
    #[arg(long, env = "XDG_RUNTIME_DIR", hide = true)]
    runtime_dir: Option<PathBuf>,
    /// $XDG_CONFIG_HOME, where ecr-broker/client.toml is
    #[arg(long, env = "XDG_CONFIG_HOME", hide = true)]
    config_home: Option<PathBuf>,
    /// $HOME, below which it is otherwise
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
}

impl Connection {
    /// By flags and variables, and by `client.toml` where they say nothing; with the profile that the file names.
    pub(super) fn settings(&self) -> Result<(Settings, String), ConfigError> {
        let (given, home) = self.given();
        given.or(home.files()?).settings(&home)
    }

    /// What flags and variables say, and where the files are.
    pub(super) fn given(&self) -> (PartialConfig, Paths) {
        let home = Paths {
            runtime_dir: self.runtime_dir.clone(),
            config_home: self.config_home.clone(),
            home: self.home.clone(),
        };
        let given = PartialConfig {
            address: self.address.clone(),
            token_file: self.token_file.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            timeout: self.timeout,
            ..PartialConfig::default()
        };
        (given, home)
    }
}
