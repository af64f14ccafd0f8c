//! Answers to server-side apply.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The field manager of server-side apply.
pub const FIELD_MANAGER: &str = "ecr-broker";
/// Labels and annotations, to which controllers add theirs in any Secret.
const METADATA: &str = "f:metadata";

/// The answer to an apply, of which only the metadata is read.
#[derive(Deserialize)]
pub(super) struct Applied {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    managed_fields: Vec<ManagedFields>,
}

/// The fields that a manager owns.
#[derive(Deserialize)]
struct ManagedFields {
    #[serde(default)]
    manager: String,
    #[serde(rename = "fieldsV1", default)]
    fields: Map<String, Value>,
}

impl Applied {
    /// Returns the version, which is the one before if nothing has changed.
    pub(super) fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// Returns whether another manager owns contents of the object. Of two syncs that create it at the same time, both are this manager.
    pub(super) fn is_of_another(&self) -> bool {
        let others = self.metadata.managed_fields.iter().filter(|managed| managed.manager != FIELD_MANAGER);
        others.flat_map(|managed| managed.fields.keys()).any(|field| field != METADATA)
    }
}
