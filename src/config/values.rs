//! The types of values that settings have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use spiffe::TrustDomain;
use toml::Value;
use tracing_subscriber::EnvFilter;

use super::model::{Experiment, LogFormat, Mode};
use super::size;
use super::url;
use super::value_type::{EnvFormat, Expected, Read, ValueType};
use crate::address::ListenAddress;
use crate::audit::Output;
use crate::cache::TokenScope;
use crate::caller::DnsName;
use crate::policy::Accounts;
use crate::quoted::Quoted;
use crate::registry::{Region, Registry};
use crate::source::aws::ca_bundle;
use crate::source::shared_cache::valkey::{A_URL, Target};

pub(super) const ADDRESSES: ValueType<Vec<ListenAddress>> = ValueType {
    env_format: EnvFormat::List,
    expected: Expected::Words("a list of addresses"),
    read: |value, expected| {
        let address = |text: &str| text.parse::<ListenAddress>().map_err(|error| error.to_string());
        items(value, expected)?.iter().map(|item| address(string(item)?)).collect()
    },
};

pub(super) const ADDRESS: ValueType<Option<ListenAddress>> = text("IP:PORT or unix:/PATH", |value, _| {
    string(value)?.parse::<ListenAddress>().map(Some).map_err(|error| error.to_string())
});

pub(super) const HOSTS: ValueType<Vec<DnsName>> = ValueType {
    env_format: EnvFormat::List,
    expected: Expected::Words("a list of DNS names"),
    read: |value, expected| {
        let name = |text: &str| text.parse::<DnsName>().map_err(|error| error.to_string());
        items(value, expected)?.iter().map(|item| name(string(item)?)).collect()
    },
};

pub(super) const NETWORKS: ValueType<Vec<IpNet>> = ValueType {
    env_format: EnvFormat::List,
    expected: Expected::Words("a list of networks"),
    read: |value, expected| items(value, expected)?.iter().map(|item| network(string(item)?)).collect(),
};

/// Loopback only: the traffic is not encrypted.
pub(super) const LOOPBACK_ADDRESS: ValueType<Option<SocketAddr>> = text(
    "IP:PORT on loopback, such as \"127.0.0.1:9911\"",
    |value, expected| match string(value)?.parse() {
        Ok(ListenAddress::Tcp(address)) if ListenAddress::Tcp(address).is_local() => Ok(Some(address)),
        Ok(ListenAddress::Tcp(_)) => Err(format!(
            "{value} is reachable from other hosts, and the traffic is not encrypted; use a loopback address, such as \"127.0.0.1:9911\""
        )),
        _ => Err(expected.but_got(value)),
    },
);

pub(super) const REGISTRIES: ValueType<Vec<Registry>> = ValueType {
    env_format: EnvFormat::List,
    expected: Expected::Words("a list of registry hosts"),
    read: |value, expected| {
        let registry = |text: &str| text.parse::<Registry>().map_err(|error| error.to_string());
        items(value, expected)?.iter().map(|item| registry(string(item)?)).collect()
    },
};

/// Only connecting matters, which needs permission to write.
pub(super) const SOCKET_MODE: ValueType<u32> =
    text("\"0600\", \"0660\" or \"0666\"", |value, expected| match string(value)?.trim_start_matches('0') {
        "600" => Ok(0o600),
        "660" => Ok(0o660),
        "666" => Ok(0o666),
        _ => Err(expected.but_got(value)),
    });

pub(super) const GROUP: ValueType<Option<u32>> = text("a group of /etc/group, or its ID", |value, expected| {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    group_id(string(value)?, &groups).map(Some).ok_or_else(|| expected.but_got(value))
});

pub(super) const AUDIT_OUTPUT: ValueType<Option<Output>> =
    text("\"stderr\", \"stdout\" or an absolute path", |value, expected| match string(value)? {
        "stderr" => Ok(Some(Output::Stderr)),
        "stdout" => Ok(Some(Output::Stdout)),
        path if path.starts_with('/') => Output::file(path.into()).map(Some),
        _ => Err(expected.but_got(value)),
    });

pub(super) const BOOLEAN: ValueType<bool> = ValueType {
    env_format: EnvFormat::Toml,
    expected: Expected::Words("true or false"),
    read: |value, expected| value.as_bool().ok_or_else(|| expected.but_got(value)),
};

