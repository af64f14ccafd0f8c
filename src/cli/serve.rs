//! `serve`: put the broker together and run it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::config::{loopback_flag, report};
use crate::address::{ListenAddress, default_sockets};
use crate::api::ecr::{self, Secret};
use crate::api::grpc::trace::Tracing;
use crate::app::auth_material::AuthMaterial;
use crate::app::{process, reload};
use crate::audit::{AuditLog, Output};
use crate::broker::{self, Broker};
use crate::cache::CredentialCache;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Files, LogFormat, Sources};
use crate::limits::Limits;
use crate::profile::Profile;
use crate::server::{self, ActivatedSockets, Bound, BoundAwsApi};
use crate::signal::Signals;
use crate::source::aws::Aws;
use crate::source::aws::admission::AdmissionControl;
use crate::source::instrumented::Instrumented;
use crate::supervise;
use crate::telemetry::{self, Telemetry};
use crate::terminal::print_line;

/// What runs on threads of its own has this long to end.
const LAST_THREADS: Duration = Duration::from_secs(1);
/// A second signal while draining.
const IMPATIENT: i32 = 130;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file; `config example` prints one
    #[arg(long, env = "ECR_BROKER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// An address to listen on, IP:PORT or unix:/PATH; replaces the configured ones
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Let any process of this host call over loopback TCP
    #[arg(long)]
    allow_loopback: bool,
    /// Where to answer ECR's GetAuthorizationToken as AWS does, IP:PORT on loopback, for programs that take AWS_ENDPOINT_URL_ECR
    #[arg(long, value_name = "ADDRESS")]
    aws_api_listen: Option<String>,
    /// The file that holds the secret of its callers; one that is not there is made
    #[arg(long, value_name = "FILE")]
    aws_api_secret_file: Option<PathBuf>,
    #[cfg(feature = "simulator")]
    #[command(flatten)]
    simulation: simulation::Simulation,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // First, for it changes the environment, which nothing else may do once there are threads.
    let handed = ActivatedSockets::take()?;
    let sources = sources(args, &handed);
    match Config::load(&sources) {
        Ok(config) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let ended = runtime.block_on(async {
                let signals = Signals::listen()?;
                let (telemetry, tracing) = start_telemetry(&config, &sources)?;
                process::log_panics_without_their_message();
                process::guard_memory();
                process::raise_descriptor_limit(config.server.max_connections);
                #[cfg(feature = "simulator")]
                let config = args.simulation.start(config).await?;
                let clock = Arc::new(SystemClock::new());
                let shared: Arc<dyn Clock> = clock.clone();
                let ended = match AuthMaterial::load(&config, &shared) {
                    Ok(proofs) => {
                        serve(&config, (&sources, handed), tracing, (clock, proofs), signals).await?;
                        Ok(())
                    }
                    Err(diagnostics) => Err(diagnostics),
                };
                telemetry.flush().await;
                Ok(report(ended))
            });
            // A name that DNS does not answer for must not hold the end up.
            runtime.shutdown_timeout(LAST_THREADS);
            ended
        }
        Err(diagnostics) => Ok(report(Err(diagnostics))),
    }
}

fn start_telemetry(config: &Config, sources: &Sources) -> anyhow::Result<(Telemetry, Tracing)> {
    telemetry::start(&telemetry::Settings {
        filter: config.log.filter.clone(),
        json: match config.log.format {
            LogFormat::Auto => None,
            LogFormat::Json => Some(true),
            LogFormat::Text => Some(false),
        },
        environment: sources.environment.clone(),
    })
}

async fn serve(
    config: &Config,
    (sources, handed): (&Sources, ActivatedSockets),
    tracing: Tracing,
    (clock, proofs): (Arc<SystemClock>, AuthMaterial),
    mut signals: Signals,
) -> anyhow::Result<()> {
    // Before anyone can know that the broker is there and send it one, for it would end the process.
    let hangup = signal(SignalKind::hangup())?;
    if let Some(tls) = &proofs.tls {
        tokio::spawn(Arc::clone(tls).follow(signal(SignalKind::hangup())?));
    }
    if let Some(issuers) = &proofs.issuers {
        tokio::spawn(Arc::clone(issuers).follow());
    }
    let (bound, broker) = tokio::select! {
        ready = prepare(config, (sources, handed), tracing, clock, proofs) => ready?,
        () = signals.received() => return Ok(()),
    };
    if broker.is_open() {
        let addresses = bound.urls().join(", ");
        tracing::warn!(addresses, "no grants are configured: whoever can reach these addresses may have everything");
    }
    if broker.is_observing() {
        tracing::warn!(
            "policy.mode is observe: what the grants deny is given all the same, and put on record as observed"
        );
    }
    if let (Some(address), Some(api)) = (bound.aws_api_address(), &config.server.aws_api) {
        let (url, secret_file) = (format!("http://{address}{}", ecr::PREFIX), api.secret_file.display());
        tracing::info!(url, %secret_file, "AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL_ECR_PUBLIC are this URL with what is in the file behind it; where HTTP_PROXY is set, set NO_PROXY=127.0.0.1,localhost, or the proxy is sent the secret");
    }
    for address in bound.urls() {
        print_line(format_args!("listening on {address}"))?;
    }
    let (kept, warm) = (Arc::clone(&broker), config.keep_warm.clone());
    let keep_warm = move || Arc::clone(&kept).keep_warm(warm.clone());
    let warm = tokio::spawn(supervise::run("keeping registries warm", keep_warm));
    tokio::spawn(reload::keep_following(broker, config.server.issuers.clone(), sources.clone(), hangup));
    let ended = async {
        shutdown(signals).await;
        warm.abort();
    };
    bound.run_until(ended).await;
    Ok(())
}

