//! The tables of lists by their names, as the files have them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::Table;

use super::change::SettingChange;
use crate::config::list::List;
use crate::config::reader::Reader;
use crate::config::sections::aliases::ALIASES;
use crate::config::sections::grants::GRANTS;
use crate::config::sections::issuers::ISSUERS;
use crate::config::sections::limits::callers::CALLERS;
use crate::config::sections::parents::PARENTS;
use crate::config::sections::profiles::PROFILES;
use crate::config::url::without_userinfo;

/// The key whose values are not shown.
const HIDDEN: &str = "external_id";

/// A list, and the section that it is part of.
pub(super) struct Kind {
    pub(super) name: &'static str,
    list: &'static List,
    section: Option<&'static str>,
    /// The name of the list if a change of it needs a restart.
    pub(super) restart: Option<&'static str>,
}

/// The lists, in the order of the report.
pub(super) const KINDS: [Kind; 6] = [
    Kind { name: "profile", list: &PROFILES, section: None, restart: None },
    Kind { name: "issuer", list: &ISSUERS, section: Some("authentication"), restart: None },
    Kind { name: "alias", list: &ALIAS_LIST, section: None, restart: None },
    Kind { name: "grant", list: &GRANTS, section: None, restart: None },
    Kind { name: "parent", list: &PARENTS, section: None, restart: Some("parents") },
    Kind { name: "caller limit", list: &CALLERS, section: Some("limits"), restart: Some("limits.callers") },
];

/// Aliases are a table of hosts, which is read as a list of tables with a registry.
const ALIAS_LIST: List =
    List { key: ALIASES, heading: ALIASES, one: "alias", named_by: "host", unique: "host", keys: &["registry"] };

/// The tables of one kind by their names.
pub(super) type ByName = BTreeMap<String, Table>;

/// The tables of all lists of a configuration.
pub(super) struct Tables(BTreeMap<&'static str, ByName>);

impl Tables {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        Self(KINDS.iter().map(|kind| (kind.name, kind.read(reader))).collect())
    }

    pub(super) fn of(&self, kind: &str) -> &ByName {
        static NONE: ByName = ByName::new();
        self.0.get(kind).unwrap_or(&NONE)
    }

    /// Returns the names of lists that differ and take effect at the next start only.
    pub(super) fn restart_lists_beside(&self, other: &Self) -> Vec<String> {
        let differs = |kind: &&Kind| kind.restart.is_some() && self.of(kind.name) != other.of(kind.name);
        KINDS.iter().filter(differs).filter_map(|kind| kind.restart.map(str::to_owned)).collect()
    }
}

impl Kind {
    fn read(&self, reader: &Reader<'_>) -> ByName {
        let in_section = |table: &Table| match self.section {
            Some(section) => table.get(section)?.get(self.list.key).cloned(),
            None => table.get(self.list.key).cloned(),
        };
        let mut by_name = ByName::new();
        for document in reader.documents() {
            match in_section(&document.table) {
                Some(toml::Value::Array(items)) => {
                    let tables = items.into_iter().filter_map(|item| item.try_into::<Table>().ok());
                    by_name.extend(tables.enumerate().map(|(index, table)| (self.name_of(index, &table), table)));
                }
                Some(toml::Value::Table(items)) => {
                    let table = |value| Table::from_iter([("registry".to_owned(), value)]);
                    by_name.extend(items.into_iter().map(|(host, value)| (host, table(value))));
                }
                _ => {}
            }
        }
        by_name
    }

    fn name_of(&self, index: usize, table: &Table) -> String {
        let name = table.get(self.list.named_by);
        name.map_or_else(|| format!("number {}", index + 1), |name| plain(&redacted("", name)))
    }
}

/// Returns the keys whose values differ.
pub(super) fn differences(old: Option<&Table>, new: Option<&Table>) -> Vec<SettingChange> {
    let keys: BTreeSet<_> = [old, new].into_iter().flatten().flat_map(Table::keys).collect();
    let differs = |key: &&String| old.and_then(|table| table.get(*key)) != new.and_then(|table| table.get(*key));
    let change = |key: &String| {
        let [old, new] =
            [old, new].map(|table| table.and_then(|table| table.get(key)).map(|value| redacted(key, value)));
        SettingChange { setting: key.clone(), old: old.unwrap_or_default(), new: new.unwrap_or_default() }
    };
    keys.into_iter().filter(differs).map(change).collect()
}

/// Returns a value of a key without secrets.
pub(super) fn redacted(key: &str, value: &toml::Value) -> Value {
    match value {
        _ if key == HIDDEN => Value::from("(hidden)"),
        toml::Value::String(text) => Value::from(without_userinfo(text)),
        toml::Value::Array(items) => items.iter().map(|item| redacted(key, item)).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), redacted(key, value))).collect(),
        other => serde_json::to_value(other).unwrap_or_default(),
    }
}

/// Returns a value for people: a text without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
