//! Secrets as they are stored and applied. Neither `Debug` shows a value.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::field_managers::FieldManagers;
use super::name::SecretName;
use super::sensitive::Sensitive;

/// A stored Secret.
#[derive(Deserialize)]
pub struct Secret {
    #[serde(default)]
    metadata: Metadata,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    immutable: Option<bool>,
    /// Values in Base64.
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    managed_fields: FieldManagers,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl Secret {
    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.metadata.labels.get(name).map(String::as_str)
    }

    /// Returns whether another manager created the Secret, and only sync has set this label: by an apply to a Secret that appeared between
    /// read and write, and that could not be given up.
    #[must_use]
    pub fn is_only_labelled(&self, label: &str) -> bool {
        self.metadata.managed_fields.is_only_labelled(label)
    }

    /// Returns the value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.get(name).map(String::as_str)
    }

    /// Returns the type, such as `kubernetes.io/dockerconfigjson`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns whether the API server refuses every change of the contents.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }

    /// Returns a decoded value, if it is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<Zeroizing<String>> {
        let decoded = BASE64.decode(self.data.as_ref()?.get(key)?.as_bytes()).ok()?;
        String::from_utf8(decoded).ok().map(Zeroizing::new)
    }

    /// Returns all values in Base64, as the API server writes them.
    pub fn encoded(&self) -> impl Iterator<Item = Zeroizing<String>> {
        self.data.iter().flat_map(BTreeMap::values).map(|value| Zeroizing::new(value.clone()))
    }

    /// Returns the version, which changes with each write.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    pub(super) fn uid(&self) -> &str {
        &self.metadata.uid
    }
}

/// The fields of a Secret that sync owns.
#[derive(Default)]
pub struct Manifest {
    /// The type.
    pub kind: &'static str,
    /// Labels.
    pub labels: BTreeMap<&'static str, &'static str>,
    /// Annotations.
    pub annotations: BTreeMap<&'static str, String>,
    /// Values, which the request encodes.
    pub data: BTreeMap<&'static str, Zeroizing<String>>,
    /// Parts of values that no message may repeat, also of values that these replace.
    pub sensitive: Sensitive,
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest").finish_non_exhaustive()
    }
}

impl Manifest {
    /// Returns whether a Secret has these fields already.
    #[must_use]
    pub fn is_stored_in(&self, secret: &Secret, keys: &[&str]) -> bool {
        secret.kind == self.kind
            && self.labels.iter().all(|(name, value)| secret.label(name) == Some(value))
            && self.annotations.iter().all(|(name, value)| secret.annotation(name) == Some(value.as_str()))
            && keys.iter().all(|key| secret.text(key).as_ref() == self.data.get(key))
    }

    /// Returns whether a text repeats a credential or a longer part of one, also in Base64.
    #[must_use]
    pub fn is_repeated_in(&self, text: &str) -> bool {
        let documents: Sensitive =
            self.data.values().map(|value| Zeroizing::new(BASE64.encode(value.as_bytes()))).collect();
        documents.is_repeated_in(text) || self.sensitive.is_repeated_in(text)
    }

    /// Returns the request's body. `version`: the one that the stored Secret must still have.
    pub(super) fn body<'a>(&'a self, name: &'a SecretName, version: Option<&'a str>) -> Body<'a> {
        let encoded = |(key, value): (&&'static str, &Zeroizing<String>)| (*key, BASE64.encode(value.as_bytes()));
        Body {
            api_version: "v1",
            kind: "Secret",
            metadata: BodyMetadata {
                name: &name.name,
                namespace: &name.namespace,
                labels: &self.labels,
                annotations: &self.annotations,
                resource_version: version,
            },
            secret_type: self.kind,
            data: self.data.iter().map(encoded).collect(),
        }
    }
}

/// The body of an apply.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: BodyMetadata<'a>,
    #[serde(rename = "type")]
    secret_type: &'static str,
    data: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyMetadata<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: &'a BTreeMap<&'static str, &'static str>,
    annotations: &'a BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
}