/// Puts the parts together, up to listeners that are bound.
async fn prepare(
    config: &Config,
    (sources, mut handed): (&Sources, ActivatedSockets),
    tracing: Tracing,
    clock: Arc<SystemClock>,
    proofs: AuthMaterial,
) -> anyhow::Result<(Bound, Arc<Broker>)> {
    let aws = Arc::new(Aws::load(config.aws.clone(), clock.clone()).await?);
    let region = aws.region().map(|region| region.parse()).transpose().context("the AWS region")?;
    let source = Instrumented::new(AdmissionControl::new(Arc::clone(&aws)));
    let cache = CredentialCache::new(config.cache.clone(), Arc::new(source), clock.clone());
    report_power(&config.aws.profiles);
    if config.audit.is_none() {
        tracing::info!("there is no audit log; audit.output says where one goes");
    }
    let audit = config.audit.as_ref().map(|output| open_audit_log(output, &clock)).transpose()?;
    let settings = broker::Settings {
        policy: config.policy.clone(),
        profiles: config.aws.profiles.clone(),
        region,
        aliases: config.aliases.clone(),
        max_min_validity: config.max_min_validity,
    };
    let broker = Arc::new(Broker::new(cache.clone(), settings, audit));
    let limits = Limits::new(config.limits, clock);
    // Before the others and once: of those each may be tried in turn.
    let aws_api = config.server.aws_api.as_ref();
    let aws_api = aws_api.map(|api| bind_aws_api(api, proofs.ecr_api_secret.clone(), &mut handed)).transpose()?;
    let bind_to = |listen, handed| {
        let settings = server_settings(&config.server, listen, proofs.clone(), limits.clone());
        server::bind(settings, handed, Arc::clone(&broker), cache.clone(), tracing.clone())
    };
    let bound = bind(config, (sources, handed), bind_to)?;
    let bound = match aws_api {
        Some(aws_api) => bound.with_aws_api(aws_api),
        None => bound,
    };
    bound.refuse_loop(&aws.endpoint_overrides()).await?;
    Ok((bound, broker))
}

/// What the broker can do to images, beyond what its own identity can.
fn report_power(profiles: &[Profile]) {
    for profile in profiles {
        let texts = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
        tracing::info!(
            profile = %profile.name,
            roles = texts(&mut profile.role_chain.iter().map(ToString::to_string)),
            access = ?profile.access,
            repositories = texts(&mut profile.repositories.iter().map(ToString::to_string)),
            "credentials can be minted by this profile"
        );
    }
}

fn open_audit_log(output: &Output, clock: &Arc<SystemClock>) -> anyhow::Result<AuditLog> {
    AuditLog::open(output, clock.clone()).with_context(|| match output {
        Output::File(path) => format!("audit.output: {} cannot be opened to be written to", path.display()),
        Output::Stderr | Output::Stdout => "audit.output".to_owned(),
    })
}

/// The secret is made here, where it is certain that the broker starts with this configuration.
fn bind_aws_api(
    api: &config::AwsApi,
    secret: Option<Arc<Secret>>,
    handed: &mut ActivatedSockets,
) -> anyhow::Result<BoundAwsApi> {
    let secret = match secret {
        Some(secret) => secret.check_owner().map(|()| secret),
        None => Secret::read_or_make(&api.secret_file).map(Arc::new),
    };
    let secret = secret.with_context(|| format!("server.aws_api_secret_file: {}", api.secret_file.display()))?;
    server::bind_aws_api(api.listen, secret, handed).context("server.aws_api_listen")
}

fn sources(args: &Args, handed: &ActivatedSockets) -> Sources {
    let mut flags = Vec::new();
    if !args.listen.is_empty() {
        let list = args.listen.iter().cloned().map(toml::Value::String).collect();
        flags.push(("server.listen", "--listen", toml::Value::Array(list)));
    }
    flags.extend(loopback_flag(args.allow_loopback));
    flags.extend(aws_api_flags(args));
    #[cfg(feature = "simulator")]
    args.simulation.add_to(&mut flags);
    Sources {
        files: Files::read(args.config.as_deref()),
        handed: handed.addresses(),
        environment: config::environment(),
        flags,
    }
}

