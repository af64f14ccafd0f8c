//! The broker's configuration: what was typed, then what it means.
//!
//! A value comes from a flag, else from `ECR_BROKER_<SECTION>_<KEY>`, else from the file, else it is the default. Every mistake
//! in it is found in one run and reported with its place, so that an operator mends a file once.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use self::reader::Reader;
use crate::address::ListenAddress;
use crate::audit::Output;
use crate::authn::{jwt, tls};
use crate::cache;
use crate::limits;
use crate::policy::Policy;
use crate::policy::lint::AcceptedIdentities;
use crate::profile::Profile;
use crate::registry::{Aliases, Registry};
use crate::source::aws;
use crate::source::aws::admission::LONGEST_QUEUE;
use crate::source::aws::web_identity::WebIdentity;
use crate::trusted_file;

mod aliases;
mod files;
mod grants;
mod issuers;
mod list;
mod print;
mod profiles;
mod reader;
mod settings;
mod values;
mod write;

pub use self::files::Files;
pub use self::print::{effective, example};
pub use self::write::grants_as_toml;

/// Calls to AWS for what is kept warm. ECR takes 500 a second in a region, and others need some.
const MOST_REFRESHES_PER_SECOND: f64 = 10.0;

/// Where the values come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if one was named, and those that it includes.
    pub files: Files,
    /// Where sockets are open already, that were handed over at the start.
    pub handed: Vec<ListenAddress>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// What was given on the command line: the setting's name, the flag, and the value.
    pub flags: Vec<(&'static str, &'static str, toml::Value)>,
}

/// A configuration without a mistake in it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners and connections.
    pub server: Server,
    /// How AWS is called.
    pub aws: aws::Settings,
    /// How credentials are held.
    pub cache: cache::Settings,
    /// Registries whose credentials are kept fresh, whether or not somebody asks.
    pub keep_warm: Vec<Registry>,
    /// Names of one's own for registries.
    pub aliases: Aliases,
    /// The most that a caller may ask a credential to last.
    pub max_min_validity: std::time::Duration,
    /// Who may have what.
    pub policy: Policy,
    /// How much one caller may ask for.
    pub limits: limits::Settings,
    /// Where the audit log goes, if there is one.
    pub audit: Option<Output>,
    /// What is logged, and how.
    pub log: Log,
}

/// Listeners and connections.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where to listen; empty: the default places.
    pub listen: Vec<ListenAddress>,
    /// Whether any process of this host may call over loopback TCP.
    pub loopback: bool,
    /// How long requests in flight may take to finish after SIGTERM.
    pub drain_timeout: std::time::Duration,
    /// How old a connection becomes, about.
    pub max_connection_age: std::time::Duration,
    /// How many connections are kept.
    pub max_connections: usize,
    /// How many of them from one IP address.
    pub max_connections_per_address: usize,
    /// How many of them from one user, over Unix sockets.
    pub max_connections_per_uid: usize,
    /// Where AWS's API is answered, if it is.
    pub aws_api: Option<AwsApi>,
    /// What TCP listeners speak; none: plaintext.
    pub tls: Option<tls::Settings>,
    /// Whose bearer tokens are taken.
    pub issuers: Vec<jwt::Settings>,
}

/// Where AWS's API is answered.
#[derive(Debug, Clone)]
pub struct AwsApi {
    /// The address, on loopback.
    pub listen: SocketAddr,
    /// What holds the secret of its callers.
    pub secret_file: PathBuf,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// Directives in the form of `RUST_LOG`.
    pub filter: String,
    /// The lines' form.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What becomes of what the grants deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is denied.
    Enforce,
    /// It is given and put on record.
    Observe,
}

