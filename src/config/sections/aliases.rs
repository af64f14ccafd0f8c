//! `[aliases]`: other host names for registries.

use toml::Value;

use crate::config::reader::Reader;
use crate::config::values::string;
use crate::registry::{Aliases, Registry};

/// The heading.
pub(in crate::config) const ALIASES: &str = "aliases";

/// Reads the aliases; only the main file can have them.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Aliases {
    let (aliases, problems) = parse(reader.file().get(ALIASES));
    problems.iter().for_each(|problem| reader.report_file(problem));
    aliases
}

/// Reads the aliases of the section, and returns its problems.
fn parse(section: Option<&Value>) -> (Aliases, Vec<String>) {
    let mut aliases = Aliases::default();
    let problems = match section {
        None => Vec::new(),
        Some(Value::Table(table)) => {
            let add = |(alias, value): (&String, &Value)| add(&mut aliases, alias, value).err();
            table.iter().filter_map(add).collect()
        }
        Some(_) => vec!["aliases is a section; write [aliases] and \"HOST\" = \"REGISTRY\" below it".to_owned()],
    };
    (aliases, problems)
}

fn add(aliases: &mut Aliases, alias: &str, value: &Value) -> Result<(), String> {
    let named = |problem: String| format!("aliases.{alias:?}: {problem}");
    let registry = string(value).map_err(named)?.parse::<Registry>().map_err(|error| named(error.to_string()))?;
    aliases.add(alias, registry).map_err(|error| named(error.to_string()))
}
