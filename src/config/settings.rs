//! Every setting there is: its name, its default, what it is for, and what it takes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spiffe::TrustDomain;

use super::model::{LogFormat, Mode};
use super::values::{self, Form, Read};
use crate::address::ListenAddress;
use crate::audit::Output;
use crate::caller::DnsName;
use crate::registry::Registry;

/// One setting.
pub(super) struct Setting<T: 'static> {
    pub(super) about: About,
    /// What holds where nobody says otherwise; `about.default` is the same in TOML.
    pub(super) default: fn() -> T,
    pub(super) read: Read<T>,
}

/// What is to be known of a setting whatever its type.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    /// How a text in the environment becomes a value.
    pub(super) form: Form,
    /// In TOML; empty where there is none.
    pub(super) default: &'static str,
    /// In TOML.
    pub(super) example: &'static str,
    pub(super) doc: &'static str,
}

impl About {
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    pub(super) fn variable(&self) -> String {
        format!("ECR_BROKER_{}_{}", self.section, self.key).replace('.', "_").to_ascii_uppercase()
    }
}

/// All of them, section by section.
pub(super) const ALL: [About; 36] = [
    LISTEN.about,
    DRAIN_TIMEOUT.about,
    MAX_CONNECTION_AGE.about,
    MAX_CONNECTIONS.about,
    MAX_CONNECTIONS_PER_ADDRESS.about,
    MAX_CONNECTIONS_PER_UID.about,
    AWS_API_LISTEN.about,
    AWS_API_SECRET_FILE.about,
    TLS_CERTIFICATE.about,
    TLS_KEY.about,
    LOOPBACK.about,
    CLIENT_CA.about,
    CLIENT_DNS.about,
    POLICY_MODE.about,
    REQUESTS_PER_SECOND.about,
    IN_FLIGHT.about,
    FAILURES_PER_SECOND.about,
    AUDIT_OUTPUT.about,
    REGION.about,
    CA_BUNDLE.about,
    ECR_ENDPOINT.about,
    ECR_ENDPOINTS.about,
    ECR_PUBLIC_ENDPOINT.about,
    ECR_PUBLIC_REGION.about,
    STS_ENDPOINT.about,
    CONNECT_TIMEOUT.about,
    ATTEMPT_TIMEOUT.about,
    OPERATION_TIMEOUT.about,
    REFRESH_AFTER.about,
    SAFETY_MARGIN.about,
    MAX_MIN_VALIDITY.about,
    CAPACITY.about,
    MAX_WAITERS.about,
    KEEP_WARM.about,
    LOG_FILTER.about,
    LOG_FORMAT.about,
];

const fn about(section: &'static str, key: &'static str, doc: &'static str) -> About {
    About { section, key, form: Form::Text, default: "", example: "", doc }
}

pub(super) const LISTEN: Setting<Vec<ListenAddress>> = Setting {
    about: About {
        form: Form::List,
        default: "[]",
        example: r#"["unix:/run/ecr-broker/broker.sock"]"#,
        ..about(
            "server",
            "listen",
            "Addresses to listen on: unix:/path and IP:PORT. None: the first of /run/ecr-broker/broker.sock and\n$XDG_RUNTIME_DIR/ecr-broker/broker.sock that can be made.",
        )
    },
    default: Vec::new,
    read: values::listen,
};

pub(super) const DRAIN_TIMEOUT: Setting<Duration> = Setting {
    about: About {
        default: r#""20s""#,
        ..about("server", "drain_timeout", "After SIGTERM, requests in flight have this long to finish.")
    },
    default: || Duration::from_secs(20),
    read: |value| values::duration(value, "1s", "10m"),
};

pub(super) const MAX_CONNECTION_AGE: Setting<Duration> = Setting {
    about: About {
        default: r#""1h""#,
        ..about(
            "server",
            "max_connection_age",
            "A connection takes no new requests at about this age, and ends with those that it has; its client makes another, perhaps to\nanother broker behind the same name.",
        )
    },
    default: || Duration::from_hours(1),
    read: |value| values::duration(value, "10s", "7days"),
};

pub(super) const MAX_CONNECTIONS: Setting<u64> = Setting {
    about: About {
        form: Form::Plain,
        default: "4096",
        ..about("server", "max_connections", "Connections that are kept.")
    },
    default: || 4096,
    read: |value| values::count(value, 1, 1_000_000),
};

