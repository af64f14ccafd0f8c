//! Unknown keys and variables, and variables that are not text. They are problems, because they would otherwise have no effect.

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use super::files::{Document, INCLUDE, LISTS};
use super::reader::Reader;
use super::sections::aliases::ALIASES;
use super::sections::parents::PARENTS;
use super::sections::{issuers, limits::callers};
use super::setting::{Section, SettingMeta, variable_prefix};
use super::settings::SECTIONS;
use crate::environment;

/// Variables of the build, which `cargo run` passes on.
const BUILD_VARIABLES: [&str; 2] = ["ECR_BROKER_COMMIT", "ECR_BROKER_FEATURES"];

/// Reports unknown keys of the files, and variables of the environment that are unknown or not text.
pub(super) fn report(reader: &mut Reader<'_>) {
    for problem in problems_of_file(reader.file()) {
        reader.report_file(&problem);
    }
    let included = reader.included().iter().flat_map(problems_of_included).collect();
    reader.collect(((), included));
    for name in &reader.sources().not_utf8 {
        reader.report_at(name.clone(), environment::NOT_UTF8.to_owned());
    }
    for (name, _) in &reader.sources().environment {
        if let Some(problem) = problem_of_variable(name) {
            reader.report_at(name.clone(), problem);
        }
    }
}

fn problems_of_file(file: &Table) -> Vec<String> {
    let is_general = |key: &str| all_settings().any(|setting| setting.section.is_empty() && setting.key == key);
    let is_known =
        |key: &str| LISTS.contains(&key) || [INCLUDE, ALIASES, PARENTS.key].contains(&key) || is_general(key);
    let others = file.iter().filter(|(key, _)| !is_known(key));
    others.flat_map(|(section, value)| problems_of_section(section, value)).collect()
}

/// Included files have lists only, so that their authors cannot change the broker's settings.
fn problems_of_included(document: &Document) -> Vec<Diagnostic> {
    let others = document.table.keys().filter(|key| !LISTS.contains(&key.as_str()));
    let diagnostic = |key: &String| Diagnostic {
        place: document.place.clone(),
        problem: format!("{key} is not allowed in an included file; move it to the file that includes this one"),
    };
    others.map(diagnostic).collect()
}

/// Returns the problems of a section and of the sections in it.
fn problems_of_section(name: &str, value: &Value) -> Vec<String> {
    let Some(section) = named_sections().find(|section| section.name == name) else {
        return vec![format!("[{name}]: unknown section; the sections are {}, {ALIASES}", sections())];
    };
    let Value::Table(table) = value else {
        return vec![format!("{name} is a section; write [{name}] and its keys below it")];
    };
    table.iter().flat_map(|(key, value)| problems_of_key(section, key, value)).collect()
}

fn problems_of_key(section: &Section, key: &str, value: &Value) -> Vec<String> {
    let inner = format!("{}.{key}", section.name);
    if [issuers::HEADING, callers::HEADING].contains(&inner.as_str())
        || section.settings.iter().any(|setting| setting.key == key)
    {
        return Vec::new();
    }
    if SECTIONS.iter().any(|section| section.name == inner) {
        return problems_of_section(&inner, value);
    }
    vec![format!("{inner}: unknown key; the keys of [{}] are {}", section.name, keys_of(section))]
}

/// Returns the problem of a variable that has our prefix and is not a setting.
fn problem_of_variable(name: &str) -> Option<String> {
    let is_other = BUILD_VARIABLES.contains(&name) || environment::is_other_programs(name) || is_service_link(name);
    let is_known = is_other || all_settings().any(|setting| setting.variable() == name);
    if is_known || !name.starts_with(environment::PREFIX) {
        return None;
    }
    Some(match named_sections().rev().find(|section| name.starts_with(&variable_prefix(section.name))) {
        Some(section) => format!("unknown variable; the keys of [{}] are {}", section.name, keys_of(section)),
        None => format!("unknown variable; the sections are {}", sections()),
    })
}

/// Returns whether Kubernetes sets a variable: `ECR_BROKER_SERVER_PORT_50051_TCP` describes a service `ecr-broker-server`.
fn is_service_link(variable: &str) -> bool {
    ["_SERVICE_HOST", "_PORT"].iter().any(|end| variable.ends_with(end))
        || ["_SERVICE_PORT", "_PORT_"].iter().any(|part| variable.contains(part))
}

fn all_settings() -> impl Iterator<Item = &'static SettingMeta> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

fn named_sections() -> impl DoubleEndedIterator<Item = &'static Section> {
    SECTIONS.iter().filter(|section| !section.name.is_empty())
}

fn sections() -> String {
    named_sections().map(|section| section.name).collect::<Vec<_>>().join(", ")
}

fn keys_of(section: &Section) -> String {
    section.settings.iter().map(|setting| setting.key).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::environment::{CLIENT_SETTINGS, CONFIG_FILE, NESTED_HELPER, client_variable};

    #[test]
    fn variables_of_clients_helpers_and_commands_are_known() {
        let others = [CONFIG_FILE, NESTED_HELPER].map(str::to_owned);
        for variable in CLIENT_SETTINGS.into_iter().map(client_variable).chain(others) {
            assert_eq!(problem_of_variable(&variable), None, "{variable}");
        }
        assert!(problem_of_variable("ECR_BROKER_TIMEOUTS").is_some());
    }

    /// Returns the texts that document variables.
    fn documents() -> Vec<String> {
        let pages = ["docs/*.md", "docs/*/*.md", "README.md", "deploy/**/*", "CHANGELOG.md"];
        let paths = pages.iter().flat_map(|page| glob::glob(page).unwrap()).map(Result::unwrap);
        paths.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn every_documented_variable_is_known() {
        let is_part = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
        let documents = documents();
        let words = documents.iter().flat_map(|text| text.split(|letter| !is_part(letter)));
        // A name that ends in an underscore is the start of others: ECR_BROKER_<SECTION>_<KEY>.
        let variables: BTreeSet<_> =
            words.filter(|word| word.starts_with(environment::PREFIX) && !word.ends_with('_')).collect();
        assert!(variables.len() > 30 && variables.contains("ECR_BROKER_TIMEOUT"), "{variables:?}");
        let unknown: Vec<_> = variables.into_iter().filter_map(problem_of_variable).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