pub(super) const REGION: ValueType<Option<String>> =
    text("an AWS region, such as \"eu-central-1\"", |value, _| Ok(Some(region(string(value)?)?)));

pub(super) const REGIONS: ValueType<Vec<Region>> = ValueType {
    env_format: EnvFormat::List,
    expected: Expected::Words("a list of AWS regions"),
    read: |value, expected| {
        let region = |text: &str| text.parse::<Region>().map_err(|error| error.to_string());
        items(value, expected)?.iter().map(|item| region(string(item)?)).collect()
    },
};

pub(super) const REQUIRED_REGION: ValueType<String> =
    text("an AWS region, such as \"eu-central-1\"", |value, _| region(string(value)?));

pub(super) const CA_BUNDLE: ValueType<Option<PathBuf>> = text("a PEM file", |value, _| {
    let path = PathBuf::from(string(value)?);
    ca_bundle::read(&path).map_err(|error| format!("{error:#}"))?;
    Ok(Some(path))
});

pub(super) const PATH: ValueType<Option<PathBuf>> = text("an absolute path", |value, _| Ok(Some(path(value)?)));

pub(super) const TRUST_DOMAINS: ValueType<BTreeMap<TrustDomain, PathBuf>> =
    table("a table of SPIFFE trust domains and absolute paths", |value, expected| {
        entries(value, expected)?.iter().map(|(name, file)| Ok((trust_domain(name)?, path(file)?))).collect()
    });

pub(super) const DNS_NAMES: ValueType<BTreeMap<DnsName, PathBuf>> =
    table("a table of DNS names and absolute paths", |value, expected| {
        let dns_name = |text: &str| text.parse::<DnsName>().map_err(|error| error.to_string());
        entries(value, expected)?.iter().map(|(name, file)| Ok((dns_name(name)?, path(file)?))).collect()
    });

pub(super) const REVOCATIONS: ValueType<BTreeMap<String, PathBuf>> =
    table("a table of trust domains or DNS names and absolute paths", |value, expected| {
        entries(value, expected)?.iter().map(|(name, file)| Ok((name.clone(), path(file)?))).collect()
    });

pub(super) const ENDPOINT: ValueType<Option<String>> = text(url::A_URL, |value, _| Ok(Some(endpoint(value)?)));

pub(super) const ENDPOINTS: ValueType<BTreeMap<String, String>> = ValueType {
    env_format: EnvFormat::Toml,
    expected: Expected::Hidden("a table of regions and URLs"),
    read: |value, expected| {
        entries(value, expected)?.iter().map(|(name, url)| Ok((region(name)?, endpoint(url)?))).collect()
    },
};

/// A URL, or a list of them, which one text can hold too. A URL can hold a password, so no error shows it.
pub(super) const SERVERS: ValueType<Option<Target>> = ValueType {
    env_format: EnvFormat::Text,
    expected: Expected::Hidden(A_URL),
    read: |value, expected| {
        let texts: Option<Vec<_>> = match value {
            Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            value => value.as_str().map(urls),
        };
        let texts = texts.ok_or_else(|| expected.but_got(value))?;
        Target::parse(&texts.iter().map(String::as_str).collect::<Vec<_>>()).map(Some)
    },
};

/// Braces would move entries to other slots of a cluster.
pub(super) const KEY_PREFIX: ValueType<String> =
    text("1 to 32 letters, digits, \".\", \"_\", \"-\" and \":\"", |value, expected| {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        let prefix = value.as_str().filter(|text| (1..=32).contains(&text.len()) && text.bytes().all(is_valid));
        prefix.map(str::to_owned).ok_or_else(|| expected.but_got(value))
    });

pub(super) const OPTIONAL_NAME: ValueType<Option<String>> = ValueType {
    env_format: EnvFormat::Text,
    expected: NAME,
    read: |value, expected| {
        let name = value.as_str().filter(|text| is_name(text));
        name.map(|name| Some(name.to_owned())).ok_or_else(|| expected.but_got(value))
    },
};

pub(super) const LOG_FILTER: ValueType<String> =
    text("a log filter, such as \"info,ecr_broker=debug\"", |value, expected| {
        let filter = string(value)?;
        let problem = |error| format!("{}: {error}", expected.but_got(value));
        EnvFilter::builder().parse(filter).map(|_| filter.to_owned()).map_err(problem)
    });

