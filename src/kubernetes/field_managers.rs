//! The managers that own fields of an object.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The field manager of server-side apply.
pub const FIELD_MANAGER: &str = "ecr-broker";
/// Labels and annotations, to which controllers add theirs in any Secret.
const METADATA: &str = "f:metadata";

/// The managers of an object, as `metadata.managedFields` lists them.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct FieldManagers(Vec<FieldManager>);

/// A manager and its fields.
#[derive(Deserialize)]
struct FieldManager {
    #[serde(default)]
    manager: String,
    #[serde(rename = "fieldsV1", default)]
    fields: Map<String, Value>,
}

impl FieldManagers {
    /// Returns whether another manager owns contents of the object. Of two syncs that create it at the same time, both are this manager.
    pub(super) fn others_own_contents(&self) -> bool {
        self.others().flat_map(|other| other.fields.keys()).any(|field| field != METADATA)
    }

    /// Returns whether this manager has applied to an object that another created, and only this one has set a label. A Secret's creator
    /// owns its type, unless it applied without one: then it cannot be told from a manager that adds data. Who restores or adopts an
    /// object for this manager owns the label, too. Who takes one over owns the data alone.
    pub(super) fn is_only_labelled(&self, label: &str) -> bool {
        self.0.iter().any(|owner| owner.is_this() && owner.fields.contains_key("f:data"))
            && self.others().any(|other| other.fields.contains_key("f:type"))
            && !self.others().any(|other| other.owns_label(label))
    }

    fn others(&self) -> impl Iterator<Item = &FieldManager> {
        self.0.iter().filter(|owner| !owner.is_this())
    }
}

impl FieldManager {
    fn is_this(&self) -> bool {
        self.manager == FIELD_MANAGER
    }

    fn owns_label(&self, label: &str) -> bool {
        let labels = self.fields.get(METADATA).and_then(|metadata| metadata.get("f:labels"));
        labels.is_some_and(|labels| labels.get(format!("f:{label}")).is_some())
    }
}