pub(super) const MAX_CONNECTIONS_PER_ADDRESS: Setting<u64> = Setting {
    about: About {
        form: Form::Plain,
        default: "256",
        ..about(
            "server",
            "max_connections_per_address",
            "Connections from one IPv4 address, or one IPv6 network of 64 bits.",
        )
    },
    default: || 256,
    read: |value| values::count(value, 1, 1_000_000),
};

pub(super) const MAX_CONNECTIONS_PER_UID: Setting<u64> = Setting {
    about: About {
        form: Form::Plain,
        default: "1024",
        ..about("server", "max_connections_per_uid", "Connections from one user over Unix sockets.")
    },
    default: || 1024,
    read: |value| values::count(value, 1, 1_000_000),
};

pub(super) const AWS_API_LISTEN: Setting<Option<SocketAddr>> = Setting {
    about: About {
        example: r#""127.0.0.1:9911""#,
        ..about(
            "server",
            "aws_api_listen",
            "Where GetAuthorizationToken of ECR and ECR Public is answered as AWS does it, on loopback: for programs that know no other way to\nask, by AWS_ENDPOINT_URL_ECR=http://127.0.0.1:9911/t/SECRET (and AWS_ENDPOINT_URL_ECR_PUBLIC). None: nowhere.",
        )
    },
    default: || None,
    read: values::loopback_address,
};

pub(super) const AWS_API_SECRET_FILE: Setting<Option<PathBuf>> = Setting {
    about: About {
        example: r#""/var/lib/ecr-broker/aws-api-secret""#,
        ..about(
            "server",
            "aws_api_secret_file",
            "The file that holds the secret in that URL, 32 letters, digits, \"_\" and \"-\" at least: whoever has it may call. Where there is no\nsuch file the broker makes it, with a new secret and for its own user alone (0600).",
        )
    },
    default: || None,
    read: values::path,
};

pub(super) const TLS_CERTIFICATE: Setting<Option<PathBuf>> = Setting {
    about: About {
        example: r#""/etc/ecr-broker/tls.crt""#,
        ..about(
            "server.tls",
            "certificate",
            "The broker's certificate, and those between it and a root (PEM). With it and its key every TCP listener speaks TLS 1.3.\nThey and the roots of callers are read again when they change, and on SIGHUP.",
        )
    },
    default: || None,
    read: values::path,
};

pub(super) const TLS_KEY: Setting<Option<PathBuf>> = Setting {
    about: About {
        example: r#""/etc/ecr-broker/tls.key""#,
        ..about("server.tls", "key", "The key of that certificate (PEM).")
    },
    default: || None,
    read: values::path,
};

pub(super) const CLIENT_CA: Setting<BTreeMap<TrustDomain, PathBuf>> = Setting {
    about: About {
        form: Form::Plain,
        default: "{}",
        example: r#"{ "prod.example" = "/etc/ecr-broker/prod-ca.pem" }"#,
        ..about(
            "authentication",
            "client_ca",
            "SPIFFE trust domains, and the roots of each (PEM): a client certificate with one SPIFFE id in it says who the caller is,\nif a root of that id's own trust domain vouches for it.",
        )
    },
    default: BTreeMap::new,
    read: values::trust_domains,
};

pub(super) const CLIENT_DNS: Setting<BTreeMap<DnsName, PathBuf>> = Setting {
    about: About {
        form: Form::Plain,
        default: "{}",
        example: r#"{ "build-1.corp.example" = "/etc/ecr-broker/corp-ca.pem" }"#,
        ..about(
            "authentication",
            "client_dns",
            "DNS names, and the roots that may vouch for each (PEM): for callers whose certificates have no URI in them.",
        )
    },
    default: BTreeMap::new,
    read: values::dns_names,
};

pub(super) const LOOPBACK: Setting<bool> = Setting {
    about: About {
        form: Form::Plain,
        default: "false",
        ..about(
            "authentication",
            "loopback",
            "Whether any process of this host, or of this pod, may call over loopback TCP.",
        )
    },
    default: || false,
    read: values::boolean,
};

pub(super) const POLICY_MODE: Setting<Mode> = Setting {
    about: About {
        default: r#""enforce""#,
        ..about(
            "policy",
            "mode",
            "\"enforce\", or, while grants are being written, \"observe\": what they deny is given all the same, by the broker's own identity\nor the profile that was asked for, and put on record as observed. It takes a restart, and callers of this host only.",
        )
    },
    default: || Mode::Enforce,
    read: values::policy_mode,
};

