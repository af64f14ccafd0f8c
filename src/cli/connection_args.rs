//! Flags and variables that name a broker and how to connect to it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::client_log;
use super::duration;
use crate::client::token::{CommandLine, SourceName};
use crate::client::{Addresses, ConfigError, PartialConfig, Paths, Settings, TlsSource};
use crate::environment;

/// The connection to a broker.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
pub(super) struct ConnectionArgs {
    /// Broker addresses: http://HOST:PORT, https://HOST:PORT or unix:/PATH, separated by commas
    ///
    /// Without a port it is 50051. They are tried in this order, again and again until the timeout. Default: the Unix sockets
    /// /run/ecr-broker/broker.sock and $XDG_RUNTIME_DIR/ecr-broker/broker.sock, then
    /// http://127.0.0.1:50051, but never this one while a socket exists, and not in sync
    #[arg(long, env = "ECR_BROKER_ADDRESS", value_name = "ADDRESS")]
    address: Option<Addresses>,
    /// File with a bearer token; every call reads it
    ///
    /// The command does not send the token unencrypted to a default address. To do so, set --address.
    #[arg(long, env = "ECR_BROKER_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Source of bearer tokens: file, exec, github, gitlab, buildkite, kubernetes, spiffe, aws or auto
    ///
    /// It is asked again before each token ends. auto takes the first that is there, in this order. Default: the one of --token-file
    /// and --token-exec that is set
    #[arg(long, env = "ECR_BROKER_TOKEN_SOURCE", value_name = "SOURCE")]
    token_source: Option<SourceName>,
    /// Program that prints a bearer token, with its arguments, separated by spaces
    #[arg(long, env = "ECR_BROKER_TOKEN_EXEC", value_name = "COMMAND")]
    token_exec: Option<CommandLine>,
    /// Variable with GitLab's ID token [default: ECR_BROKER_ID_TOKEN]
    #[arg(long, env = "ECR_BROKER_TOKEN_VARIABLE", value_name = "NAME")]
    token_variable: Option<String>,
    /// Audience to request tokens with, as the broker expects it [default: ecr-broker]
    #[arg(long, env = "ECR_BROKER_AUDIENCE", value_name = "AUDIENCE")]
    audience: Option<String>,
    /// CA certificates (PEM) to trust instead of the system's
    #[arg(long, env = "ECR_BROKER_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Source of client certificate and key: file, or spiffe for the X.509-SVID of the Workload API [default: file]
    #[arg(long, env = "ECR_BROKER_TLS_SOURCE", value_name = "SOURCE")]
    tls_source: Option<TlsSource>,
    /// Client certificate (PEM)
    #[arg(long, env = "ECR_BROKER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the client certificate
    #[arg(long, env = "ECR_BROKER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Time limit of the command; in watch and sync, of each connection [default: 10s]
    #[arg(long, env = "ECR_BROKER_TIMEOUT", value_name = "DURATION", allow_hyphen_values = true)]
    #[arg(value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Print each step of the connection on stderr
    ///
    /// RUST_LOG=debug does the same. Tokens and passwords are never printed.
    #[arg(short, long)]
    verbose: bool,
    /// $XDG_RUNTIME_DIR, where a user's own broker listens
    #[arg(long, env = "XDG_RUNTIME_DIR", hide = true)]
    runtime_dir: Option<PathBuf>,
    /// $XDG_CONFIG_HOME, which contains ecr-broker/client.toml
    #[arg(long, env = "XDG_CONFIG_HOME", hide = true)]
    config_home: Option<PathBuf>,
    /// $HOME, which contains .config, the default of $XDG_CONFIG_HOME
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
}

impl ConnectionArgs {
    /// Returns the settings from flags, variables and `client.toml`, and the profile that the file names.
    pub(super) fn settings(&self) -> Result<(Settings, String), ConfigError> {
        self.settings_within(None)
    }

    /// Returns the settings with this time limit, if there is one, and the profile that the file names.
    pub(super) fn settings_within(&self, timeout: Option<Duration>) -> Result<(Settings, String), ConfigError> {
        self.start_log(LevelFilter::WARN);
        let (mut config, paths) = self.partial_config();
        config.timeout = timeout.or(config.timeout);
        config.or(paths.files()?).settings(&paths)
    }

    /// Starts the client's log, by default at this level.
    pub(super) fn start_log(&self, default: LevelFilter) {
        client_log::start(self.verbose, default);
    }

    /// Returns the variables by which another client finds the same broker. It may run in another directory.
    pub(super) fn variables(&self) -> std::io::Result<Vec<(String, OsString)>> {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let text = |text: Option<String>| text.map(OsString::from);
        let variables = [
            ("address", text(self.address.as_ref().map(ToString::to_string))),
            ("token_source", text(self.token_source.as_ref().map(ToString::to_string))),
            ("token_file", absolute(&self.token_file)?.map(Into::into)),
            ("token_exec", text(self.token_exec.as_ref().map(ToString::to_string))),
            ("token_variable", text(self.token_variable.clone())),
            ("audience", text(self.audience.clone())),
            ("tls_ca", absolute(&self.tls_ca)?.map(Into::into)),
            ("tls_source", text(self.tls_source.as_ref().map(ToString::to_string))),
            ("tls_cert", absolute(&self.tls_cert)?.map(Into::into)),
            ("tls_key", absolute(&self.tls_key)?.map(Into::into)),
            ("timeout", text(self.timeout.map(|timeout| humantime::format_duration(timeout).to_string()))),
        ];
        let set = variables.into_iter().filter_map(|(name, value)| Some((environment::client_variable(name), value?)));
        Ok(set.collect())
    }

    /// Returns the settings from flags and variables, and the user's directories.
    pub(super) fn partial_config(&self) -> (PartialConfig, Paths) {
        let paths = Paths {
            runtime_dir: self.runtime_dir.clone(),
            config_home: self.config_home.clone(),
            home: self.home.clone(),
        };
        let config = PartialConfig {
            address: self.address.clone(),
            token_source: self.token_source,
            token_file: self.token_file.clone(),
            token_exec: self.token_exec.clone(),
            token_variable: self.token_variable.clone(),
            audience: self.audience.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_source: self.tls_source,
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            timeout: self.timeout,
            ..PartialConfig::default()
        };
        (config, paths)
    }
}
