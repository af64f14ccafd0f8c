//! Unknown keys and variables. They are problems, because a misspelt setting would otherwise have no effect.

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use super::files::{Document, INCLUDE, LISTS};
use super::reader::Reader;
use super::sections::aliases::ALIASES;
use super::sections::issuers::HEADING;
use super::setting::{Section, SettingMeta, variable_prefix};
use super::settings::SECTIONS;

/// Variables with our prefix that are not settings: of commands, of clients, and of the build, which `cargo run` passes on.
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
    for problem in problems_of_file(reader.file()) {
        reader.report_file(&problem);
    }
    let included = reader.included().iter().flat_map(problems_of_included).collect();
    reader.collect(((), included));
    for (name, _) in &reader.sources().environment {
        if let Some(problem) = problem_of_variable(name) {
            reader.report_at(name.clone(), problem);
        }
    }
}

fn problems_of_file(file: &Table) -> Vec<String> {
    let is_known = |key: &str| LISTS.contains(&key) || [INCLUDE, ALIASES].contains(&key);
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
    let Some(section) = SECTIONS.iter().find(|section| section.name == name) else {
        return vec![format!("[{name}]: unknown section; the sections are {}, {ALIASES}", sections())];
    };
    let Value::Table(table) = value else {
        return vec![format!("{name} is a section; write [{name}] and its keys below it")];
    };
    table.iter().flat_map(|(key, value)| problems_of_key(section, key, value)).collect()
}

fn problems_of_key(section: &Section, key: &str, value: &Value) -> Vec<String> {
    let inner = format!("{}.{key}", section.name);
    if inner == HEADING || section.settings.iter().any(|setting| setting.key == key) {
        return Vec::new();
    }
    if SECTIONS.iter().any(|section| section.name == inner) {
        return problems_of_section(&inner, value);
    }
    vec![format!("{inner}: unknown key; the keys of [{}] are {}", section.name, keys_of(section))]
}

/// Returns the problem of a variable that has our prefix and is not a setting.
fn problem_of_variable(name: &str) -> Option<String> {
    let is_known = OTHER_VARIABLES.contains(&name) || all_settings().any(|setting| setting.variable() == name);
    if is_known || !name.starts_with("ECR_BROKER_") || is_service_link(name) {
        return None;
    }
    Some(match SECTIONS.iter().rev().find(|section| name.starts_with(&variable_prefix(section.name))) {
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

fn sections() -> String {
    SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>().join(", ")
}

fn keys_of(section: &Section) -> String {
    section.settings.iter().map(|setting| setting.key).collect::<Vec<_>>().join(", ")
}