fn aws_api_flags(args: &Args) -> Vec<(&'static str, &'static str, toml::Value)> {
    let listen = args.aws_api_listen.clone();
    let listen = listen.map(|address| ("server.aws_api_listen", "--aws-api-listen", address.into()));
    // Of a flag it is clear from where.
    let file = args.aws_api_secret_file.as_ref().and_then(|file| std::path::absolute(file).ok());
    let file = file.map(|file| file.to_string_lossy().into_owned());
    let file = file.map(|file| ("server.aws_api_secret_file", "--aws-api-secret-file", file.into()));
    listen.into_iter().chain(file).collect()
}

fn server_settings(
    server: &config::Server,
    listen: Vec<ListenAddress>,
    proofs: AuthMaterial,
    limits: Limits,
) -> server::Settings {
    server::Settings {
        listen,
        drain_timeout: server.drain_timeout,
        max_connection_age: server.max_connection_age,
        max_connections: server.max_connections,
        max_connections_per_address: server.max_connections_per_address,
        max_connections_per_uid: server.max_connections_per_uid,
        loopback: server.loopback,
        tls: proofs.tls,
        issuers: proofs.issuers,
        limits,
    }
}

/// On the addresses that were given, else on the first of the usual sockets that can be made.
fn bind(
    config: &Config,
    (sources, handed): (&Sources, ActivatedSockets),
    try_on: impl Fn(Vec<ListenAddress>, ActivatedSockets) -> anyhow::Result<Bound>,
) -> anyhow::Result<Bound> {
    if !config.server.listen.is_empty() {
        return try_on(config.server.listen.clone(), handed);
    }
    let mut problems = Vec::new();
    for socket in usual_sockets(sources) {
        match try_on(vec![ListenAddress::Unix(socket)], ActivatedSockets::default()) {
            Ok(bound) => return Ok(bound),
            Err(problem) => problems.push(format!("{problem:#}")),
        }
    }
    anyhow::bail!("{}; name an address with --listen", problems.join("; "))
}

fn usual_sockets(sources: &Sources) -> Vec<PathBuf> {
    let runtime_dir = sources.environment.iter().find(|(name, value)| name == "XDG_RUNTIME_DIR" && !value.is_empty());
    default_sockets(runtime_dir.map(|(_, directory)| Path::new(directory)))
}

/// Comes back at the first signal; the second ends the process at once.
#[expect(clippy::exit, reason = "the second signal ends the process at once")]
async fn shutdown(mut signals: Signals) {
    signals.received().await;
    tokio::spawn(async move {
        signals.received().await;
        std::process::exit(IMPATIENT);
    });
}

#[cfg(feature = "simulator")]
mod simulation {
    //! `--simulate`: the simulated AWS behind the broker, in the same process.

    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use crate::address::{DEFAULT_TCP, ListenAddress};
    use crate::config::Config;
    use crate::simulator::{FaultRate, Settings};

    #[derive(Debug, clap::Args)]
    #[command(next_help_heading = "Simulation")]
    pub(super) struct Simulation {
        /// Put a simulated AWS behind the broker: everything runs, with no AWS account, and opens nothing
        #[arg(long)]
        simulate: bool,
        /// How long each answer of the simulated AWS takes
        #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = humantime::parse_duration)]
        #[arg(requires = "simulate")]
        simulate_latency: Duration,
        /// How long the simulated tokens last
        #[arg(long, default_value = "12h", value_name = "DURATION", value_parser = humantime::parse_duration)]
        #[arg(requires = "simulate")]
        simulate_token_lifetime: Duration,
        /// Let a part of the simulated calls fail: KIND is throttle, throttle-exception, http-429, denied, server-error, hang or
        /// garbage, RATE is 0 to 1
        #[arg(long, value_name = "KIND=RATE", requires = "simulate")]
        simulate_fault: Vec<FaultRate>,
    }

    impl Simulation {
        /// What `--simulate` means for the configuration.
        pub(super) fn add_to(&self, flags: &mut Vec<(&'static str, &'static str, toml::Value)>) {
            if !self.simulate {
                return;
            }
            flags.push(("authentication.loopback", "--simulate", true.into()));
        }

        /// Starts the simulated AWS and points the configuration at it.
        pub(super) async fn start(&self, mut config: Config) -> anyhow::Result<Config> {
            if !self.simulate {
                return Ok(config);
            }
            let settings = Settings {
                latency: self.simulate_latency,
                token_lifetime: self.simulate_token_lifetime,
                faults: self.simulate_fault.clone(),
            };
            let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let simulator = crate::cli::simulate::bind(any_port, &settings).await?;
            let endpoint = format!("http://{}", simulator.address());
            tracing::warn!(%endpoint, "AWS is simulated: the credentials open nothing");
            if config.server.listen.is_empty() {
                config.server.listen.push(ListenAddress::Tcp(DEFAULT_TCP));
            }
            config.aws.ecr_endpoints.clear();
            config.aws.ecr_endpoint = Some(endpoint.clone());
            config.aws.ecr_public_endpoint = Some(endpoint.clone());
            config.aws.sts_endpoint = Some(endpoint);
            config.aws.region.get_or_insert_with(|| "us-east-1".to_owned());
            config.aws.simulated_credentials = true;
            tokio::spawn(simulator.run_until(std::future::pending()));
            Ok(config)
        }
    }
}
