//! The settings table: to add a setting, add an entry and use its field.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use spiffe::TrustDomain;

use super::model::{Experiment, LogFormat, Mode};
use super::reader::Reader;
use super::setting::{Section, Setting, SettingMeta};
use super::value_type::ValueType;
use super::values::{
    ADDRESS, ADDRESSES, AUDIT_FAILURE, AUDIT_OUTPUT, BOOLEAN, CA_BUNDLE, DNS_NAMES, ENDPOINT, ENDPOINTS, EXPERIMENTS,
    GROUP, HOSTS, KEY_PREFIX, LOG_FILTER, LOG_FORMAT, LOOPBACK_ADDRESS, NETWORKS, OPTIONAL_NAME, PATH, POLICY_MODE,
    REGION, REGIONS, REGISTRIES, REQUIRED_REGION, REVOCATIONS, SERVERS, SOCKET_MODE, TOKEN_SCOPE, TRUST_DOMAINS, bytes,
    count, duration,
};
use crate::address::ListenAddress;
use crate::audit::Output;
use crate::cache::TokenScope;
use crate::caller::DnsName;
use crate::registry::{Region, Registry};
use crate::source::shared_cache::valkey::Target;

#[macro_use]
mod define;

define_sections! {
    /// Settings above every section.
    "" General {
        /// Features that may change or end with any version, each by its name. `bearer-tokens`: grants may have
        /// `max_lifetime`, and mint by `signin:CreateBearerToken` (docs/authorization.md). It must stand above
        /// every section.
        experimental: BTreeSet<Experiment> = [], EXPERIMENTS, example ["bearer-tokens"];
    }

    /// Listeners and connections.
    "server" Server {
        /// Addresses to listen on: `unix:/PATH` or `IP:PORT`. A TCP address needs callers that
        /// `[authentication]` can identify; an address that other hosts reach also needs `[server.tls]`.
        /// Empty: the first of `/run/ecr-broker/broker.sock` and `$XDG_RUNTIME_DIR/ecr-broker/broker.sock`
        /// that can be created.
        listen: Vec<ListenAddress> = [], ADDRESSES, example ["unix:/run/ecr-broker/broker.sock"];

        /// Group of the Unix sockets in `listen` and `json_listen`, and of a directory that the broker creates
        /// for one. Its members may connect. A name of `/etc/group`, or an ID; the broker's user must be root
        /// or in it. Set it where callers and the broker share no group. Not set: the broker's own group.
        socket_group: Option<u32>, GROUP, example "977";

        /// Permissions of the Unix sockets in `listen` and `json_listen`, in octal. `"0666"` lets every user
        /// connect and needs `[[grants]]`; the directory must let them pass, too. Lower it to `"0600"` for one
        /// user.
        socket_mode: u32 = "0660", SOCKET_MODE;

        /// Time limit for requests in flight after SIGTERM. Keep it below the time after which the service
        /// manager kills the broker (systemd: `TimeoutStopSec`).
        drain_timeout: Duration = "20s", duration(Duration::from_secs(1), Duration::from_mins(10));

        /// Time between SIGTERM and the drain. Health and `/readyz` report the shutdown at once, and the broker
        /// still accepts and serves everything. Set it where load balancers need time to notice (Kubernetes:
        /// 5 s); it adds to `drain_timeout`.
        drain_delay: Duration = "0s", duration(Duration::ZERO, Duration::from_mins(10));

        /// Approximate age at which a connection closes: it accepts no new requests and finishes those in
        /// flight. Lower it so that clients reconnect sooner, perhaps to another replica.
        max_connection_age: Duration = "1h", duration(Duration::from_secs(10), Duration::from_hours(7 * 24));

        /// Maximum number of open connections over TCP. As many may be open over Unix sockets, and as many to
        /// the ECR-compatible API.
        max_connections: usize = 4096, count(1, 1_000_000);

        /// Maximum number of open connections from one IPv4 address or one IPv6 /64 network. Raise it for
        /// clients behind one NAT or proxy, or set `proxy_protocol_from`.
        max_connections_per_address: usize = 256, count(1, 1_000_000);

        /// Maximum number of open connections from one user over Unix sockets.
        max_connections_per_uid: usize = 1024, count(1, 1_000_000);

        /// Fast path for cache hits of `GetRegistryCredentials`. It answers exactly as the ordinary path,
        /// with less CPU. Turn it off to rule it out while you look for a fault; nothing else changes.
        fast_path: bool = true, BOOLEAN;

        /// Networks of load balancers that forward TCP connections to the broker and put a PROXY protocol v2
        /// header before them. The header is required from there and refused from elsewhere. Its address
        /// serves limits and logs; it proves nothing, and is never loopback.
        proxy_protocol_from: Vec<IpNet> = [], NETWORKS, example ["10.0.0.0/24"];

        /// Address of the ops listener, `IP:PORT` or `unix:/PATH`: `/livez`, `/readyz`, `/metrics` and
        /// `/status` over HTTP/1.1, read-only. Beyond loopback it speaks TLS, or needs `ops_allow_plaintext`.
        /// Not set: no ops listener.
        ops_listen: Option<ListenAddress>, ADDRESS, example "127.0.0.1:9464";

        /// DNS names by which the ops listener is reached beside `localhost` and IP addresses. A request with
        /// another `Host` is refused, so that no website can reach it through a browser.
        ops_hosts: Vec<DnsName> = [], HOSTS, example ["broker-1.corp.example"];

        /// Permission for the ops listener to speak plaintext beyond loopback, even with `[server.tls]`. Set it
        /// where probes and Prometheus come over a trusted network, such as that of a cluster's pods.
        ops_allow_plaintext: bool = false, BOOLEAN;

        /// Maximum number of cached credentials that `metrics.per_key` shows, those that expire first. Raise
        /// it if your monitoring takes as many series from each broker.
        ops_max_keys: usize = 500, count(1, 10_000);

        /// Address of the JSON API, `IP:PORT` or `unix:/PATH`: `/v1/credentials` over HTTP/1.1 for programs
        /// without gRPC. Callers need a bearer token or a client certificate; over the socket their user is
        /// known. Beyond loopback it needs `[server.tls]`. Not set: no JSON API.
        json_listen: Option<ListenAddress>, ADDRESS, example "unix:/run/ecr-broker/json.sock";

        /// DNS names by which the JSON API is reached beside `localhost` and IP addresses, such as that of a
        /// Kubernetes Service. A request with another `Host` is refused.
        json_hosts: Vec<DnsName> = [], HOSTS, example ["ecr-broker.ecr-broker.svc"];

        /// Loopback address of the ECR-compatible API: it answers GetAuthorizationToken for programs that
        /// only know AWS. Point them at it with `AWS_ENDPOINT_URL_ECR=http://127.0.0.1:9911/t/SECRET` and
        /// `AWS_ENDPOINT_URL_ECR_PUBLIC`. Not set: the API is not served.
        aws_api_listen: Option<SocketAddr>, LOOPBACK_ADDRESS, example "127.0.0.1:9911";

        /// File with the secret in that URL: at least 32 letters, digits, `_` and `-`. Every process that
        /// knows the secret may call. If the file is missing, the broker creates it with a new secret and
        /// mode 0600.
        aws_api_secret_file: Option<PathBuf>, PATH, example "/var/lib/ecr-broker/aws-api-secret";
    }

    /// TLS of the TCP listeners.
    "server.tls" Tls {
        /// Certificate of the broker and its intermediates (PEM). With it and the key, every TCP listener
        /// speaks TLS 1.3. The broker reloads both, and the roots of clients, when the files change and on
        /// SIGHUP.
        certificate: Option<PathBuf>, PATH, example "/etc/ecr-broker/tls.crt";

        /// Private key of that certificate (PEM).
        key: Option<PathBuf>, PATH, example "/etc/ecr-broker/tls.key";
    }

    /// Authentication of TCP callers. Unix socket callers are known by their user.
    "authentication" Authentication {
        /// Permission for every process of this host, or of this pod, to call over loopback TCP.
        loopback: bool = false, BOOLEAN;

        /// SPIFFE trust domains and the root certificates of each (PEM). A client certificate with one
        /// SPIFFE ID identifies the caller if a root of that ID's own trust domain signed it.
        client_ca: BTreeMap<TrustDomain, PathBuf> = {}, TRUST_DOMAINS,
            example { "prod.example" = "/etc/ecr-broker/prod-ca.pem" };

        /// DNS names and the root certificates for each (PEM), for clients whose certificates have no URI.
        client_dns: BTreeMap<DnsName, PathBuf> = {}, DNS_NAMES,
            example { "build-1.corp.example" = "/etc/ecr-broker/corp-ca.pem" };

        /// Certificate revocation lists (PEM or DER) by the trust domain or DNS name whose roots they belong
        /// to. A revoked certificate is refused in the handshake and at the next call of an open connection.
        /// The broker reloads the file like the roots. A list past its nextUpdate stays in force.
        client_crl: BTreeMap<String, PathBuf> = {}, REVOCATIONS,
            example { "build-1.corp.example" = "/etc/ecr-broker/corp-ca.crl" };
    }

    /// Enforcement of the grants.
    "policy" Policy {
        /// Effect of a denial. `enforce`: the request fails. `observe`: the request succeeds, by the broker's
        /// own identity or the requested profile, and the audit log marks it as observed. Use `observe` while
        /// you write grants; it needs `audit.output`, a restart, and callers of this host only.
        mode: Mode = "enforce", POLICY_MODE;
    }

    /// Limits per caller and origin.
    "limits" Limits {
        /// Requests per second of one caller from another host; burst: 10 s. A batch counts each registry,
        /// and a page of `ListRegistries` counts one for each ten entries.
        requests_per_second: u32 = 1000, count(10, 1_000_000);

        /// Requests per second of one caller of this host: a Unix user, loopback, or the ECR-compatible API;
        /// burst: 10 s. Raise it if one user or proxy of this host calls for a large build farm.
        local_requests_per_second: u32 = 2000, count(10, 1_000_000);

        /// Maximum number of requests in flight of one caller. Keep it below `cache.max_waiters`, or one
        /// caller can make the broker reject all others.
        in_flight: usize = 12288, count(100, 1_000_000);

        /// Memory of all watches together. A watch counts 12 KiB, 2 KiB for each registry, 16 bytes for each
        /// known ID, and the claims of its token. An eighth more is kept for callers with less than 3 MiB.
        /// Raise it, and the memory of the service, for large fleets.
        watch_memory: u64 = "60MiB", bytes(1 << 20, 1 << 40);

        /// Memory of the watches of one caller, at most `watch_memory`. Raise it if one caller, such as a
        /// proxy, watches for a fleet: 52 MiB are about 3,700 watches of one registry.
        watch_memory_per_caller: u64 = "52MiB", bytes(1 << 20, 1 << 40);

        /// Failed authentication attempts per second and origin; burst: 10 s. Further attempts are rejected
        /// until the budget refills. TLS handshakes, bearer tokens (or secrets of the ECR-compatible API)
        /// and calls without any proof have a budget each. An origin is an IPv4 address, an IPv6 /64
        /// network, a user of this host, or the ECR-compatible API.
        failures_per_second: u32 = 100, count(1, 1_000_000);

        /// Maximum number of open TCP connections without a client certificate and without an accepted token.
        /// From three quarters of it on, each new one ends another, first of the address that has most.
        unproved_connections: usize = 1024, count(1, 1_000_000);

        /// Denials of one caller that get a log line and an audit record each, per second; further ones are
        /// counted, and the count is written once a minute. The same limit holds for each other kind of
        /// failure. All callers of an issuer, of a trust domain or of this host together: 250 per second, or
        /// this limit if it is higher. Raise it to review denials one by one.
        denials_recorded_per_second: u32 = 10, count(1, 1_000_000);
    }

    /// Audit log.
    "audit" Audit {
        /// Destination of the audit log: `stderr`, `stdout` or a regular file. It gets one JSON line per
        /// released credential, before the release, and one per denial. Not set: no audit log.
        output: Option<Output>, AUDIT_OUTPUT, example "/var/log/ecr-broker/audit.jsonl";

        /// Free space of the file's filesystem that only records of releases may use. Below it, denials and
        /// failed authentications are only counted. One caller's releases may then use an eighth of what is
        /// left, and those of an issuer, a trust domain or this host a half; beyond it the caller gets
        /// `AUDIT_UNAVAILABLE`. Set it well below the size of a small filesystem.
        reserve: u64 = "64MiB", bytes(0, 1 << 40);

        /// What becomes of a release whose record cannot be written. `"refuse"`: `AUDIT_UNAVAILABLE`.
        /// `"release"`: the credential is released, and its record waits in memory until the log works again;
        /// it is lost if the broker ends before. Set it where a failed build is worse than a missing record.
        on_failure: bool = "refuse", AUDIT_FAILURE;

        /// Memory of the records that wait with `on_failure = "release"`: about 700 bytes each. Further
        /// records are lost, and counted.
        failure_buffer: u64 = "16MiB", bytes(1 << 16, 1 << 30);
    }

    /// AWS region, endpoints and timeouts.
    "aws" Aws {
        /// Region of STS, and of requests that name none. Not set: the AWS SDK's region (`AWS_REGION`, its
        /// files, IMDS). Set it outside AWS, where the search for IMDS delays the start by seconds.
        region: Option<String>, REGION, example "eu-central-1";

        /// Regions that callers may name beside those that this version knows: AWS's regions, `aws.region`,
        /// and regions that a grant without `*`, an alias, `aws.ecr_endpoints` or `cache.keep_warm` names.
        /// Set it when AWS has opened a region that is missing.
        regions: Vec<Region> = [], REGIONS, example ["eu-north-2"];

        /// Certificates to trust for AWS instead of the system's (PEM). Not set: `AWS_CA_BUNDLE`.
        ca_bundle: Option<PathBuf>, CA_BUNDLE, example "/etc/ssl/certs/corp.pem";

        /// URL of ECR; `{region}` becomes the registry's region. Set it for VPC endpoints without private
        /// DNS. Not set: `AWS_ENDPOINT_URL_ECR`, else AWS's own.
        ecr_endpoint: Option<String>, ENDPOINT,
            example "https://vpce-0123-abcd.api.ecr.{region}.vpce.amazonaws.com";

        /// URLs of ECR in single regions. They take precedence over `ecr_endpoint`.
        ecr_endpoints: BTreeMap<String, String> = {}, ENDPOINTS,
            example { "us-gov-west-1" = "https://ecr.example" };

        /// URL of ECR Public. Not set: `AWS_ENDPOINT_URL_ECR_PUBLIC`, else AWS's own.
        ecr_public_endpoint: Option<String>, ENDPOINT, example "https://ecr-public.example";

        /// Region of calls to ECR Public. AWS serves it in us-east-1 and us-west-2 only.
        ecr_public_region: String = "us-east-1", REQUIRED_REGION;

        /// URL of STS for the exchange of a web identity (`AWS_WEB_IDENTITY_TOKEN_FILE`) for a role.
        /// `AWS_ENDPOINT_URL_STS` applies to every use of STS.
        sts_endpoint: Option<String>, ENDPOINT, example "https://sts.example";

        /// URL of AWS Sign-In for short-lived tokens (experimental); `{region}` becomes the registry's region.
        /// Not set: `AWS_ENDPOINT_URL_SIGNIN`, else AWS's own.
        signin_endpoint: Option<String>, ENDPOINT, example "https://signin.{region}.example.com";

        /// Permission for endpoints with `http://` beyond loopback: those of this section and of the AWS
        /// SDK's variables and files. The network can then read credentials and replace them. Set it only for
        /// an emulator in a network of its tests.
        allow_plaintext_endpoints: bool = false, BOOLEAN;

        /// Promise that every endpoint override is a FIPS endpoint, whatever its host. Set it only for
        /// private names of FIPS VPC endpoints: other hosts need the part `fips`, except for STS in
        /// GovCloud.
        endpoints_are_fips: bool = false, BOOLEAN;

        /// Whether each new credential is tried once at its registry (`GET /v2/`) before it replaces another;
        /// also the default of `verify` in `[[profiles]]`. One that gets 401 or 403 is dropped. Set it where
        /// the broker reaches registries as its callers do. With an endpoint override of ECR or ECR Public
        /// nothing is tried.
        verify: bool = false, BOOLEAN;

        /// Time limit for connecting to AWS.
        connect_timeout: Duration = "1s", duration(Duration::from_millis(10), Duration::from_mins(1));

        /// Time limit for one attempt of a call to AWS.
        attempt_timeout: Duration = "3s", duration(Duration::from_millis(10), Duration::from_mins(1));

        /// Time limit for a call to AWS, including its retries.
        operation_timeout: Duration = "8s", duration(Duration::from_millis(10), Duration::from_mins(2));

        /// Maximum number of calls in flight to ECR in one region, and to ECR Public. The broker starts with
        /// 8, calls more while AWS admits them, and fewer while AWS throttles. Lower it if others need the
        /// quota (AWS: 500 calls per second and region).
        max_in_flight_per_region: usize = 64, count(1, 10_000);

        /// Maximum number of calls in flight to AWS in all regions together, beyond the first 8 of each
        /// region, which do not count. One caller may use half of it, and so may `cache.keep_warm`; of the
        /// first calls, one caller may use 128 and one more in each region.
        max_in_flight: usize = 256, count(1, 10_000);

        /// Maximum number of calls per second that assume the roles of `[[profiles]]`, in bursts of 2 s. Beyond
        /// it, requests that need a new role session get OVERLOADED with a delay. STS's quota of an account
        /// and region is shared with everything else that calls STS there.
        sts_calls_per_second: usize = 100, count(1, 10_000);
    }

    /// Credential cache.
    "cache" Cache {
        /// Age at which the broker refreshes a credential, or half the credential's lifetime if that is less.
        refresh_after: Duration = "1h", duration(Duration::from_secs(1), Duration::from_hours(12));

        /// Minimum remaining validity of a credential that the broker releases.
        safety_margin: Duration = "5m", duration(Duration::ZERO, Duration::from_hours(6));

        /// Maximum validity that a request may ask for.
        max_min_validity: Duration = "10h", duration(Duration::ZERO, Duration::from_hours(12));

        /// Maximum number of cached credentials. Profiles whose sessions name or tag callers share an
        /// additional eighth of it; one caller may use a sixteenth of that eighth. Beyond a share, the least
        /// recently used credential is evicted.
        capacity: u64 = 10000, count(1, 10_000_000);

        /// Maximum number of callers waiting for AWS. Further callers get OVERLOADED. An eighth of it is
        /// kept for callers with fewer than 100 waiting requests.
        max_waiters: usize = 16384, count(1, 1_000_000);

        /// What has its own token. `"identity"`: the broker's own identity, and each profile with
        /// `access = "full"`, no `repositories` and no `{account}` in its roles, request one token for a
        /// region and endpoint variant and use it for all accounts. Set it to use hundreds of accounts with
        /// one identity, see `docs/authorization.md`.
        token_scope: TokenScope = "account", TOKEN_SCOPE;

        /// Memory of the copy of the cache that outlives a restart, in two slots: a credential needs about 10
        /// KB. The copy is sealed, and lies in the service manager's file descriptor store (systemd:
        /// `FileDescriptorStoreMax=2`). Elsewhere, and with `0B`, nothing is kept. Raise it, and the memory
        /// of the service by one and a half of it, for more than 6,000 credentials.
        restart_memory: u64 = "64MiB", bytes(0, 1 << 33);

        /// Registries to fetch at the start and to refresh without requests: by the broker's own identity, or
        /// by each profile that a grant allows for them.
        keep_warm: Vec<Registry> = [], REGISTRIES,
            example ["123456789012.dkr.ecr.us-east-1.amazonaws.com", "public.ecr.aws"];
    }

    /// Cache that several brokers share, in Valkey or Redis, see `docs/shared-cache.md`.
    "shared_cache" SharedCache {
        /// Server: `redis://HOST:PORT`, `rediss://HOST:PORT` (TLS) or `redis+unix:///PATH`. Several nodes of a
        /// cluster: a list of URLs. A primary behind Sentinels: `redis+sentinel://HOST:PORT,HOST:PORT/NAME`,
        /// or `rediss+sentinel://`. Not set: nothing is shared.
        url: Option<Target>, SERVERS, example "redis://127.0.0.1:6379";

        /// First part of the names of all entries: 1 to 32 letters, digits, `.`, `_`, `-` and `:`. Change it
        /// where several fleets share a server.
        prefix: String = "ecr-broker", KEY_PREFIX;

        /// File with the keys that name and seal entries, as `ecr-broker keygen` prints it. All brokers have
        /// the same. The broker reads it again when it changes and on SIGHUP.
        keys_file: Option<PathBuf>, PATH, example "/etc/ecr-broker/cache-keys";

        /// Name of the broker's own AWS identity: 1 to 64 letters, digits, `.`, `_` and `-`. Brokers with one
        /// name share credentials, so their identities must have the same rights. Set it where the
        /// environment does not name a role or a long-lived access key.
        identity: Option<String>, OPTIONAL_NAME, example "farm-a";

        /// User of the server's ACL. Not set: its default user.
        username: Option<String>, OPTIONAL_NAME, example "ecr-broker";

        /// File with the user's password, or with a token that another program renews. The broker reads it
        /// for each new connection. Not set: no password.
        password_file: Option<PathBuf>, PATH, example "/etc/ecr-broker/cache-password";

        /// Certificates to trust for the server (PEM). Not set: the system's.
        tls_ca: Option<PathBuf>, PATH, example "/etc/ecr-broker/cache-ca.pem";

        /// Client certificate of the broker and its intermediates (PEM), for servers that ask for one. The
        /// broker reads it for each new connection.
        tls_cert: Option<PathBuf>, PATH, example "/etc/ecr-broker/cache.crt";

        /// Private key of that certificate (PEM).
        tls_key: Option<PathBuf>, PATH, example "/etc/ecr-broker/cache.key";

        /// Time limit of one operation. A server that exceeds it is not asked for a second or two. Raise it
        /// where the server is far away; it is what a miss waits at most before it goes to AWS.
        timeout: Duration = "100ms", duration(Duration::from_millis(10), Duration::from_millis(500));
    }

    /// Metrics, see `docs/metrics.md`.
    "metrics" Metrics {
        /// Whether the expiry of each cached credential is a metric, by account, region and profile. Without
        /// it there is one for each region, so that thousands of brokers do not overload your monitoring.
        per_key: bool = false, BOOLEAN;
    }

    /// Log on stderr.
    "log" Log {
        /// Log filter (`RUST_LOG` syntax). The `RUST_LOG` variable takes precedence.
        filter: String = "info", LOG_FILTER;

        /// Format of log lines. `auto`: text on a terminal, JSON elsewhere.
        format: LogFormat = "auto", LOG_FORMAT;
    }
}
