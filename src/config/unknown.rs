//! Unknown keys and variables: a misspelt setting would otherwise be ignored silently.

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use super::files::{Document, INCLUDE, LISTS};
use super::reader::Reader;
use super::sections::aliases::ALIASES;
use super::sections::issuers::HEADING;
use super::setting::{Section, SettingMeta, variable_prefix};
use super::settings::SECTIONS;

/// Variables of this prefix that are no settings: of the command line, of clients, and of the build, which `cargo run` passes on.
const OTHER_VARIABLES: [&str; 9] = [
    "ECR_BROKER_ADDRESS",
    "ECR_BROKER_COMMIT",
    "ECR_BROKER_CONFIG",
    "ECR_BROKER_FEATURES",
    "ECR_BROKER_PROFILE",
    "ECR_BROKER_TLS_CA",
    "ECR_BROKER_TLS_CERT",
    "ECR_BROKER_TLS_KEY",
    "ECR_BROKER_TOKEN_FILE",
];

/// Reports unknown keys of the files and unknown variables of the environment.
pub(super) fn report(reader: &mut Reader<'_>) {
    for problem in unknown_sections(reader.file()) {
        reader.report_file(&problem);
    }
    let included = reader.documents().iter().skip(1).flat_map(unknown_in_included).collect();
    reader.collect(((), included));
    for (name, _) in &reader.sources().environment {
        if let Some(problem) = problem_of_variable(name) {
            reader.report_at(name.clone(), problem);
        }
    }
}

fn unknown_sections(file: &Table) -> Vec<String> {
    let known = |section: &str| LISTS.contains(&section) || [INCLUDE, ALIASES].contains(&section);
    let others = file.iter().filter(|(section, _)| !known(section));
    others.flat_map(|(section, value)| unknown_keys(section, value)).collect()
}

fn unknown_in_included(document: &Document) -> Vec<Diagnostic> {
    let others = document.table.keys().filter(|key| !LISTS.contains(&key.as_str()));
    let diagnostic = |key: &String| Diagnostic {
        place: document.place.clone(),
        problem: format!("{key} is for the file that includes this one; here are [[grants]] and [[profiles]] only"),
    };
    others.map(diagnostic).collect()
}

/// Returns the problems of a section's unknown keys, inner sections included.
fn unknown_keys(name: &str, value: &Value) -> Vec<String> {
    let Some(section) = SECTIONS.iter().find(|section| section.name == name) else {
        let sections = sections().join(", ");
        return vec![format!(
            "[{name}] is not a section; there are {sections}, aliases and [[grants]], [[profiles]], and include above all"
        )];
    };
    let Value::Table(table) = value else {
        return vec![format!("{name} is a section: write [{name}] and its keys below it")];
    };
    let problems = table.iter().flat_map(|(key, value)| problems_of_key(section, key, value));
    problems.collect()
}

fn problems_of_key(section: &Section, key: &str, value: &Value) -> Vec<String> {
    let inner = format!("{}.{key}", section.name);
    if inner == HEADING || section.settings.iter().any(|setting| setting.key == key) {
        return Vec::new();
    }
    if sections().contains(&inner.as_str()) {
        return unknown_keys(&inner, value);
    }
    vec![format!("{inner} is not a key; [{}] has {}", section.name, keys_of(section))]
}

/// Returns the problem of a variable that has our prefix and is not a setting.
fn problem_of_variable(name: &str) -> Option<String> {
    let known = OTHER_VARIABLES.contains(&name) || all_settings().any(|setting| setting.variable() == name);
    if known || !name.starts_with("ECR_BROKER_") || is_service_link(name) {
        return None;
    }
    Some(match SECTIONS.iter().rev().find(|section| name.starts_with(&variable_prefix(section.name))) {
        Some(section) => format!("it is not a setting; [{}] has {}", section.name, keys_of(section)),
        None => format!("it is nothing that this program reads; sections are {}", sections().join(", ")),
    })
}

/// Kubernetes tells every pod of a namespace of every service in it: `ECR_BROKER_SERVER_PORT_50051_TCP` is of a service named
/// `ecr-broker-server`.
fn is_service_link(variable: &str) -> bool {
    ["_SERVICE_HOST", "_PORT"].iter().any(|end| variable.ends_with(end))
        || ["_SERVICE_PORT", "_PORT_"].iter().any(|part| variable.contains(part))
}

fn all_settings() -> impl Iterator<Item = &'static SettingMeta> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

fn sections() -> Vec<&'static str> {
    SECTIONS.iter().map(|section| section.name).collect()
}

fn keys_of(section: &Section) -> String {
    section.settings.iter().map(|setting| setting.key).collect::<Vec<_>>().join(", ")
}