pub(super) const REQUESTS_PER_SECOND: Setting<u64> = Setting {
    about: About {
        form: Form::Plain,
        default: "1000",
        ..about(
            "limits",
            "requests_per_second",
            "What one caller of another host may ask for in a second, in the mean; after a quiet time as much at once as in ten\nseconds. A batch counts as many as it holds. Callers of this host, by user, loopback or the AWS API, have no such limit.",
        )
    },
    default: || 1000,
    read: |value| values::count(value, 10, 1_000_000),
};

pub(super) const IN_FLIGHT: Setting<u64> = Setting {
    about: About {
        form: Form::Plain,
        default: "12288",
        ..about(
            "limits",
            "in_flight",
            "Requests of one caller, wherever it is, that may be under way at a time; less than cache.max_waiters leaves room for others.",
        )
    },
    default: || 12_288,
    read: |value| values::count(value, 100, 1_000_000),
};

pub(super) const FAILURES_PER_SECOND: Setting<u64> = Setting {
    about: About {
        form: Form::Plain,
        default: "100",
        ..about(
            "limits",
            "failures_per_second",
            "How many bad tokens, failed TLS handshakes and wrong secrets of the AWS API from one IPv4 address, one IPv6 network of 64 bits or one user are looked at\nin a second, in the mean; ten seconds' worth may come at once. Beyond it nothing from there is looked at until there is room.",
        )
    },
    default: || 100,
    read: |value| values::count(value, 1, 1_000_000),
};

pub(super) const AUDIT_OUTPUT: Setting<Option<Output>> = Setting {
    about: About {
        example: r#""/var/log/ecr-broker/audit.jsonl""#,
        ..about(
            "audit",
            "output",
            "Where a JSON line goes for every credential that is released, before it is, and for every denial: \"stderr\", \"stdout\" or\na file. None: nowhere.",
        )
    },
    default: || None,
    read: values::audit_output,
};

pub(super) const REGION: Setting<Option<String>> = Setting {
    about: About {
        example: r#""eu-central-1""#,
        ..about(
            "aws",
            "region",
            "The region of requests that name none, and of STS. None: what the AWS SDK finds (AWS_REGION, its files, IMDS); off AWS,\nwhere no IMDS answers, looking for it takes the start some seconds.",
        )
    },
    default: || None,
    read: values::region,
};

pub(super) const CA_BUNDLE: Setting<Option<PathBuf>> = Setting {
    about: About {
        example: r#""/etc/ssl/certs/corp.pem""#,
        ..about(
            "aws",
            "ca_bundle",
            "Certificates to trust for AWS instead of the system's. AWS_CA_BUNDLE says the same.",
        )
    },
    default: || None,
    read: values::ca_bundle,
};

pub(super) const ECR_ENDPOINT: Setting<Option<String>> = Setting {
    about: About {
        example: r#""https://vpce-0123-abcd.api.ecr.{region}.vpce.amazonaws.com""#,
        ..about(
            "aws",
            "ecr_endpoint",
            "Where ECR is, if not at AWS's own address; {region} stands for the region of the registry asked for.\nAWS_ENDPOINT_URL_ECR says the same.",
        )
    },
    default: || None,
    read: values::endpoint,
};

pub(super) const ECR_ENDPOINTS: Setting<BTreeMap<String, String>> = Setting {
    about: About {
        form: Form::Plain,
        default: "{}",
        example: r#"{ "us-gov-west-1" = "https://ecr.example" }"#,
        ..about("aws", "ecr_endpoints", "Where ECR is in single regions; wins over ecr_endpoint.")
    },
    default: BTreeMap::new,
    read: values::endpoints,
};

pub(super) const ECR_PUBLIC_ENDPOINT: Setting<Option<String>> = Setting {
    about: About {
        example: r#""https://ecr-public.example""#,
        ..about(
            "aws",
            "ecr_public_endpoint",
            "Where ECR Public is, if not at AWS's own address. AWS_ENDPOINT_URL_ECR_PUBLIC says the same.",
        )
    },
    default: || None,
    read: values::endpoint,
};

pub(super) const ECR_PUBLIC_REGION: Setting<String> = Setting {
    about: About {
        default: r#""us-east-1""#,
        ..about(
            "aws",
            "ecr_public_region",
            "The region that ECR Public is called in; AWS has it in us-east-1 and us-west-2 only.",
        )
    },
    default: || "us-east-1".to_owned(),
    read: |value| values::region(value).map(Option::unwrap_or_default),
};

