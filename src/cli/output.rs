//! Output formats for credentials.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::client::{RegistryCredentials, valid_for};
use crate::helper::registry_auth::{authorization, basic};
use crate::kubernetes_name;
use crate::quoted::Visible;
use crate::time_text::{rfc3339_millis, short};

/// Output format for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
pub(super) enum OutputFormat {
    /// Facts for people, without the password
    Text,
    /// JSON, a line per registry, with the password
    Json,
    /// Password only
    Password,
    /// AWS:PASSWORD
    Userpass,
    /// docker config.json
    DockerConfig,
    /// Shell exports of ECR_REGISTRY, ECR_USERNAME, ECR_PASSWORD and ECR_EXPIRES_AT
    Env,
    /// Authorization header for requests to the registry
    Header,
    /// Kubernetes image pull Secret, as YAML
    K8sSecret,
}

/// Name of a Kubernetes Secret.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SecretArgs {
    /// Name of the Secret; required by -o k8s-secret
    #[arg(long, value_name = "NAME", required_if_eq("output", "k8s-secret"), value_parser = kubernetes_name::parse)]
    name: Option<String>,
    /// Namespace of the Secret; default: kubectl's current one
    #[arg(long, value_name = "NAMESPACE", value_parser = kubernetes_name::parse)]
    namespace: Option<String>,
}

impl SecretArgs {
    pub(super) fn is_set(&self) -> bool {
        self.name.is_some() || self.namespace.is_some()
    }
}

/// The part of a decoded password that only the simulated AWS writes.
#[derive(Deserialize)]
struct Simulated {
    #[serde(rename = "simulated")]
    _note: IgnoredAny,
}

/// Fields of the protobuf message: times as RFC 3339, enum values without their prefix.
#[derive(Serialize)]
struct Line<'a> {
    registry: &'a str,
    endpoint: &'a str,
    username: &'a str,
    password: &'a str,
    issue_time: Option<String>,
    expire_time: Option<String>,
    refresh_after: Option<String>,
    valid_for: Option<String>,
    registry_type: &'a str,
    auth_scheme: &'a str,
    credential_id: &'a str,
    cache_status: &'a str,
    account_id: &'a str,
    region: &'a str,
    profile: &'a str,
}

/// Returns the credentials as text, without a newline at the end.
pub(super) fn render(
    format: OutputFormat,
    secret: &SecretArgs,
    credentials: &[RegistryCredentials],
) -> serde_json::Result<String> {
    let lines = |line: fn(&RegistryCredentials) -> String, gap: &str| {
        credentials.iter().map(line).collect::<Vec<_>>().join(gap)
    };
    Ok(match format {
        OutputFormat::Text => lines(text, "\n\n"),
        OutputFormat::Json => {
            let lines: Result<Vec<_>, _> = credentials.iter().map(|one| serde_json::to_string(&line(one))).collect();
            lines?.join("\n")
        }
        OutputFormat::Password => lines(|one| one.password.clone(), "\n"),
        OutputFormat::Userpass => lines(userpass, "\n"),
        OutputFormat::DockerConfig => serde_json::to_string_pretty(&docker_config(credentials))?,
        OutputFormat::Env => lines(env, "\n"),
        OutputFormat::Header => lines(|one| format!("Authorization: {}", authorization(one)), "\n"),
        OutputFormat::K8sSecret => k8s_secret(secret, &serde_json::to_string(&docker_config(credentials))?),
    })
}

