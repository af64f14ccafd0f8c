//! From a TOML value to what it means; each error names what would be taken.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spiffe::TrustDomain;
use toml::Value;
use tracing_subscriber::EnvFilter;

use super::model::{LogFormat, Mode};
use crate::address::ListenAddress;
use crate::audit::Output;
use crate::caller::DnsName;
use crate::registry::{Region, Registry};
use crate::source::aws::ca_bundle;

/// Reads a value, or says what is wrong with it.
pub(super) type Read<T> = fn(&Value) -> Result<T, String>;

/// How a text in the environment becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The text is the value.
    Text,
    /// Texts with commas between them.
    List,
    /// TOML: a number, a boolean, a table.
    Plain,
}

impl Form {
    pub(super) fn value(self, text: &str) -> Value {
        let string = || Value::String(text.to_owned());
        match self {
            Self::Text => string(),
            Self::List => Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()),
            Self::Plain => text.parse().unwrap_or_else(|_| string()),
        }
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().filter(|text| !text.is_empty()).ok_or_else(|| format!("{value} is not a text between quotes"))
}

pub(super) fn listen(value: &Value) -> Result<Vec<ListenAddress>, String> {
    let items = value
        .as_array()
        .ok_or_else(|| format!("{value} is not a list, such as [\"unix:/run/ecr-broker/broker.sock\"]"))?;
    items.iter().map(|item| text(item)?.parse::<ListenAddress>().map_err(|error| error.to_string())).collect()
}

/// What goes over it goes in the clear.
pub(super) fn loopback_address(value: &Value) -> Result<Option<SocketAddr>, String> {
    match text(value)?.parse() {
        Ok(ListenAddress::Tcp(address)) if ListenAddress::Tcp(address).is_local() => Ok(Some(address)),
        Ok(ListenAddress::Tcp(_)) => Err(format!(
            "{value} can be reached from other hosts, and what is sent there is not encrypted; give an address on loopback, such as \"127.0.0.1:9911\""
        )),
        _ => Err(format!("{value} is not IP:PORT, such as \"127.0.0.1:9911\"")),
    }
}

/// A list of texts with at least one in it.
pub(super) fn texts<'a>(key: &str, value: &'a Value) -> Result<Vec<&'a str>, String> {
    let texts = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| format!("{key} is not a list of texts with one in it at least"))
}

pub(super) fn registries(value: &Value) -> Result<Vec<Registry>, String> {
    let items = value.as_array().ok_or_else(|| format!("{value} is not a list of registries' hosts"))?;
    items.iter().map(|item| text(item)?.parse::<Registry>().map_err(|error| error.to_string())).collect()
}

pub(super) fn audit_output(value: &Value) -> Result<Option<Output>, String> {
    match text(value)? {
        "stderr" => Ok(Some(Output::Stderr)),
        "stdout" => Ok(Some(Output::Stdout)),
        path if path.starts_with('/') => Ok(Some(Output::File(path.into()))),
        _ => Err(format!("{value} is none of \"stderr\", \"stdout\" and an absolute path")),
    }
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{value} is neither true nor false"))
}

pub(super) fn count(value: &Value, least: u64, most: u64) -> Result<u64, String> {
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("{value} is not a whole number from {least} to {most}"))
}

pub(super) fn duration(value: &Value, least: &str, most: &str) -> Result<Duration, String> {
    let problem =
        || format!("{value} is not a duration from {least} to {most}; those are like \"250ms\", \"90s\", \"1h30m\"");
    let limit = |text| humantime::parse_duration(text).map_err(|_| problem());
    let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok()).ok_or_else(problem)?;
    if (limit(least)?..=limit(most)?).contains(&duration) { Ok(duration) } else { Err(problem()) }
}

pub(super) fn region(value: &Value) -> Result<Option<String>, String> {
    let region: Region = text(value)?.parse().map_err(|error: crate::registry::RegistryError| error.to_string())?;
    Ok(Some(region.to_string()))
}

pub(super) fn ca_bundle(value: &Value) -> Result<Option<PathBuf>, String> {
    let path = PathBuf::from(text(value)?);
    ca_bundle::read(&path).map_err(|error| format!("{error:#}"))?;
    Ok(Some(path))
}

/// Whether it can name a grant or an issuer in answers and logs.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

pub(super) fn path(value: &Value) -> Result<Option<PathBuf>, String> {
    Ok(Some(absolute(value)?))
}

fn absolute(value: &Value) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value)?);
    if path.is_absolute() { Ok(path) } else { Err(format!("{value} is not an absolute path")) }
}

pub(super) fn trust_domains(value: &Value) -> Result<BTreeMap<TrustDomain, PathBuf>, String> {
    paths(value, |name| {
        let domain = TrustDomain::new(name).ok().filter(|domain| domain.as_str() == name);
        domain.ok_or_else(|| format!("{name:?} is not a SPIFFE trust domain, such as \"prod.example\", in lower case"))
    })
}

pub(super) fn dns_names(value: &Value) -> Result<BTreeMap<DnsName, PathBuf>, String> {
    paths(value, |name| name.parse().map_err(|error| format!("{error}")))
}

/// A file for each of several names.
fn paths<K: Ord>(value: &Value, read: fn(&str) -> Result<K, String>) -> Result<BTreeMap<K, PathBuf>, String> {
    let table = value.as_table().ok_or_else(|| format!("{value} is not a table of names and files"))?;
    table.iter().map(|(name, value)| Ok((read(name)?, absolute(value)?))).collect()
}

pub(super) fn endpoint(value: &Value) -> Result<Option<String>, String> {
    let text = text(value)?;
    let uri = text.replace("{region}", "region").parse::<http::Uri>().ok();
    let fits = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    fits.then(|| Some(text.to_owned()))
        .ok_or_else(|| format!("{value} is not a URL that starts with http:// or https://"))
}

pub(super) fn endpoints(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let table = value.as_table().ok_or_else(|| format!("{value} is not a table of regions and URLs"))?;
    let entry = |(name, value): (&String, &Value)| {
        let name = name.parse::<Region>().map_err(|error| error.to_string())?.to_string();
        Ok((name, endpoint(value)?.unwrap_or_default()))
    };
    table.iter().map(entry).collect()
}

pub(super) fn log_filter(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let problem = |error| format!("{value} is not a filter such as \"info,ecr_broker=debug\": {error}");
    EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(problem)
}

pub(super) fn log_format(value: &Value) -> Result<LogFormat, String> {
    match value.as_str() {
        Some("auto") => Ok(LogFormat::Auto),
        Some("json") => Ok(LogFormat::Json),
        Some("text") => Ok(LogFormat::Text),
        _ => Err(format!("{value} is none of \"auto\", \"json\", \"text\"")),
    }
}

pub(super) fn policy_mode(value: &Value) -> Result<Mode, String> {
    match value.as_str() {
        Some("enforce") => Ok(Mode::Enforce),
        Some("observe") => Ok(Mode::Observe),
        _ => Err(format!("{value} is none of \"enforce\", \"observe\"")),
    }
}
