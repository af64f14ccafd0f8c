//! Unknown keys and variables: a misspelt setting would otherwise be ignored silently.

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use super::files::{Document, INCLUDE, LISTS};
use super::reader::Reader;
use super::sections::aliases::ALIASES;
use super::sections::issuers::HEADING;
use super::settings::ALL;

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

/// What a section of the file has that there is no setting for.
fn unknown_keys(section: &str, value: &Value) -> Vec<String> {
    let keys = keys_of(section);
    if keys.is_empty() {
        let sections = sections().join(", ");
        return vec![format!(
            "[{section}] is not a section; there are {sections}, aliases and [[grants]], [[profiles]], and include above all"
        )];
    }
    let Value::Table(table) = value else {
        return vec![format!("{section} is a section: write [{section}] and its keys below it")];
    };
    let of_key = |(key, value): (&String, &Value)| {
        let inner = format!("{section}.{key}");
        match (keys.contains(&key.as_str()), sections().contains(&inner.as_str())) {
            (true, _) => Vec::new(),
            (false, true) => unknown_keys(&inner, value),
            (false, false) if inner == HEADING => Vec::new(),
            (false, false) => vec![format!("{inner} is not a key; [{section}] has {}", keys.join(", "))],
        }
    };
    table.iter().flat_map(of_key).collect()
}

/// The problem of a variable of our prefix that is not a setting.
fn problem_of_variable(name: &str) -> Option<String> {
    let known = ALL.iter().any(|about| about.variable() == name) || OTHER_VARIABLES.contains(&name);
    let rest = name.strip_prefix("ECR_BROKER_").filter(|_| !known && !is_service_link(name))?;
    let begins = |section: &&str| rest.starts_with(&format!("{section}_").replace('.', "_").to_ascii_uppercase());
    Some(match sections().into_iter().rev().find(begins) {
        Some(section) => format!("it is not a setting; [{section}] has {}", keys_of(section).join(", ")),
        None => format!("it is nothing that this program reads; sections are {}", sections().join(", ")),
    })
}

/// Kubernetes tells every pod of a namespace of every service in it: `ECR_BROKER_SERVER_PORT_50051_TCP` is of a service named
/// `ecr-broker-server`.
fn is_service_link(variable: &str) -> bool {
    ["_SERVICE_HOST", "_PORT"].iter().any(|end| variable.ends_with(end))
        || ["_SERVICE_PORT", "_PORT_"].iter().any(|part| variable.contains(part))
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = ALL.iter().map(|about| about.section).collect();
    sections.dedup();
    sections
}

fn keys_of(section: &str) -> Vec<&'static str> {
    ALL.iter().filter(|about| about.section == section).map(|about| about.key).collect()
}
