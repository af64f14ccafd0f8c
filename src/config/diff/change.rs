//! A difference between two configurations.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// A difference between two configurations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What has changed: `profile`, `issuer`, `alias`, `grant`, `parent`, `caller limit` or `setting`.
    pub kind: &'static str,
    /// The name of the profile, issuer, alias, grant or setting.
    pub name: String,
    /// How it has changed.
    pub change: ChangeKind,
    /// The settings that differ.
    pub settings: Vec<SettingChange>,
    /// The grants, old and new, that it concerns.
    pub grants: BTreeSet<String>,
    /// The callers of these grants, in the syntax of the file.
    pub callers: BTreeSet<String>,
    /// The registries of these grants, in the syntax of the file.
    pub registries: BTreeSet<String>,
    /// What a reload drops from memory.
    pub drops: Option<&'static str>,
    /// Whether it takes effect at the next start only.
    pub needs_restart: bool,
    /// Why a reload refuses it, with the fix. The file that has it then keeps its last contents.
    pub refused: Option<String>,
}

/// How something has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Only the new configuration has it.
    Added,
    /// Only the old configuration has it.
    Removed,
    /// Both have it.
    Changed,
}

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingChange {
    /// The key.
    pub setting: String,
    /// The old value; null: it was not set.
    pub old: Value,
    /// The new value; null: it is not set.
    pub new: Value,
}

impl Change {
    pub(super) fn new(kind: &'static str, name: &str, change: ChangeKind) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            change,
            settings: Vec::new(),
            grants: BTreeSet::new(),
            callers: BTreeSet::new(),
            registries: BTreeSet::new(),
            drops: None,
            needs_restart: false,
            refused: None,
        }
    }
}