/// Returns the fields of a line of `-o json`.
pub(super) fn json_object(credentials: &RegistryCredentials) -> Map<String, Value> {
    match serde_json::to_value(line(credentials)) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn text(credentials: &RegistryCredentials) -> String {
    let line = line(credentials);
    let mut text = String::new();
    for (name, value) in [
        ("registry", line.registry.to_owned()),
        ("username", line.username.to_owned()),
        ("password", "(not shown; -o password prints it)".to_owned()),
        ("simulated", simulated(line.password).unwrap_or_default().to_owned()),
        ("expires", line.expire_time.unwrap_or_default() + &remaining(credentials)),
        ("refresh", refresh_after(credentials).map(|after| format!("in {}", short(after))).unwrap_or_default()),
        ("cache", line.cache_status.to_owned()),
        ("account", line.account_id.to_owned()),
        ("region", line.region.to_owned()),
        ("profile", line.profile.to_owned()),
        ("credential id", line.credential_id.to_owned()),
    ] {
        if !value.is_empty() {
            _ = write!(text, "{}{name:<14} {}", if text.is_empty() { "" } else { "\n" }, Visible(&value));
        }
    }
    text
}

/// Returns what is to be said of a password of the simulated AWS: it has the shape of a real one, with a note inside.
fn simulated(password: &str) -> Option<&'static str> {
    let decoded = Zeroizing::new(BASE64.decode(password.as_bytes()).ok()?);
    let Simulated { .. } = serde_json::from_slice(&decoded).ok()?;
    Some("yes: no real registry accepts the password; the broker runs with --simulate")
}

/// Returns the time left by the broker's clocks: this machine's may be wrong.
fn remaining(credentials: &RegistryCredentials) -> String {
    valid_for(credentials).map(|left| format!(" (in {})", short(left))).unwrap_or_default()
}

/// Returns the time until the broker has newer credentials.
fn refresh_after(credentials: &RegistryCredentials) -> Option<Duration> {
    credentials.refresh_after?.try_into().ok()
}

fn line(credentials: &RegistryCredentials) -> Line<'_> {
    let rfc3339 = |timestamp| rfc3339_millis(time(timestamp)?);
    let short = |name: &'static str, prefix: &str| name.strip_prefix(prefix).unwrap_or(name);
    Line {
        registry: &credentials.registry,
        endpoint: &credentials.endpoint,
        username: &credentials.username,
        password: &credentials.password,
        issue_time: rfc3339(credentials.issue_time),
        expire_time: rfc3339(credentials.expire_time),
        refresh_after: credentials.refresh_after.map(|duration| format!("{}s", duration.seconds)),
        valid_for: credentials.valid_for.map(|duration| format!("{}s", duration.seconds)),
        registry_type: short(credentials.registry_type().as_str_name(), "REGISTRY_TYPE_"),
        auth_scheme: short(credentials.auth_scheme().as_str_name(), "AUTH_SCHEME_"),
        credential_id: &credentials.credential_id,
        cache_status: short(credentials.cache_status().as_str_name(), "CACHE_STATUS_"),
        account_id: &credentials.account_id,
        region: &credentials.region,
        profile: &credentials.profile,
    }
}

fn time(timestamp: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    timestamp?.try_into().ok()
}

fn userpass(credentials: &RegistryCredentials) -> String {
    format!("{}:{}", credentials.username, credentials.password)
}

/// Quotes every value. No value of today contains a quote, but a later one could.
fn env(credentials: &RegistryCredentials) -> String {
    let line = line(credentials);
    let quoted = |name: &str, value: &str| format!("export {name}='{}'", value.replace('\'', r"'\''"));
    [
        quoted("ECR_REGISTRY", line.registry),
        quoted("ECR_USERNAME", line.username),
        quoted("ECR_PASSWORD", line.password),
        quoted("ECR_EXPIRES_AT", &line.expire_time.unwrap_or_default()),
    ]
    .join("\n")
}

fn k8s_secret(SecretArgs { name, namespace }: &SecretArgs, config: &str) -> String {
    let namespace = namespace.as_ref().map(|namespace| format!("\n  namespace: \"{namespace}\"")).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"{}\"{namespace}\ntype: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: {}",
        name.as_deref().unwrap_or_default(),
        BASE64.encode(config.as_bytes())
    )
}

fn docker_config(credentials: &[RegistryCredentials]) -> Value {
    let auth =
        |one: &RegistryCredentials| (one.registry.clone(), json!({ "auth": basic(&one.username, &one.password) }));
    json!({ "auths": credentials.iter().map(auth).collect::<Map<_, _>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let credentials = RegistryCredentials {
            expire_time: Some((SystemTime::UNIX_EPOCH + Duration::from_hours(12)).into()),
            valid_for: duration(43_170),
            refresh_after: duration(3_946),
            ..RegistryCredentials::default()
        };
        let text = text(&credentials);
        for line in ["expires        1970-01-01T12:00:00.000Z (in 11h59m)", "refresh        in 1h05m"] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
