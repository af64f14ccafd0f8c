//! Flags of a helper. They are parsed late: docker and kubelet run a helper for registries that need no broker too, so a mistake in a
//! flag or variable must not end the program.

use std::ffi::OsString;

use crate::helper::Setup;

#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
pub(in crate::cli) struct Options {
    /// Profile to request [env: ECR_BROKER_PROFILE]
    #[arg(long)]
    profile: Option<OsString>,
    /// Credential helper (secretservice) or auth file (/path/auth.json) for other registries
    ///
    /// Only the docker protocol uses it. client.toml can set it with the key `next`.
    #[arg(long, value_name = "NAME|FILE")]
    next: Option<String>,
    /// Command of the same protocol to run when no broker answers
    ///
    /// The program and its arguments, separated by spaces. client.toml can set it with the key `fallback`, and the failures after
    /// which it runs with `fallback_on`. It never runs after a denial.
    #[arg(long, value_name = "COMMAND")]
    fallback_exec: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// The connection to a broker, as other commands have it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
struct Connection {
    /// Broker addresses: http://HOST:PORT, https://HOST:PORT or unix:/PATH, separated by commas [env: ECR_BROKER_ADDRESS]
    ///
    /// Without a port it is 50051. They are tried in this order. Default: the Unix sockets /run/ecr-broker/broker.sock and
    /// $XDG_RUNTIME_DIR/ecr-broker/broker.sock
    #[arg(long)]
    address: Option<OsString>,
    /// File with a bearer token; every call reads it [env: ECR_BROKER_TOKEN_FILE]
    ///
    /// The command does not send the token unencrypted to a default address. To do so, set --address.
    #[arg(long, value_name = "FILE")]
    token_file: Option<OsString>,
    /// Source of bearer tokens: file, exec, github, gitlab, buildkite, kubernetes, spiffe, aws or auto [env: ECR_BROKER_TOKEN_SOURCE]
    ///
    /// auto takes the first that is there, in this order. Default: the one of --token-file and --token-exec that is set
    #[arg(long, value_name = "SOURCE")]
    token_source: Option<OsString>,
    /// Program that prints a bearer token, with its arguments, separated by spaces [env: ECR_BROKER_TOKEN_EXEC]
    #[arg(long, value_name = "COMMAND")]
    token_exec: Option<OsString>,
    /// Variable with GitLab's ID token [env: ECR_BROKER_TOKEN_VARIABLE] [default: ECR_BROKER_ID_TOKEN]
    #[arg(long, value_name = "NAME")]
    token_variable: Option<OsString>,
    /// Audience to request tokens with, as the broker expects it [env: ECR_BROKER_AUDIENCE] [default: ecr-broker]
    #[arg(long)]
    audience: Option<OsString>,
    /// CA certificates (PEM) to trust instead of the system's [env: ECR_BROKER_TLS_CA]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<OsString>,
    /// Source of client certificate and key: file, or spiffe for the X.509-SVID [env: ECR_BROKER_TLS_SOURCE] [default: file]
    #[arg(long, value_name = "SOURCE")]
    tls_source: Option<OsString>,
    /// Client certificate (PEM) [env: ECR_BROKER_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<OsString>,
    /// Private key (PEM) of the client certificate [env: ECR_BROKER_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    tls_key: Option<OsString>,
    /// Time limit of the broker's answer, and of another program's [env: ECR_BROKER_TIMEOUT] [default: 10s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<OsString>,
}

impl Options {
    pub(super) fn setup(self) -> Setup {
        Setup::from_flags(|setting| self.flag(setting))
            .with_delegate(self.next.as_deref())
            .with_fallback(self.fallback_exec.clone())
    }

    /// Returns a flag by its key in `client.toml`.
    fn flag(&self, setting: &str) -> Option<OsString> {
        let connection = &self.connection;
        let flag = match setting {
            "address" => &connection.address,
            "token_source" => &connection.token_source,
            "token_file" => &connection.token_file,
            "token_exec" => &connection.token_exec,
            "token_variable" => &connection.token_variable,
            "audience" => &connection.audience,
            "profile" => &self.profile,
            "tls_ca" => &connection.tls_ca,
            "tls_source" => &connection.tls_source,
            "tls_cert" => &connection.tls_cert,
            "tls_key" => &connection.tls_key,
            "timeout" => &connection.timeout,
            _ => return None,
        };
        flag.clone()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::environment::CLIENT_SETTINGS;

    #[derive(Debug, Parser)]
    struct Helper {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn every_client_setting_is_a_flag_of_a_helper() {
        for setting in CLIENT_SETTINGS {
            let flag = format!("--{}", setting.replace('_', "-"));
            let helper = Helper::try_parse_from(["helper", &flag, "value"]).unwrap();
            assert_eq!(helper.options.flag(setting), Some("value".into()), "{flag}");
        }
    }
}