/// Something wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, the variable or the flag.
    pub place: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn load(sources: &Sources) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader::new(sources);
        let config = Self::read(&mut reader);
        config.check(&mut reader);
        let diagnostics = reader.into_diagnostics();
        if diagnostics.is_empty() { Ok(config) } else { Err(diagnostics) }
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let profiles = reader.profiles();
        let aws = read_aws(reader, profiles.clone());
        Self {
            server: read_server(reader),
            cache: cache::Settings {
                refresh_after: reader.get(&settings::REFRESH_AFTER),
                safety_margin: reader.get(&settings::SAFETY_MARGIN),
                capacity: reader.get(&settings::CAPACITY),
                max_waiters: usize::try_from(reader.get(&settings::MAX_WAITERS)).unwrap_or(usize::MAX),
                fetch_timeout: LONGEST_QUEUE + aws.operation_timeout + std::time::Duration::from_secs(1),
            },
            keep_warm: reader.get(&settings::KEEP_WARM),
            aliases: reader.aliases(),
            max_min_validity: reader.get(&settings::MAX_MIN_VALIDITY),
            policy: read_policy(reader, &profiles),
            limits: read_limits(reader),
            audit: reader.get(&settings::AUDIT_OUTPUT),
            log: Log { filter: reader.get(&settings::LOG_FILTER), format: reader.get(&settings::LOG_FORMAT) },
            aws,
        }
    }

    /// What no value is wrong about by itself.
    fn check(&self, reader: &mut Reader<'_>) {
        self.check_listeners(reader);
        if self.policy.is_observed() && self.audit.is_none() {
            reader.report(
                &settings::POLICY_MODE,
                "what is observed is put on record, and there is no audit log; set audit.output",
            );
        }
        if self.limits.in_flight >= self.cache.max_waiters {
            reader.report(
                &settings::IN_FLIGHT,
                "it is not less than cache.max_waiters, so that one caller could turn away all others",
            );
        }
        self.check_keep_warm(reader);
        if self.cache.safety_margin > self.max_min_validity {
            reader.report(
                &settings::SAFETY_MARGIN,
                "it is more than cache.max_min_validity; no credential could be handed out",
            );
        }
        if self.aws.attempt_timeout > self.aws.operation_timeout {
            reader
                .report(&settings::ATTEMPT_TIMEOUT, "it is more than aws.operation_timeout, which holds all attempts");
        }
    }
}

impl Config {
    /// Returns the kinds of authentication that the broker accepts.
    #[must_use]
    pub fn accepted_identities(&self) -> AcceptedIdentities {
        let tls = self.server.tls.as_ref();
        AcceptedIdentities {
            loopback: self.server.loopback,
            aws_api: self.server.aws_api.is_some(),
            trust_domains: tls.map(|tls| tls.trust_domains.keys().cloned().collect()).unwrap_or_default(),
            dns_names: tls.map(|tls| tls.dns_names.keys().cloned().collect()).unwrap_or_default(),
            issuers: self.server.issuers.iter().map(|one| (one.name.clone(), one.issuer.clone())).collect(),
        }
    }

    /// One port speaks one protocol.
    fn check_aws_api(&self, reader: &mut Reader<'_>) {
        let Some(api) = &self.server.aws_api else { return };
        if api.listen.port() != 0 && self.server.listen.contains(&ListenAddress::Tcp(api.listen)) {
            reader.report(&settings::AWS_API_LISTEN, "it is in server.listen, too; give each its own port");
        }
    }

    /// The mode of a socket that the broker makes itself is 0660.
    fn check_handed_sockets(&self, reader: &mut Reader<'_>) {
        if !self.policy.allows_everything() {
            return;
        }
        for address in reader.handed() {
            let ListenAddress::Unix(path) = address else { continue };
            if trusted_file::is_writable_by_all(path) {
                reader.report_handed(&format!(
                    "{address} can be connected to by everybody, who would have everything; give it SocketMode=0660, or write grants and enforce them"
                ));
            }
        }
    }

