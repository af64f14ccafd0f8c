//! Takes values out of their sources, in the order of their precedence, and gathers what is wrong.

use toml::{Table, Value};

use super::aliases::{self, ALIASES};
use super::files::{Document, INCLUDE};
use super::settings::{ALL, About, Setting};
use super::values::Read;
use super::{Diagnostic, Sources, grants, issuers, profiles};
use crate::address::ListenAddress;
use crate::authn::jwt;
use crate::policy::Policy;
use crate::profile::Profile;
use crate::registry::Aliases;

/// What is ours in the environment and no setting: of the command line, of clients, and of the build, which `cargo run` passes on.
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

/// The keys of a file that are no sections.
const LISTS: [&str; 2] = ["profiles", "grants"];

/// A list in a section.
const ISSUERS: &str = "authentication.jwt";

/// The sources, and the diagnostics found so far.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    /// The file that was named, which is always there, and behind it those that it includes, which have lists only.
    documents: Vec<Document>,
    diagnostics: Vec<Diagnostic>,
}

/// Where a value came from.
pub(super) enum Origin {
    Flag(&'static str),
    Variable(String),
    File(String),
    Default,
}

impl Origin {
    /// For people: where to look.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Flag(flag) => (*flag).to_owned(),
            Self::Variable(variable) => variable.clone(),
            Self::File(path) => path.clone(),
            Self::Default => "default".to_owned(),
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        let (main, included, diagnostics) = sources.files.documents();
        let documents = std::iter::once(main).chain(included).collect();
        let mut reader = Self { sources, documents, diagnostics };
        reader.report_unknown_keys();
        reader.report_unknown_variables();
        reader
    }

    /// The setting's value; the default where there is none, or none that can be read.
    pub(super) fn get<T>(&mut self, setting: &Setting<T>) -> T {
        let Some((value, origin)) = self.find(&setting.about) else { return (setting.default)() };
        (setting.read)(&value).unwrap_or_else(|problem| {
            self.mistake(origin.place(), format!("{}: {problem}", setting.about.name()));
            (setting.default)()
        })
    }

    /// The value as typed, and where.
    pub(super) fn find(&self, about: &About) -> Option<(Value, Origin)> {
        let name = about.name();
        if let Some((_, flag, value)) = self.sources.flags.iter().find(|(setting, ..)| *setting == name) {
            return Some((value.clone(), Origin::Flag(flag)));
        }
        let variable = about.variable();
        if let Some(text) = self.variable(&variable) {
            return Some((about.form.value(text), Origin::Variable(variable)));
        }
        let mut sections = about.section.split('.');
        let table = sections.try_fold(self.file(), |table, section| table.get(section)?.as_table())?;
        let value = table.get(about.key)?;
        Some((value.clone(), Origin::File(self.file_name())))
    }

    /// Who may have what; only files can say.
    pub(super) fn grants(&mut self, profiles: &[Profile]) -> Policy {
        let (policy, diagnostics) = grants::read(&self.documents, profiles);
        self.diagnostics.extend(diagnostics);
        policy
    }

    /// How credentials are minted; only files can say.
    pub(super) fn profiles(&mut self) -> Vec<Profile> {
        let (profiles, diagnostics) = profiles::read(&self.documents);
        self.diagnostics.extend(diagnostics);
        profiles
    }

    /// Whose bearer tokens are taken; only a file can say.
    pub(super) fn issuers(&mut self) -> Vec<jwt::Settings> {
        let section = self.file().get("authentication").and_then(Value::as_table).cloned().unwrap_or_default();
        let (issuers, diagnostics) = issuers::read(Document { place: self.file_name(), table: section });
        self.diagnostics.extend(diagnostics);
        issuers
    }

    /// Names of one's own for registries; only a file can say.
    pub(super) fn aliases(&mut self) -> Aliases {
        let (aliases, problems) = aliases::read(self.file().get(ALIASES));
        self.mistakes_of_file(problems);
        aliases
    }

