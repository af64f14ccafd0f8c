//! `serve`: flags of the broker.

use std::path::PathBuf;
use std::process::ExitCode;

use super::config::{loopback_flag, report};
#[cfg(feature = "simulator")]
use super::simulation;
use crate::app::{self, Start, StartError};
use crate::config::{self, AwsFiles, Files, Sources};
use crate::descriptor_store;
use crate::environment;
use crate::inherited::Inherited;
use crate::server::ActivatedSockets;
use crate::service_manager::ServiceManager;

const EXAMPLES: &str = "\
Examples:
  ecr-broker serve                          # /etc/ecr-broker/config.toml, the default socket
  ecr-broker serve --config broker.toml
  ecr-broker serve --simulate               # a simulated AWS, on 127.0.0.1:50051

Exit codes: 0 stopped by SIGTERM or SIGINT, 1 wrong configuration or no address to listen on, 2 wrong flags, 130 \
second signal";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
pub(super) struct Args {
    /// Configuration file; default: /etc/ecr-broker/config.toml if it exists
    ///
    /// `config example` prints one. With --simulate only a named file is read.
    #[arg(long, env = "ECR_BROKER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, instead of the configured ones
    ///
    /// IP:PORT or unix:/PATH. The flag can be repeated.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Accept every process of this host over loopback TCP
    #[arg(long)]
    allow_loopback: bool,
    /// Loopback address of the ECR-compatible API, IP:PORT
    ///
    /// It answers GetAuthorizationToken for programs that only know AWS. Point them at it with AWS_ENDPOINT_URL_ECR.
    #[arg(long, value_name = "ADDRESS")]
    aws_api_listen: Option<String>,
    /// File with the API's shared secret; created if missing
    #[arg(long, value_name = "FILE")]
    aws_api_secret_file: Option<PathBuf>,
    #[cfg(feature = "simulator")]
    #[command(flatten)]
    simulation: simulation::Flags,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // First: this changes the environment, which must not happen once there are threads.
    let manager = ServiceManager::take()?;
    let result = serve(args, manager.clone());
    if let Err(error) = &result {
        manager.status(&error.to_string());
    }
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(StartError::Config(diagnostics)) => Ok(report(Err(diagnostics))),
        Err(StartError::Other(error)) => Err(error),
    }
}

fn serve(args: &Args, manager: ServiceManager) -> Result<(), StartError> {
    let mut inherited = Inherited::take()?;
    let stored = descriptor_store::Inherited::take(&mut inherited);
    let sockets = ActivatedSockets::take(inherited)?;
    let start = Start {
        sources: sources(args, &sockets),
        sockets,
        manager,
        stored,
        #[cfg(feature = "simulator")]
        simulation: args.simulation.start(),
    };
    app::serve(start)
}

fn sources(args: &Args, sockets: &ActivatedSockets) -> Sources {
    let mut flags = Vec::new();
    if !args.listen.is_empty() {
        let list = args.listen.iter().cloned().map(toml::Value::String).collect();
        flags.push(("server.listen", "--listen", toml::Value::Array(list)));
    }
    flags.extend(loopback_flag(args.allow_loopback));
    flags.extend(aws_api_flags(args));
    #[cfg(feature = "simulator")]
    flags.extend(args.simulation.flags());
    #[cfg(feature = "simulator")]
    let is_simulated = args.simulation.start().is_some();
    #[cfg(not(feature = "simulator"))]
    let is_simulated = false;
    let file = if is_simulated { args.config.clone() } else { config::file_to_read(args.config.as_deref()) };
    let environment = environment::variables();
    Sources {
        files: Files::read(file.as_deref()),
        activated: sockets.addresses(),
        aws_files: AwsFiles::read(&environment),
        environment,
        not_utf8: environment::not_utf8(),
        flags,
    }
}

fn aws_api_flags(args: &Args) -> Vec<(&'static str, &'static str, toml::Value)> {
    let listen = args.aws_api_listen.clone();
    let listen = listen.map(|address| ("server.aws_api_listen", "--aws-api-listen", address.into()));
    // A relative path of a flag means the current directory.
    let file = args.aws_api_secret_file.as_ref().and_then(|file| std::path::absolute(file).ok());
    let file = file.map(|file| file.to_string_lossy().into_owned());
    let file = file.map(|file| ("server.aws_api_secret_file", "--aws-api-secret-file", file.into()));
    listen.into_iter().chain(file).collect()
}