pub(super) const LOG_FORMAT: ValueType<LogFormat> =
    choice(&["auto", "json", "text"], |value, expected| match value.as_str() {
        Some("auto") => Ok(LogFormat::Auto),
        Some("json") => Ok(LogFormat::Json),
        Some("text") => Ok(LogFormat::Text),
        _ => Err(expected.but_got(value)),
    });

pub(super) const TOKEN_SCOPE: ValueType<TokenScope> =
    choice(&["account", "identity"], |value, expected| match value.as_str() {
        Some("account") => Ok(TokenScope::Account),
        Some("identity") => Ok(TokenScope::Identity),
        _ => Err(expected.but_got(value)),
    });

pub(super) const EXPERIMENTS: ValueType<BTreeSet<Experiment>> = ValueType {
    env_format: EnvFormat::List,
    expected: Expected::Words("a list of experimental features"),
    read: |value, expected| {
        let experiment = |name: &str| {
            let found = Experiment::NAMES.iter().find(|(known, _)| *known == name);
            let known = || Experiment::NAMES.map(|(known, _)| format!("{known:?}")).join(", ");
            let unknown = || format!("unknown feature {}; the features are {}", Quoted(name), known());
            found.map(|(_, experiment)| *experiment).ok_or_else(unknown)
        };
        items(value, expected)?.iter().map(|item| experiment(string(item)?)).collect()
    },
};

/// Whether releases go on without their audit records.
pub(super) const AUDIT_FAILURE: ValueType<bool> =
    choice(&["refuse", "release"], |value, expected| match value.as_str() {
        Some("refuse") => Ok(false),
        Some("release") => Ok(true),
        _ => Err(expected.but_got(value)),
    });

pub(super) const POLICY_MODE: ValueType<Mode> =
    choice(&["enforce", "observe"], |value, expected| match value.as_str() {
        Some("enforce") => Ok(Mode::Enforce),
        Some("observe") => Ok(Mode::Observe),
        _ => Err(expected.but_got(value)),
    });

/// Returns the type of whole numbers in a range.
pub(super) const fn count<T: TryFrom<u64>>(least: u64, most: u64) -> ValueType<T> {
    let read: Read<T> = |value, expected| {
        let Expected::Count { least, most } = expected else { return Err(expected.but_got(value)) };
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| expected.but_got(value))
    };
    ValueType { env_format: EnvFormat::Toml, expected: Expected::Count { least, most }, read }
}

/// Returns the type of sizes in a range, in bytes.
pub(super) const fn bytes(least: u64, most: u64) -> ValueType<u64> {
    let read: Read<u64> = |value, expected| {
        let Expected::Bytes { least, most } = expected else { return Err(expected.but_got(value)) };
        let size = value.as_str().and_then(size::parse).filter(|size| (least..=most).contains(size));
        size.ok_or_else(|| expected.but_got(value))
    };
    ValueType { env_format: EnvFormat::Text, expected: Expected::Bytes { least, most }, read }
}

/// Returns the type of durations in a range.
pub(super) const fn duration(least: Duration, most: Duration) -> ValueType<Duration> {
    let read: Read<Duration> = |value, expected| {
        let Expected::Duration { least, most } = expected else { return Err(expected.but_got(value)) };
        let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        duration.filter(|duration| (least..=most).contains(duration)).ok_or_else(|| expected.but_got(value))
    };
    ValueType { env_format: EnvFormat::Text, expected: Expected::Duration { least, most }, read }
}

const fn text<T>(expected: &'static str, read: Read<T>) -> ValueType<T> {
    ValueType { env_format: EnvFormat::Text, expected: Expected::Words(expected), read }
}

const fn choice<T>(choices: &'static [&'static str], read: Read<T>) -> ValueType<T> {
    ValueType { env_format: EnvFormat::Text, expected: Expected::OneOf(choices), read }
}

const fn table<T>(expected: &'static str, read: Read<T>) -> ValueType<T> {
    ValueType { env_format: EnvFormat::Toml, expected: Expected::Words(expected), read }
}

/// Finds a group in the lines of `/etc/group`. One that is not listed can be given by its ID.
fn group_id(text: &str, groups: &str) -> Option<u32> {
    let listed = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (name == text).then(|| id.parse().ok())?
    });
    listed.or_else(|| text.parse().ok())
}

