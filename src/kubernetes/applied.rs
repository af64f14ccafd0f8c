//! Answers to server-side apply.

use serde::Deserialize;

use super::field_managers::FieldManagers;

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
    managed_fields: FieldManagers,
}

impl Applied {
    /// Returns the version, which is the one before if nothing has changed.
    pub(super) fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// Returns whether another manager owns contents of the object.
    pub(super) fn is_of_another(&self) -> bool {
        self.metadata.managed_fields.others_own_contents()
    }
}
