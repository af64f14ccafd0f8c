//! Takes values out of their sources, in the order of their precedence, and gathers what is wrong.

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use super::files::Document;
use super::setting::{Setting, SettingMeta};
use super::sources::Sources;
use crate::address::ListenAddress;

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
        Self { sources, documents, diagnostics }
    }

    /// Returns the setting's value. After a value that cannot be read it returns the default, so that one run finds every problem.
    pub(super) fn get<T: Default>(&mut self, setting: &Setting<T>) -> T {
        let found = self.find(&setting.meta);
        found
            .and_then(|(value, origin)| self.read(setting, &value, &origin))
            .unwrap_or_else(|| self.default_of(setting))
    }

    fn default_of<T: Default>(&mut self, setting: &Setting<T>) -> T {
        let default = setting.meta.default;
        if default.is_empty() {
            return T::default();
        }
        let value = default.parse().unwrap_or_else(|_| Value::String(default.to_owned()));
        self.read(setting, &value, &Origin::Default).unwrap_or_default()
    }

    fn read<T>(&mut self, setting: &Setting<T>, value: &Value, origin: &Origin) -> Option<T> {
        let read = setting.read(value);
        read.map_err(|problem| self.report_at(origin.place(), format!("{}: {problem}", setting.meta.name()))).ok()
    }

    /// The value as typed, and where.
    pub(super) fn find(&self, meta: &SettingMeta) -> Option<(Value, Origin)> {
        let name = meta.name();
        if let Some((_, flag, value)) = self.sources.flags.iter().find(|(setting, ..)| *setting == name) {
            return Some((value.clone(), Origin::Flag(flag)));
        }
        let variable = meta.variable();
        if let Some(text) = self.variable(&variable) {
            return Some((meta.env_format.value(text), Origin::Variable(variable)));
        }
        let mut sections = meta.section.split('.');
        let table = sections.try_fold(self.file(), |table, section| table.get(section)?.as_table())?;
        let value = table.get(meta.key)?;
        Some((value.clone(), Origin::File(self.file_name())))
    }

    /// The main file and those that it includes.
    pub(super) fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The sources of values.
    pub(super) fn sources(&self) -> &'a Sources {
        self.sources
    }

    /// Keeps the diagnostics of what was read, and returns the rest.
    pub(super) fn collect<T>(&mut self, (read, diagnostics): (T, Vec<Diagnostic>)) -> T {
        self.diagnostics.extend(diagnostics);
        read
    }

    /// Where sockets were handed over.
    pub(super) fn handed(&self) -> &'a [ListenAddress] {
        &self.sources.handed
    }

    /// Notes what is wrong with a socket that was handed over.
    pub(super) fn report_handed(&mut self, problem: &str) {
        self.report_at("LISTEN_FDS".to_owned(), problem.to_owned());
    }

    /// Notes what is wrong with the file as a whole.
    pub(super) fn report_file(&mut self, problem: &str) {
        let place = self.file_name();
        self.report_at(place, problem.to_owned());
    }

    /// The file that was named; empty where none was.
    pub(super) fn file(&self) -> &Table {
        &self.documents[0].table
    }

    /// What a variable says that is not ours.
    pub(super) fn get_variable<T>(&mut self, name: &str, setting: &Setting<Option<T>>) -> Option<T> {
        let text = self.variable(name)?;
        setting.read(&Value::String(text.to_owned())).unwrap_or_else(|problem| {
            self.report_at(name.to_owned(), problem);
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
        let place = self.find(&setting.meta).map_or(Origin::Default, |(_, origin)| origin).place();
        self.report_at(place, format!("{}: {problem}", setting.meta.name()));
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// Notes what is wrong at a place.
    pub(super) fn report_at(&mut self, place: String, problem: String) {
        self.diagnostics.push(Diagnostic { place, problem });
    }

    pub(super) fn file_name(&self) -> String {
        self.sources.files.name()
    }
}