/// Splits a text at commas. One that no scheme follows separates the hosts of one URL.
fn urls(text: &str) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',') {
        match urls.last_mut() {
            Some(last) if !part.contains("://") => last.extend([",", part]),
            _ => urls.push(part.trim().to_owned()),
        }
    }
    urls
}

fn items(value: &Value, expected: Expected) -> Result<&[Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| expected.but_got(value))
}

fn entries(value: &Value, expected: Expected) -> Result<&toml::Table, String> {
    value.as_table().ok_or_else(|| expected.but_got(value))
}

/// Returns a text that is not empty.
pub(super) fn string(value: &Value) -> Result<&str, String> {
    value.as_str().filter(|text| !text.is_empty()).ok_or_else(|| Expected::Words("a string").but_got(value))
}

/// Returns a list of at least one string.
pub(super) fn strings<'a>(key: &str, value: &'a Value) -> Result<Vec<&'a str>, String> {
    let texts = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    let problem = || format!("{key}: {}", Expected::Words("a list of at least one string").but_got(value));
    texts.filter(|texts| !texts.is_empty()).ok_or_else(problem)
}

/// Returns an absolute path.
pub(super) fn path(value: &Value) -> Result<PathBuf, String> {
    let path = PathBuf::from(string(value)?);
    if path.is_absolute() { Ok(path) } else { Err(Expected::Words("an absolute path").but_got(value)) }
}

fn region(text: &str) -> Result<String, String> {
    text.parse::<Region>().map(|region| region.to_string()).map_err(|error| error.to_string())
}

/// Reads a network; an address is a network of one host.
fn network(text: &str) -> Result<IpNet, String> {
    let host = || text.parse::<IpAddr>().map(IpNet::from).ok();
    let network = text.parse::<IpNet>().ok().or_else(host);
    network.ok_or_else(|| format!("expected a network, such as \"10.0.0.0/24\", got {}", Quoted(text)))
}

fn trust_domain(name: &str) -> Result<TrustDomain, String> {
    let domain = TrustDomain::new(name).ok().filter(|domain| domain.as_str() == name);
    domain
        .ok_or_else(|| format!("expected a SPIFFE trust domain in lower case, such as \"prod.example\", got {name:?}"))
}

fn endpoint(value: &Value) -> Result<String, String> {
    if value.is_array() || value.is_table() {
        return Err(Expected::Hidden(url::A_URL).but_got(value));
    }
    let text = string(value)?;
    url::check_endpoint(&text.replace("{region}", "region"))?;
    Ok(text.to_owned())
}

/// A name of a grant or an issuer.
pub(super) const NAME: Expected = Expected::Words("1 to 64 letters, digits, \".\", \"_\" and \"-\"");

/// Returns whether a text can name a grant or an issuer in answers and logs.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The name of a profile.
pub(super) const PROFILE_NAME: Expected = Expected::Words("1 to 32 letters, digits, \"-\" and \"_\"");

/// Reads the accounts that a grant, or an included file, covers.
pub(super) fn accounts(value: &Value) -> Result<Accounts, String> {
    let texts = strings("accounts", value)?;
    if texts == ["*"] {
        return Ok(Accounts::Any);
    }
    if texts.contains(&"*") {
        return Err("accounts: \"*\" matches every account; remove the others".to_owned());
    }
    let accounts = texts.iter().map(|text| text.parse().map_err(|error| format!("accounts: {error}")));
    accounts.collect::<Result<_, String>>().map(Accounts::Of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_can_hold_several_urls() {
        assert_eq!(urls("redis://a, redis://b"), ["redis://a", "redis://b"]);
        assert_eq!(urls("redis+sentinel://a,b:1/main"), ["redis+sentinel://a,b:1/main"]);
        assert_eq!(urls("redis://a"), ["redis://a"]);
    }

    #[test]
    fn group_is_found_by_name_and_by_id() {
        let groups = "root:x:0:\necr-clients:x:977:ci,deploy\n\nodd";
        for (text, expected) in
            [("ecr-clients", Some(977)), ("root", Some(0)), ("1234", Some(1234)), ("no-such-group", None), ("-1", None)]
        {
            assert_eq!(group_id(text, groups), expected, "{text}");
        }
    }
}
