//! Takes values from their sources, in the order of precedence, and collects diagnostics.

use toml::{Table, Value};

use super::aws_files::AwsFiles;
use super::diagnostic::{Diagnostic, limited};
use super::files::Document;
use super::setting::{Setting, SettingMeta};
use super::sources::Sources;
use crate::address::ListenAddress;

/// The place of problems with activated sockets: the variable by which systemd announces them.
const ACTIVATED: &str = "LISTEN_FDS";

/// The sources and the diagnostics of one reading.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    main: Document,
    /// Files with lists only.
    included: Vec<Document>,
    diagnostics: Vec<Diagnostic>,
}

/// The source of a value.
pub(super) enum Origin {
    Flag(&'static str),
    Variable(String),
    File(String),
    Default,
}

impl Origin {
    /// Returns the place to change.
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
        Self { sources, main, included, diagnostics }
    }

    /// Returns a setting's value. A value that cannot be read counts as missing, so that one run finds every problem.
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
        let report = |problem| self.report_at(origin.place(), format!("{}: {problem}", setting.meta.name()));
        setting.read(value).map_err(report).ok()
    }

    /// Returns the unread value and its source.
    pub(super) fn find(&self, meta: &SettingMeta) -> Option<(Value, Origin)> {
        let name = meta.name();
        if let Some((_, flag, value)) = self.sources.flags.iter().find(|(setting, ..)| *setting == name) {
            return Some((value.clone(), Origin::Flag(flag)));
        }
        let variable = meta.variable();
        if let Some(text) = self.variable(&variable) {
            return Some((meta.env_format.value(text), Origin::Variable(variable)));
        }
        let mut sections = meta.section.split('.').filter(|section| !section.is_empty());
        let table = sections.try_fold(self.file(), |table, section| table.get(section)?.as_table())?;
        let value = table.get(meta.key)?;
        Some((value.clone(), Origin::File(self.file_name())))
    }

    /// Returns the value of another program's variable that means the same as a setting.
    pub(super) fn get_variable<T>(&mut self, name: &str, setting: &Setting<Option<T>>) -> Option<T> {
        let text = self.variable(name)?;
        setting.read(&Value::String(text.to_owned())).unwrap_or_else(|problem| {
            self.report_at(name.to_owned(), problem);
            None
        })
    }

    /// Returns an environment variable; an empty one counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        let set = self.sources.environment.iter().filter(|(_, text)| !text.is_empty());
        set.into_iter().find(|(variable, _)| variable == name).map(|(_, text)| text.as_str())
    }

    /// Returns the AWS SDK's shared files.
    pub(super) fn aws_files(&self) -> &'a AwsFiles {
        &self.sources.aws_files
    }

    pub(super) fn sources(&self) -> &'a Sources {
        self.sources
    }

    /// Returns the addresses of activated sockets.
    pub(super) fn activated(&self) -> &'a [ListenAddress] {
        &self.sources.activated
    }

    /// Returns the main file; empty if there is none.
    pub(super) fn file(&self) -> &Table {
        &self.main.table
    }

    pub(super) fn file_name(&self) -> String {
        self.sources.files.name()
    }

    /// Returns the main file, then the included files.
    pub(super) fn documents(&self) -> impl Iterator<Item = &Document> {
        std::iter::once(&self.main).chain(&self.included)
    }

    pub(super) fn included(&self) -> &[Document] {
        &self.included
    }

    /// Keeps the diagnostics of a list and returns its items.
    pub(super) fn collect<T>(&mut self, (read, diagnostics): (T, Vec<Diagnostic>)) -> T {
        self.diagnostics.extend(diagnostics);
        read
    }

    /// Reports a setting whose value was read.
    pub(super) fn report<T>(&mut self, setting: &Setting<T>, problem: &str) {
        let place = self.find(&setting.meta).map_or(Origin::Default, |(_, origin)| origin).place();
        self.report_at(place, format!("{}: {problem}", setting.meta.name()));
    }

    /// Reports an activated socket.
    pub(super) fn report_activated(&mut self, problem: &str) {
        self.report_at(ACTIVATED.to_owned(), problem.to_owned());
    }

    /// Reports the main file.
    pub(super) fn report_file(&mut self, problem: &str) {
        let place = self.file_name();
        self.report_at(place, problem.to_owned());
    }

    pub(super) fn report_at(&mut self, place: String, problem: String) {
        self.diagnostics.push(Diagnostic { place, problem });
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        limited(self.diagnostics)
    }
}
