//! The contents of a Secret for each of its readers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::held::Held;
use crate::helper::registry_auth::parse_basic;
use crate::kubernetes::{Manifest, Secret};

/// The label of Secrets that sync created, and its value.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "ecr-broker");
/// The annotation with the soonest expiry, for people.
const EXPIRES: &str = "ecr-broker/expires-at";
/// The annotation with the note of each credential.
const CREDENTIALS: &str = "ecr-broker/credentials";

const DOCKER_TYPE: &str = "kubernetes.io/dockerconfigjson";
const DOCKER_KEY: &str = ".dockerconfigjson";
const ARGOCD_LABEL: &str = "argocd.argoproj.io/secret-type";

/// The reader of the Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
pub(in crate::cli::sync) enum Template {
    /// kubelet's imagePullSecrets, Flux's OCIRepository and ImageRepository: all registries
    Docker,
    /// Argo CD: one repository, with the URL as you name the registry
    Argocd,
    /// Argo CD: a template for all repositories of one registry
    ArgocdCreds,
    /// Flux's HelmRepository: username and password of one registry
    Flux,
}

/// A template, and the URL that it writes.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    template: Template,
    url: String,
}

impl Template {
    /// Returns whether the Secret has the credential of one registry only.
    pub(in crate::cli::sync) fn is_for_one_registry(self) -> bool {
        self != Self::Docker
    }
}

impl Layout {
    /// Takes the registry as the user names it. Only the templates of Argo CD write it.
    pub(super) fn new(template: Template, registry: &str) -> Self {
        let url = repository(registry);
        let url = match template {
            // Argo CD compares prefixes: without the slash, HOST.example would match too.
            Template::ArgocdCreds => host(&url) + "/",
            _ => url,
        };
        Self { template, url }
    }

    /// Returns the keys of `data` that sync writes or removes.
    pub(super) fn keys(&self) -> &'static [&'static str] {
        match self.template {
            Template::Docker => &[DOCKER_KEY],
            Template::Argocd | Template::ArgocdCreds => &["url", "type", "enableOCI", "username", "password"],
            Template::Flux => &["username", "password"],
        }
    }

    /// Returns the Secret with these credentials.
    pub(super) fn manifest(&self, held: &BTreeMap<String, Held>) -> Manifest {
        let first = || held.values().next().and_then(|held| parse_basic(&held.auth));
        let (kind, data) = match self.template {
            Template::Docker => (DOCKER_TYPE, BTreeMap::from([(DOCKER_KEY, docker_config(held))])),
            Template::Argocd | Template::ArgocdCreds => ("Opaque", self.argocd(first())),
            Template::Flux => ("Opaque", basic(first())),
        };
        let mut labels = BTreeMap::from([MANAGED_BY]);
        match self.template {
            Template::Argocd => labels.insert(ARGOCD_LABEL, "repository"),
            Template::ArgocdCreds => labels.insert(ARGOCD_LABEL, "repo-creds"),
            Template::Docker | Template::Flux => None,
        };
        let mut annotations = BTreeMap::from([(CREDENTIALS, notes(held))]);
        if let Some(expires) = held.values().map(Held::end).min().and_then(crate::time_text::rfc3339_seconds) {
            annotations.insert(EXPIRES, expires);
        }
        let sensitive = held.values().flat_map(|held| sensitive(&held.auth)).collect();
        Manifest { kind, labels, annotations, data, sensitive }
    }

    /// Returns the credentials that sync wrote into a Secret. Those that others changed since are left out.
    pub(super) fn held(&self, secret: &Secret) -> BTreeMap<String, Held> {
        let notes =
            secret.annotation(CREDENTIALS).and_then(|notes| serde_json::from_str::<Map<String, Value>>(notes).ok());
        let notes = notes.unwrap_or_default();
        let held = |(host, note): (&String, &Value)| {
            let auth = self.auth(secret, host)?;
            Some((host.clone(), Held::noted(auth, note)?))
        };
        notes.iter().filter_map(held).collect()
    }

    fn auth(&self, secret: &Secret, host: &str) -> Option<Zeroizing<String>> {
        if self.template == Template::Docker {
            let config: Value = serde_json::from_str(&secret.text(DOCKER_KEY)?).ok()?;
            return config["auths"][host]["auth"].as_str().map(|auth| Zeroizing::new(auth.to_owned()));
        }
        let (username, password) = (secret.text("username")?, secret.text("password")?);
        Some(Zeroizing::new(crate::helper::registry_auth::basic(&username, &password)))
    }

    /// A Helm repository whose URL has no scheme, or with `oci://` an OCI repository.
    fn argocd(&self, login: Option<(String, String)>) -> BTreeMap<&'static str, Zeroizing<String>> {
        let mut data = basic(login);
        let kind = if self.url.starts_with(OCI) { "oci" } else { "helm" };
        data.extend(
            [("url", self.url.clone()), ("type", kind.to_owned())].map(|(key, text)| (key, Zeroizing::new(text))),
        );
        if kind == "helm" {
            data.insert("enableOCI", Zeroizing::new("true".to_owned()));
        }
        data
    }
}

const OCI: &str = "oci://";

/// Returns a registry's URL without tag, digest and schemes other than `oci://`.
fn repository(registry: &str) -> String {
    let (scheme, rest) = registry.split_once("://").unwrap_or(("", registry));
    let rest = rest.split(['@', '?', '#']).next().unwrap_or(rest).trim_end_matches('/');
    let untagged = match rest.rsplit_once(':') {
        Some((before, tag)) if before.contains('/') && !tag.contains('/') => before,
        _ => rest,
    };
    let scheme = if scheme.eq_ignore_ascii_case("oci") { OCI } else { "" };
    scheme.to_owned() + untagged
}

