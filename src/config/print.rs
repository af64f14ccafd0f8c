//! The configuration in effect as TOML.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use super::files::LISTS;
use super::reader::{Origin, Reader};
use super::sections::aliases::ALIASES;
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
        format!("[{name}]\n{settings}\n")
    };
    let sections: String = SECTIONS.iter().map(|one| section(one.name, one.settings)).collect();
    without_userinfo(&(sections + &lists(&reader)))
}

/// Returns the fingerprint of the configuration in effect: equal for equal values from the same places.
#[must_use]
pub fn fingerprint(sources: &Sources) -> String {
    HEXLOWER.encode(&Sha256::digest(effective(sources))[..8])
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

/// Returns the issuers, aliases, profiles and grants of the files.
fn lists(reader: &Reader<'_>) -> String {
    let in_main = [issuers(reader.file()), aliases(reader.file())];
    let mut text: String = in_main.into_iter().flatten().map(|table| table.to_string()).collect();
    for document in reader.documents() {
        let lists = LISTS.iter().filter_map(|list| Some(((*list).to_owned(), document.table.get(*list)?.clone())));
        let lists: Table = lists.collect();
        if !lists.is_empty() {
            text.extend(["# ", document.place.as_str(), "\n", lists.to_string().as_str()]);
        }
    }
    if !reader.documents().any(|document| document.table.contains_key("grants")) {
        text += "# No grants: every caller that can open the socket has full access.\n";
    }
    text
}

fn issuers(file: &Table) -> Option<Table> {
    let issuers = file.get("authentication")?.get("jwt")?.clone();
    let section = Table::from_iter([("jwt".to_owned(), issuers)]);
    Some(Table::from_iter([("authentication".to_owned(), Value::Table(section))]))
}

fn aliases(file: &Table) -> Option<Table> {
    Some(Table::from_iter([(ALIASES.to_owned(), file.get(ALIASES)?.clone())]))
}