    /// Where sockets were handed over.
    pub(super) fn handed(&self) -> &'a [ListenAddress] {
        &self.sources.handed
    }

    /// Notes what is wrong with a socket that was handed over.
    pub(super) fn report_handed(&mut self, problem: &str) {
        self.mistake("LISTEN_FDS".to_owned(), problem.to_owned());
    }

    /// Whether the file includes others, were there any.
    pub(super) fn includes(&self) -> bool {
        self.file().contains_key(INCLUDE)
    }

    /// Notes what is wrong with the file as a whole.
    pub(super) fn report_file(&mut self, problem: &str) {
        self.mistakes_of_file(vec![problem.to_owned()]);
    }

    fn mistakes_of_file(&mut self, problems: Vec<String>) {
        let place = self.file_name();
        self.diagnostics.extend(problems.into_iter().map(|problem| Diagnostic { place: place.clone(), problem }));
    }

    /// The issuers, aliases, profiles and grants as they stand in the files.
    pub(super) fn lists_as_typed(&self) -> String {
        let mut text = String::new();
        let issuers = self.file().get("authentication").and_then(|section| section.get("jwt"));
        if let Some(issuers) = issuers {
            let section = Table::from_iter([("jwt".to_owned(), issuers.clone())]);
            text += &Table::from_iter([("authentication".to_owned(), Value::Table(section))]).to_string();
        }
        if let Some(aliases) = self.file().get(ALIASES) {
            text += &Table::from_iter([(ALIASES.to_owned(), aliases.clone())]).to_string();
        }
        for document in &self.documents {
            let typed = LISTS.iter().filter_map(|list| Some(((*list).to_owned(), document.table.get(*list)?.clone())));
            let typed: Table = typed.collect();
            if !typed.is_empty() {
                text.extend(["# ", document.place.as_str(), "\n", typed.to_string().as_str()]);
            }
        }
        let open = "# There are no grants: whoever may open the socket may have everything.\n";
        if self.documents.iter().any(|one| one.table.contains_key("grants")) { text } else { text + open }
    }

    /// The file that was named; empty where none was.
    fn file(&self) -> &Table {
        &self.documents[0].table
    }

    /// What a variable says that is not ours.
    pub(super) fn get_variable<T>(&mut self, name: &str, read: Read<Option<T>>) -> Option<T> {
        let text = self.variable(name)?;
        read(&Value::String(text.to_owned())).unwrap_or_else(|problem| {
            self.mistake(name.to_owned(), problem);
            None
        })
    }

    /// An environment variable; an empty one counts as none.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        let variables = self.sources.environment.iter();
        variables
            .filter(|(_, text)| !text.is_empty())
            .find(|(variable, _)| variable == name)
            .map(|(_, text)| text.as_str())
    }

    /// Notes what is wrong with a value that could be read.
    pub(super) fn report<T>(&mut self, setting: &Setting<T>, problem: &str) {
        let place = self.find(&setting.about).map_or(Origin::Default, |(_, origin)| origin).place();
        self.mistake(place, format!("{}: {problem}", setting.about.name()));
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    fn mistake(&mut self, place: String, problem: String) {
        self.diagnostics.push(Diagnostic { place, problem });
    }

    fn file_name(&self) -> String {
        self.sources.files.name()
    }

    fn report_unknown_keys(&mut self) {
        let known = |section: &str| LISTS.contains(&section) || [INCLUDE, ALIASES].contains(&section);
        let is_other = |(section, _): &(&String, &Value)| !known(section);
        let of_file = self.file().iter().filter(is_other);
        let problems = of_file.flat_map(|(section, value)| unknown_keys(section, value)).collect();
        self.mistakes_of_file(problems);
        for document in self.documents.iter().skip(1) {
            let others = document.table.keys().filter(|key| !LISTS.contains(&key.as_str()));
            self.diagnostics.extend(others.map(|key| Diagnostic {
                place: document.place.clone(),
                problem: format!(
                    "{key} is for the file that includes this one; here are [[grants]] and [[profiles]] only"
                ),
            }));
        }
    }

    /// A misspelt variable of ours would else be ignored without a word.
    fn report_unknown_variables(&mut self) {
        for (name, _) in &self.sources.environment {
            let known = ALL.iter().any(|about| about.variable() == *name) || OTHER_VARIABLES.contains(&name.as_str());
            let Some(rest) = name.strip_prefix("ECR_BROKER_").filter(|_| !known && !is_service_link(name)) else {
                continue;
            };
            let begins =
                |section: &&str| rest.starts_with(&format!("{section}_").replace('.', "_").to_ascii_uppercase());
            let problem = match sections().into_iter().rev().find(begins) {
                Some(section) => format!("it is not a setting; [{section}] has {}", keys_of(section).join(", ")),
                None => format!("it is nothing that this program reads; sections are {}", sections().join(", ")),
            };
            self.diagnostics.push(Diagnostic { place: name.clone(), problem });
        }
    }
}

/// Kubernetes tells every pod of a namespace of every service in it: `ECR_BROKER_SERVER_PORT_50051_TCP` is of a service named
/// `ecr-broker-server`.
fn is_service_link(variable: &str) -> bool {
    ["_SERVICE_HOST", "_PORT"].iter().any(|end| variable.ends_with(end))
        || ["_SERVICE_PORT", "_PORT_"].iter().any(|part| variable.contains(part))
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
            (false, false) if inner == ISSUERS => Vec::new(),
            (false, false) => vec![format!("{inner} is not a key; [{section}] has {}", keys.join(", "))],
        }
    };
    table.iter().flat_map(of_key).collect()
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = ALL.iter().map(|about| about.section).collect();
    sections.dedup();
    sections
}

fn keys_of(section: &str) -> Vec<&'static str> {
    ALL.iter().filter(|about| about.section == section).map(|about| about.key).collect()
}
