//! The configuration in effect as TOML.

use toml::{Table, Value};

use super::files::LISTS;
use super::reader::{Origin, Reader};
use super::sections::aliases::ALIASES;
use super::setting::SettingMeta;
use super::settings::SECTIONS;
use super::sources::Sources;

/// Returns every setting with the place that its value came from, then the lists of the files.
#[must_use]
pub fn effective(sources: &Sources) -> String {
    let reader = Reader::new(sources);
    let section = |name: &str, settings: &[SettingMeta]| {
        let settings: String = settings.iter().map(|setting| line(setting, &reader)).collect();
        format!("[{name}]\n{settings}\n")
    };
    let sections: String = SECTIONS.iter().map(|one| section(one.name, one.settings)).collect();
    sections + &lists_as_typed(&reader)
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

/// The issuers, aliases, profiles and grants as they stand in the files.
fn lists_as_typed(reader: &Reader<'_>) -> String {
    let mut text = String::new();
    let issuers = reader.file().get("authentication").and_then(|section| section.get("jwt"));
    if let Some(issuers) = issuers {
        let section = Table::from_iter([("jwt".to_owned(), issuers.clone())]);
        text += &Table::from_iter([("authentication".to_owned(), Value::Table(section))]).to_string();
    }
    if let Some(aliases) = reader.file().get(ALIASES) {
        text += &Table::from_iter([(ALIASES.to_owned(), aliases.clone())]).to_string();
    }
    for document in reader.documents() {
        let typed = LISTS.iter().filter_map(|list| Some(((*list).to_owned(), document.table.get(*list)?.clone())));
        let typed: Table = typed.collect();
        if !typed.is_empty() {
            text.extend(["# ", document.place.as_str(), "\n", typed.to_string().as_str()]);
        }
    }
    let open = "# There are no grants: whoever may open the socket may have everything.\n";
    if reader.documents().iter().any(|one| one.table.contains_key("grants")) { text } else { text + open }
}
