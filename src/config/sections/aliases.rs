//! `[aliases]`: hosts of one's own, and the registry behind each.

use toml::Value;

use crate::config::reader::Reader;
use crate::registry::{Aliases, Registry};

/// Its heading.
pub(in crate::config) const ALIASES: &str = "aliases";

/// Reads the aliases; only the main file can have them.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Aliases {
    let (aliases, problems) = parse(reader.file().get(ALIASES));
    problems.iter().for_each(|problem| reader.report_file(problem));
    aliases
}

/// The aliases of a section, and what is wrong with it.
fn parse(section: Option<&Value>) -> (Aliases, Vec<String>) {
    let (mut aliases, mut problems) = (Aliases::default(), Vec::new());
    let table = match section {
        None => return (aliases, problems),
        Some(Value::Table(table)) => table,
        Some(_) => {
            problems.push("aliases is a section: write [aliases], and below it \"HOST\" = \"REGISTRY\"".to_owned());
            return (aliases, problems);
        }
    };
    for (alias, value) in table {
        let registry = value.as_str().ok_or_else(|| format!("{value} is not a text between quotes"));
        let registry = registry.and_then(|text| text.parse::<Registry>().map_err(|error| error.to_string()));
        let added = registry.and_then(|registry| aliases.add(alias, registry).map_err(|error| error.to_string()));
        problems.extend(added.err().map(|problem| format!("aliases.{alias:?}: {problem}")));
    }
    (aliases, problems)
}