    /// What is kept warm must fit, and AWS be asked for it no more often than it may be for a list.
    fn check_keep_warm(&self, reader: &mut Reader<'_>) {
        let of_one = |registry: &Registry| self.policy.profiles_for(registry).len();
        let count: usize = self.keep_warm.iter().map(of_one).sum();
        if u64::try_from(count).unwrap_or(u64::MAX) > self.cache.capacity {
            reader.report(
                &settings::KEEP_WARM,
                "its registries, by each profile that is granted for them, are more than cache.capacity holds",
            );
        }
        let interval = self.cache.refresh_after.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "nobody lists so many")]
        if count as f64 / interval > MOST_REFRESHES_PER_SECOND {
            reader.report(
                &settings::KEEP_WARM,
                "so many registries, by each profile that is granted for them, refreshed after cache.refresh_after, are more than ten calls to AWS a second; list fewer, or refresh them less often",
            );
        }
    }

    /// Nobody may come in who does not say who they are, and nothing secret goes over a network in the clear.
    fn check_listeners(&self, reader: &mut Reader<'_>) {
        if !self.server.issuers.is_empty() && self.policy.allows_everything() {
            reader.report_file("authentication.jwt: whoever has any token of these issuers would have everything; write grants, and enforce them (policy.mode)");
        }
        self.check_handed_sockets(reader);
        self.check_aws_api(reader);
        let has_tls = self.server.tls.is_some();
        let certificates = self.server.tls.as_ref().is_some_and(tls::Settings::knows_clients);
        let knows_clients = certificates || !self.server.issuers.is_empty();
        for address in self.server.listen.iter().filter(|address| matches!(address, ListenAddress::Tcp(_))) {
            let problem = match (address.is_local(), has_tls, knows_clients) {
                (false, true, true) if self.policy.allows_everything() => format!(
                    "{address} can be reached from other hosts, and whoever has a certificate or token would have everything; write grants, and enforce them (policy.mode)"
                ),
                (_, true, true) | (true, _, true) => continue,
                (true, ..) if self.server.loopback => continue,
                (true, ..) => format!(
                    "{address} lets any process of this host in; if that is meant, set authentication.loopback = true or give --allow-loopback, else listen on a Unix socket, or know callers by their certificates (server.tls, authentication.client_ca) or tokens ([[authentication.jwt]])"
                ),
                (false, false, _) => format!(
                    "{address} can be reached from other hosts, and without TLS anybody on the way reads what is sent; set server.tls, and authentication.client_ca or [[authentication.jwt]] to know callers by, or listen on a Unix socket"
                ),
                (false, true, false) => format!(
                    "{address} can be reached from other hosts, and nothing says who may call; set authentication.client_ca, authentication.client_dns or [[authentication.jwt]], or listen on a Unix socket"
                ),
            };
            if reader.handed().contains(address) {
                reader.report_handed(&problem);
            } else {
                reader.report(&settings::LISTEN, &problem);
            }
        }
    }
}

fn read_tls(reader: &mut Reader<'_>) -> Option<tls::Settings> {
    let (certificate, key) = (reader.get(&settings::TLS_CERTIFICATE), reader.get(&settings::TLS_KEY));
    let (trust_domains, dns_names) = (reader.get(&settings::CLIENT_CA), reader.get(&settings::CLIENT_DNS));
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, Some(_)) => {
            reader.report(&settings::TLS_KEY, "it needs the certificate that it belongs to: server.tls.certificate");
            return None;
        }
        (Some(_), None) => {
            reader.report(&settings::TLS_CERTIFICATE, "it needs its key: server.tls.key");
            return None;
        }
        (None, None) => {
            let without = "client certificates are shown over TLS only; set server.tls.certificate and server.tls.key";
            if !trust_domains.is_empty() {
                reader.report(&settings::CLIENT_CA, without);
            }
            if !dns_names.is_empty() {
                reader.report(&settings::CLIENT_DNS, without);
            }
            return None;
        }
    };
    Some(tls::Settings { certificate, key, trust_domains, dns_names })
}

/// Its callers show a secret, and so there has to be one.
fn read_aws_api(reader: &mut Reader<'_>) -> Option<AwsApi> {
    let (listen, secret_file) = (reader.get(&settings::AWS_API_LISTEN), reader.get(&settings::AWS_API_SECRET_FILE));
    match (listen, secret_file) {
        (Some(listen), Some(secret_file)) => return Some(AwsApi { listen, secret_file }),
        (Some(_), None) if reader.find(&settings::AWS_API_SECRET_FILE.about).is_none() => reader.report(
            &settings::AWS_API_LISTEN,
            "its callers show a secret; set server.aws_api_secret_file (--aws-api-secret-file) to the file that holds it, or where the broker is to make one",
        ),
        (None, Some(_)) if reader.find(&settings::AWS_API_LISTEN.about).is_none() => reader.report(
            &settings::AWS_API_SECRET_FILE,
            "it is the secret of the AWS API, which is not served; set server.aws_api_listen",
        ),
        _ => {}
    }
    None
}