fn host(url: &str) -> String {
    let (scheme, rest) = url.strip_prefix(OCI).map_or(("", url), |rest| (OCI, rest));
    scheme.to_owned() + rest.split('/').next().unwrap_or(rest)
}

fn docker_config(held: &BTreeMap<String, Held>) -> Zeroizing<String> {
    let auths: Map<_, _> = held.iter().map(|(host, held)| (host.clone(), json!({ "auth": *held.auth }))).collect();
    Zeroizing::new(json!({ "auths": auths }).to_string())
}

fn basic(login: Option<(String, String)>) -> BTreeMap<&'static str, Zeroizing<String>> {
    let pairs = login.map(|(username, password)| [("username", username), ("password", password)]);
    pairs.into_iter().flatten().map(|(key, text)| (key, Zeroizing::new(text))).collect()
}

fn notes(held: &BTreeMap<String, Held>) -> String {
    let notes: Map<_, _> = held.iter().map(|(host, held)| (host.clone(), held.note())).collect();
    Value::Object(notes).to_string()
}

/// Returns what no message may repeat of a stored Secret, whichever template wrote it: a webhook may quote the object as it was.
pub(super) fn stored_values(secret: &Secret) -> Vec<Zeroizing<String>> {
    let config: Value = secret.text(DOCKER_KEY).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let entries = config["auths"].as_object().into_iter().flat_map(Map::values);
    let auths = entries.filter_map(|entry| entry["auth"].as_str()).flat_map(sensitive);
    secret.encoded().chain(auths).chain(secret.text("password")).collect()
}

fn sensitive(auth: &str) -> Vec<Zeroizing<String>> {
    let password = parse_basic(auth).map(|(_, password)| Zeroizing::new(password));
    std::iter::once(Zeroizing::new(auth.to_owned())).chain(password).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sync::expiry_notes::digest;

    const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

    fn held() -> BTreeMap<String, Held> {
        let auth = crate::helper::registry_auth::basic("AWS", "secret");
        let note = json!({ "id": "id", "end": 1_000, "sha256": digest(&auth) });
        BTreeMap::from([(HOST.to_owned(), Held::noted(Zeroizing::new(auth), &note).unwrap())])
    }

    fn written(template: Template, registry: &str) -> (Vec<(String, String)>, String) {
        let manifest = Layout::new(template, registry).manifest(&held());
        let data = manifest.data.iter().map(|(key, text)| ((*key).to_owned(), text.to_string())).collect();
        (data, format!("{:?}", manifest.labels))
    }

    #[test]
    fn docker_secret_has_the_file_of_docker() {
        let (data, _) = written(Template::Docker, HOST);
        let auth = crate::helper::registry_auth::basic("AWS", "secret");
        let config = json!({ "auths": { HOST: { "auth": auth } } });
        assert_eq!(data, [(".dockerconfigjson".to_owned(), config.to_string())]);
    }

    #[test]
    fn argo_cd_secret_has_the_url_as_the_application_names_it() {
        let text = |(data, _): (Vec<(String, String)>, String)| {
            data.iter().map(|(key, text)| format!("{key}={text}")).collect::<Vec<_>>().join(" ")
        };
        let repository = format!("{HOST}/charts/app");
        for (registry, url) in [
            (format!("{repository}:1.2"), format!("type=helm url={repository} ")),
            (format!("https://{repository}@sha256:aa"), format!("type=helm url={repository} ")),
            (format!("oci://{repository}"), format!("type=oci url=oci://{repository} ")),
            (HOST.to_owned(), format!("type=helm url={HOST} ")),
        ] {
            let oci = if registry.starts_with(OCI) { "" } else { "enableOCI=true " };
            let expected = format!("{oci}password=secret {url}username=AWS");
            assert_eq!(text(written(Template::Argocd, &registry)), expected);
        }
        let (_, labels) = written(Template::Argocd, HOST);
        assert!(labels.contains("\"argocd.argoproj.io/secret-type\": \"repository\""), "{labels}");
        for (registry, url) in
            [(repository.clone(), format!("{HOST}/")), (format!("oci://{HOST}"), format!("oci://{HOST}/"))]
        {
            let found = text(written(Template::ArgocdCreds, &registry));
            assert!(found.contains(&format!("url={url} ")), "{found}");
        }
    }

    #[test]
    fn flux_secret_has_username_and_password() {
        let (data, labels) = written(Template::Flux, HOST);
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        assert_eq!(data, [pair("password", "secret"), pair("username", "AWS")]);
        assert_eq!(labels, "{\"app.kubernetes.io/managed-by\": \"ecr-broker\"}");
    }

    #[test]
    fn secret_without_credentials_has_no_password_and_no_expiry() {
        for template in [Template::Docker, Template::Argocd, Template::ArgocdCreds, Template::Flux] {
            let manifest = Layout::new(template, HOST).manifest(&BTreeMap::new());
            assert!(!manifest.data.contains_key("password"), "{template:?}");
            assert_eq!(manifest.annotations.keys().copied().collect::<Vec<_>>(), [CREDENTIALS]);
            assert_eq!(manifest.data.get(DOCKER_KEY).map_or("{\"auths\":{}}", |text| text), "{\"auths\":{}}");
        }
    }
}
