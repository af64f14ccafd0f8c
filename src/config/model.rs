//! The typed configuration: for each module the settings that it takes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use crate::address::ListenAddress;
use crate::audit;
use crate::authn::{jwt, tls};
use crate::cache;
use crate::caller::DnsName;
use crate::credential::ProfileName;
use crate::limits;
use crate::policy::lint::AcceptedIdentities;
use crate::policy::{Policy, RegistryPattern};
use crate::profile::Profile;
use crate::registry::{Aliases, Registry};
use crate::server;
use crate::source::aws;
use crate::source::broker::{self, Fallback};
use crate::source::shared_cache::valkey;

/// A configuration that passed every check.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners and connections.
    pub server: Server,
    /// AWS endpoints, timeouts and profiles.
    pub aws: aws::Settings,
    /// Brokers that this broker asks instead of AWS. The first that covers a registry and profile is asked.
    pub parents: Vec<broker::Settings>,
    /// Credential cache.
    pub cache: cache::Settings,
    /// What has its own token.
    pub token_scope: cache::TokenScope,
    /// Memory of the copy of the cache that outlives a restart; zero: no copy.
    pub restart_memory: u64,
    /// The cache that several brokers share, if there is one.
    pub shared_cache: Option<SharedCache>,
    /// Registries whose credentials are refreshed without requests.
    pub keep_warm: Vec<Registry>,
    /// Other host names for registries.
    pub aliases: Aliases,
    /// Maximum `min_validity` of a request.
    pub max_min_validity: Duration,
    /// Grants and how they are enforced.
    pub policy: Policy,
    /// The file of each grant, by the grant's ID.
    pub grant_files: BTreeMap<String, String>,
    /// Limits per caller and origin.
    pub limits: limits::Settings,
    /// Denials and failures of one caller that are recorded per second.
    pub denials_recorded_per_second: NonZeroU32,
    /// The audit log, if there is one.
    pub audit: Option<audit::Settings>,
    /// Log filter and format.
    pub log: Log,
}

/// The cache that several brokers share.
#[derive(Debug, Clone)]
pub struct SharedCache {
    /// Its servers.
    pub server: valkey::Settings,
    /// The file with the keys that name and seal entries.
    pub keys_file: PathBuf,
    /// The name of the broker's own AWS identity.
    pub own: aws::OwnIdentity,
}

/// Listeners and connections.
#[derive(Debug, Clone)]
pub struct Server {
    /// Addresses to listen on; empty: the default sockets.
    pub listen: Vec<ListenAddress>,
    /// Who may connect to the Unix sockets of `listen`.
    pub socket: server::SocketAccess,
    /// Whether any process of this host may call over loopback TCP.
    pub loopback: bool,
    /// Whether cache hits take the fast path.
    pub fast_path: bool,
    /// Maximum number of cached credentials that metrics show one by one.
    pub ops_max_keys: usize,
    /// Limits of connections and of the drain.
    pub connections: server::Settings,
    /// The ops listener, if there is one.
    pub ops: Option<Ops>,
    /// The JSON API, if it is served.
    pub json: Option<Json>,
    /// The ECR-compatible API, if it is served.
    pub aws_api: Option<AwsApi>,
    /// TLS of TCP listeners; none: plaintext.
    pub tls: Option<tls::Settings>,
    /// Accepted issuers of bearer tokens.
    pub issuers: Vec<jwt::Settings>,
}

/// The ops listener.
#[derive(Debug, Clone)]
pub struct Ops {
    /// Its address.
    pub listen: ListenAddress,
    /// DNS names by which it is reached.
    pub hosts: Vec<DnsName>,
    /// Whether it speaks plaintext beyond loopback.
    pub allow_plaintext: bool,
}

/// The listener of the JSON API.
#[derive(Debug, Clone)]
pub struct Json {
    /// Its address.
    pub listen: ListenAddress,
    /// DNS names by which it is reached.
    pub hosts: Vec<DnsName>,
}

/// The listener of the ECR-compatible API.
#[derive(Debug, Clone)]
pub struct AwsApi {
    /// The loopback address.
    pub listen: SocketAddr,
    /// The file with the secret of its callers.
    pub secret_file: PathBuf,
}

/// Log filter and format.
#[derive(Debug, Clone)]
pub struct Log {
    /// Directives in the syntax of `RUST_LOG`.
    pub filter: String,
    /// Format of log lines.
    pub format: LogFormat,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// JSON, one object per line.
    Json,
    /// Text.
    Text,
}

/// An experimental feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Experiment {
    /// Grants may limit lifetimes.
    BearerTokens,
}

impl Experiment {
    /// The names in the configuration.
    pub(super) const NAMES: [(&'static str, Self); 1] = [("bearer-tokens", Self::BearerTokens)];
}

/// Effect of a denial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// The request is denied.
    #[default]
    Enforce,
    /// The request is allowed, and the audit log marks it as observed.
    Observe,
}

impl Config {
    /// Checks that there is a region if STS needs one and nothing else can name it: IMDS is disabled.
    ///
    /// # Errors
    /// The missing setting.
    pub fn check_region(&self) -> Result<(), Vec<Diagnostic>> {
        let aws = &self.aws;
        if aws.region.is_some() || !aws.needs_region || !aws.imds_disabled || !self.needs_aws() {
            return Ok(());
        }
        Err(vec![Diagnostic { place: "aws.region".to_owned(), problem: aws::NO_REGION.to_owned() }])
    }

    /// Returns whether AWS serves anything: own profiles, what no parent covers, or what it serves while a parent is unreachable.
    #[must_use]
    pub fn needs_aws(&self) -> bool {
        let default = ProfileName::default_profile();
        let is_covered = |pattern| self.parents.iter().any(|parent| parent.covers_all(&pattern, &default));
        let has_fallback = self.parents.iter().any(|parent| parent.fallback == Fallback::Aws);
        let all_covered = [RegistryPattern::every_private(), RegistryPattern::Public].into_iter().all(is_covered);
        has_fallback || !self.aws.profiles.is_empty() || !all_covered
    }

    /// Returns the profiles that grants may name beside `default`: the broker's own, then those that only parents know.
    #[must_use]
    pub fn profiles(&self) -> Vec<Profile> {
        let own = &self.aws.profiles;
        let of_parents =
            broker::profiles_of(&self.parents).filter(|name| own.iter().all(|profile| profile.name != *name));
        own.iter().cloned().chain(of_parents.map(Profile::of_parent)).collect()
    }

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
}