/// What was handed over is listened on beside what is configured, or instead of the default places.
fn read_listen(reader: &mut Reader<'_>, aws_api: Option<&AwsApi>) -> Vec<ListenAddress> {
    let mut listen = reader.get(&settings::LISTEN);
    let taken = aws_api.map(|api| ListenAddress::Tcp(api.listen));
    let further = reader.handed().iter().filter(|address| !listen.contains(address) && taken.as_ref() != Some(address));
    listen.extend(further.cloned().collect::<Vec<_>>());
    listen
}

fn read_server(reader: &mut Reader<'_>) -> Server {
    let mut count = |setting| usize::try_from(reader.get(setting)).unwrap_or(usize::MAX);
    let max_connections = count(&settings::MAX_CONNECTIONS);
    let max_connections_per_address = count(&settings::MAX_CONNECTIONS_PER_ADDRESS);
    let max_connections_per_uid = count(&settings::MAX_CONNECTIONS_PER_UID);
    let aws_api = read_aws_api(reader);
    Server {
        listen: read_listen(reader, aws_api.as_ref()),
        loopback: reader.get(&settings::LOOPBACK),
        drain_timeout: reader.get(&settings::DRAIN_TIMEOUT),
        max_connection_age: reader.get(&settings::MAX_CONNECTION_AGE),
        max_connections,
        max_connections_per_address,
        max_connections_per_uid,
        aws_api,
        tls: read_tls(reader),
        issuers: reader.issuers(),
    }
}

fn read_policy(reader: &mut Reader<'_>, profiles: &[Profile]) -> Policy {
    match (reader.grants(profiles), reader.get(&settings::POLICY_MODE)) {
        (Policy::Open, _) if reader.includes() => {
            reader.report_file("include: there are no [[grants]] in this file nor in those that it includes, and everybody would have everything; write some, or grants = []");
            Policy::Open
        }
        (Policy::Grants(grants), Mode::Observe) => Policy::Observed(grants),
        (Policy::Open, Mode::Observe) => {
            reader.report(&settings::POLICY_MODE, "there are no [[grants]] to observe; write some, or grants = []");
            Policy::Open
        }
        (policy, _) => policy,
    }
}

fn read_limits(reader: &mut Reader<'_>) -> limits::Settings {
    let mut rate =
        |setting| u32::try_from(reader.get(setting)).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
    limits::Settings {
        requests_per_second: rate(&settings::REQUESTS_PER_SECOND),
        failures_per_second: rate(&settings::FAILURES_PER_SECOND),
        in_flight: usize::try_from(reader.get(&settings::IN_FLIGHT)).unwrap_or(usize::MAX),
    }
}

fn read_aws(reader: &mut Reader<'_>, profiles: Vec<Profile>) -> aws::Settings {
    aws::Settings {
        region: reader.get(&settings::REGION),
        ca_bundle: reader
            .get(&settings::CA_BUNDLE)
            .or_else(|| reader.get_variable("AWS_CA_BUNDLE", settings::CA_BUNDLE.read)),
        ecr_endpoint: reader.get(&settings::ECR_ENDPOINT),
        ecr_endpoints: reader.get(&settings::ECR_ENDPOINTS),
        ecr_public_endpoint: reader.get(&settings::ECR_PUBLIC_ENDPOINT),
        ecr_public_region: reader.get(&settings::ECR_PUBLIC_REGION),
        sts_endpoint: reader.get(&settings::STS_ENDPOINT),
        web_identity: web_identity(reader),
        connect_timeout: reader.get(&settings::CONNECT_TIMEOUT),
        attempt_timeout: reader.get(&settings::ATTEMPT_TIMEOUT),
        operation_timeout: reader.get(&settings::OPERATION_TIMEOUT),
        profiles,
        simulated_credentials: false,
    }
}

/// What the AWS SDK would take from the environment by itself, in its order: access keys go first.
fn web_identity(reader: &Reader<'_>) -> Option<WebIdentity> {
    if reader.variable("AWS_ACCESS_KEY_ID").is_some() {
        return None;
    }
    Some(WebIdentity {
        role_arn: reader.variable("AWS_ROLE_ARN")?.to_owned(),
        token_file: reader.variable("AWS_WEB_IDENTITY_TOKEN_FILE")?.into(),
        session_name: reader.variable("AWS_ROLE_SESSION_NAME").unwrap_or("ecr-broker").to_owned(),
    })
}

/// The environment as it is: the one place that reads it for the broker.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment for the broker")]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests;