pub(super) const STS_ENDPOINT: Setting<Option<String>> = Setting {
    about: About {
        example: r#""https://sts.example""#,
        ..about(
            "aws",
            "sts_endpoint",
            "Where STS is asked to trade a web identity (AWS_WEB_IDENTITY_TOKEN_FILE) for a role. AWS_ENDPOINT_URL_STS\nsays the same, for every use of STS.",
        )
    },
    default: || None,
    read: values::endpoint,
};

pub(super) const CONNECT_TIMEOUT: Setting<Duration> = Setting {
    about: About {
        default: r#""1s""#,
        ..about("aws", "connect_timeout", "How long a connection to AWS may take to be made.")
    },
    default: || Duration::from_secs(1),
    read: |value| values::duration(value, "10ms", "1m"),
};

pub(super) const ATTEMPT_TIMEOUT: Setting<Duration> = Setting {
    about: About {
        default: r#""3s""#,
        ..about("aws", "attempt_timeout", "How long one try of a call to AWS may take.")
    },
    default: || Duration::from_secs(3),
    read: |value| values::duration(value, "10ms", "1m"),
};

pub(super) const OPERATION_TIMEOUT: Setting<Duration> = Setting {
    about: About {
        default: r#""8s""#,
        ..about("aws", "operation_timeout", "How long a call to AWS may take with all its tries.")
    },
    default: || Duration::from_secs(8),
    read: |value| values::duration(value, "10ms", "2m"),
};

pub(super) const REFRESH_AFTER: Setting<Duration> = Setting {
    about: About {
        default: r#""1h""#,
        ..about(
            "cache",
            "refresh_after",
            "A credential is refreshed at this age, or at half its lifetime when that is less.",
        )
    },
    default: || Duration::from_hours(1),
    read: |value| values::duration(value, "1s", "12h"),
};

pub(super) const SAFETY_MARGIN: Setting<Duration> = Setting {
    about: About {
        default: r#""5m""#,
        ..about("cache", "safety_margin", "A credential with less than this left is never handed out.")
    },
    default: || Duration::from_mins(5),
    read: |value| values::duration(value, "0s", "6h"),
};

pub(super) const MAX_MIN_VALIDITY: Setting<Duration> = Setting {
    about: About {
        default: r#""10h""#,
        ..about("cache", "max_min_validity", "The most that a caller may ask a credential to last.")
    },
    default: || Duration::from_hours(10),
    read: |value| values::duration(value, "0s", "12h"),
};

pub(super) const CAPACITY: Setting<u64> = Setting {
    about: About {
        form: Form::Plain,
        default: "10000",
        ..about(
            "cache",
            "capacity",
            "Credentials that are held. Beside them an eighth as many, of profiles with attribution = \"caller\"; one caller may have a\nsixteenth of those.",
        )
    },
    default: || 10_000,
    read: |value| values::count(value, 1, 10_000_000),
};

pub(super) const MAX_WAITERS: Setting<u64> = Setting {
    about: About {
        form: Form::Plain,
        default: "16384",
        ..about(
            "cache",
            "max_waiters",
            "Callers that may wait for AWS at a time; one more is turned away with OVERLOADED.",
        )
    },
    default: || 16_384,
    read: |value| values::count(value, 1, 1_000_000),
};

pub(super) const KEEP_WARM: Setting<Vec<Registry>> = Setting {
    about: About {
        form: Form::List,
        default: "[]",
        example: r#"["123456789012.dkr.ecr.us-east-1.amazonaws.com", "public.ecr.aws"]"#,
        ..about(
            "cache",
            "keep_warm",
            "Registries that are fetched at the start and refreshed by time, also when nobody asks: by the broker's own identity, or each\nprofile that a grant gives for them.",
        )
    },
    default: Vec::new,
    read: values::registries,
};

pub(super) const LOG_FILTER: Setting<String> = Setting {
    about: About {
        default: r#""info""#,
        ..about("log", "filter", "What is logged, in the form of RUST_LOG, which wins over it.")
    },
    default: || "info".to_owned(),
    read: values::log_filter,
};

pub(super) const LOG_FORMAT: Setting<LogFormat> = Setting {
    about: About {
        default: r#""auto""#,
        ..about(
            "log",
            "format",
            "The form of the lines on stderr: \"json\", \"text\", or \"auto\": text on a terminal, JSON elsewhere.",
        )
    },
    default: || LogFormat::Auto,
    read: values::log_format,
};
