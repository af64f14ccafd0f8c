//! The configuration in effect as TOML.

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use super::files::LISTS;
use super::list::List;
use super::reader::{Origin, Reader};
use super::sections::aliases::ALIASES;
use super::sections::issuers::ISSUERS;
use super::sections::limits::callers::CALLERS;
use super::sections::parents::PARENTS;
use super::setting::SettingMeta;
use super::settings::SECTIONS;
use super::sources::Sources;
use super::url::without_userinfo;

/// Returns every setting with the source of its value, then the lists of the files. Passwords in URLs are hidden.
#[must_use]
pub fn effective(sources: &Sources) -> String {
    let reader = Reader::new(sources);
    let section = |name: &str, settings: &[SettingMeta]| {
        let settings: String = settings.iter().map(|setting| line(setting, &reader)).collect();
        if name.is_empty() { format!("{settings}\n") } else { format!("[{name}]\n{settings}\n") }
    };
    let sections: String = SECTIONS.iter().map(|one| section(one.name, one.settings)).collect();
    without_userinfo(&(sections + &lists(&reader)))
}

/// Returns the fingerprint of the configuration in effect: equal for equal values from the same places.
#[must_use]
pub fn fingerprint(sources: &Sources) -> String {
    HEXLOWER.encode(&Sha256::digest(effective(sources))[..8])
}

/// Returns the same as lines of JSON: settings with the places of their values, then the lists of the files.
#[must_use]
pub fn effective_json(sources: &Sources) -> Vec<String> {
    let reader = Reader::new(sources);
    let settings = SECTIONS.iter().flat_map(|section| section.settings).map(|setting| json_line(setting, &reader));
    let in_main = in_main(reader.file()).map(|table| json!({ "lists": table, "origin": sources.files.name() }));
    let listed = reader.documents().filter_map(|document| {
        let lists = lists_of(&document.table);
        (!lists.is_empty()).then(|| json!({ "lists": lists, "origin": document.place }))
    });
    settings.chain(in_main).chain(listed).map(|line| without_userinfo(&line.to_string())).collect()
}

fn json_line(setting: &SettingMeta, reader: &Reader<'_>) -> serde_json::Value {
    let default = || setting.default.parse::<Value>().unwrap_or_else(|_| Value::String(setting.default.to_owned()));
    let (value, origin) = match reader.find(setting) {
        Some((value, origin)) => (Some(value), origin),
        None => ((!setting.default.is_empty()).then(default), Origin::Default),
    };
    json!({ "setting": setting.name(), "value": value, "origin": origin.place() })
}

fn line(setting: &SettingMeta, reader: &Reader<'_>) -> String {
    let (value, origin) = match reader.find(setting) {
        Some((value, origin)) => (value.to_string(), origin),
        None => (setting.default.to_owned(), Origin::Default),
    };
    match value.as_str() {
        "" => format!("# {} is not set\n", setting.key),
        value => format!("{} = {value} # {}\n", setting.key, origin.place()),
    }
}

/// Returns the issuers, limits of callers, parents, aliases, profiles and grants of the files.
fn lists(reader: &Reader<'_>) -> String {
    let mut text: String = in_main(reader.file()).map(|table| table.to_string()).collect();
    for document in reader.documents() {
        let lists = lists_of(&document.table);
        if !lists.is_empty() {
            text.extend(["# ", document.place.as_str(), "\n", lists.to_string().as_str()]);
        }
    }
    if !reader.documents().any(|document| document.table.contains_key("grants")) {
        text += "# No grants: every caller that can open the socket has full access.\n";
    }
    text
}

fn lists_of(table: &Table) -> Table {
    LISTS.iter().filter_map(|list| Some(((*list).to_owned(), table.get(*list)?.clone()))).collect()
}

/// Returns the lists that only the main file can have.
fn in_main(file: &Table) -> impl Iterator<Item = Table> {
    let of = |key: &str| Some(Table::from_iter([(key.to_owned(), file.get(key)?.clone())]));
    let inner = [list_of(file, "authentication", &ISSUERS), list_of(file, "limits", &CALLERS)];
    inner.into_iter().chain([of(PARENTS.key), of(ALIASES)]).flatten()
}

/// Returns a list that is part of a section.
fn list_of(file: &Table, section: &str, list: &List) -> Option<Table> {
    let tables = file.get(section)?.get(list.key)?.clone();
    let table = Table::from_iter([(list.key.to_owned(), tables)]);
    Some(Table::from_iter([(section.to_owned(), Value::Table(table))]))
}
