//! Lists of tables, such as `[[grants]]`, in one file or in several.

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use super::files::{Bound, Document};
use super::value_type::Expected;

/// A list and the keys of its tables.
pub(super) struct List {
    pub(super) key: &'static str,
    /// The text between the brackets above each table.
    pub(super) heading: &'static str,
    /// The name of one table in diagnostics.
    pub(super) one: &'static str,
    /// The key that names a table in diagnostics.
    pub(super) named_by: &'static str,
    /// The keys that no two tables may share, in words.
    pub(super) unique: &'static str,
    pub(super) keys: &'static [&'static str],
}

/// The valid tables of a list, and the problems of the others.
pub(super) struct Listed<T> {
    pub(super) items: Vec<T>,
    /// The file of each item.
    pub(super) places: Vec<String>,
    /// Whether any file has the list: an empty list and a missing one differ.
    pub(super) exists: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A table of a list and its problems.
pub(super) struct Item<'a> {
    table: &'a Table,
    bound: Option<&'a Bound>,
    problems: Vec<String>,
    /// Problems of a valid table among the others.
    conflicts: Vec<String>,
}

impl Item<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.table.get(key)
    }

    /// Returns the limits of the table's file.
    pub(super) fn bound(&self) -> Option<&Bound> {
        self.bound
    }

    /// Notes a problem; the table is then left out.
    pub(super) fn report(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Notes a problem that another file can cause. Parts of the table may stay.
    pub(super) fn report_conflict(&mut self, problem: impl Into<String>) {
        self.conflicts.push(problem.into());
    }

    pub(super) fn has_conflicts(&self) -> bool {
        !self.conflicts.is_empty()
    }

    /// Returns a value, or notes the problem.
    pub(super) fn take<T>(&mut self, read: Result<T, String>) -> Option<T> {
        read.map_err(|problem| self.report(problem)).ok()
    }

    /// Reads a key that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &str,
        expected: Expected,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.get(key) else {
            self.report(format!("{key} is missing; set it to {expected}"));
            return None;
        };
        let read = read(value).ok_or_else(|| format!("{key}: {}", expected.but_got(value)));
        self.take(read)
    }

    /// Reads a key that may be missing.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        expected: Expected,
        default: T,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        if self.get(key).is_none() { Some(default) } else { self.required(key, expected, read) }
    }
}

/// The rules of tables that must differ.
pub(super) struct Unique<T> {
    /// Returns whether two tables share what must be unique.
    pub(super) are_same: fn(&T, &T) -> bool,
    /// Returns whether a table stays beside one that shares it.
    pub(super) stays: fn(&T) -> bool,
}

impl<T> Listed<T> {
    fn report(&mut self, place: &str, problem: String) {
        self.diagnostics.push(Diagnostic { place: place.to_owned(), problem });
    }

    /// Adds an item, or reports the duplicate. Of two included files both are reported, so that neither can replace the other's items by
    /// choosing their names. The main file has precedence.
    fn add(&mut self, item: T, document: &Document, main: &str, unique: &Unique<T>, problem: impl Fn() -> String) {
        let same = self.items.iter().position(|other| (unique.are_same)(other, &item));
        if same.is_none() || (unique.stays)(&item) {
            self.items.push(item);
            self.places.push(document.place.clone());
        }
        let Some(index) = same else { return };
        self.report(&document.place, problem());
        let other = self.places.get(index).filter(|place| **place != document.place && *place != main).cloned();
        if let Some(other) = other {
            self.report(&other, problem());
        }
    }
}

impl List {
    /// Reads the list of all files, the main file first.
    pub(super) fn read<'a, T>(
        &self,
        documents: impl Iterator<Item = &'a Document>,
        read: impl Fn(&mut Item<'_>) -> Option<T>,
        unique: &Unique<T>,
    ) -> Listed<T> {
        let mut listed = Listed { items: Vec::new(), places: Vec::new(), exists: false, diagnostics: Vec::new() };
        let mut main = None;
        for document in documents {
            let main = *main.get_or_insert(document.place.as_str());
            let Some(value) = document.table.get(self.key) else { continue };
            listed.exists = true;
            let Value::Array(values) = value else {
                let problem = format!("{0} is a list of tables; write [[{0}]] above each table", self.heading);
                listed.report(&document.place, problem);
                continue;
            };
            for (index, value) in values.iter().enumerate() {
                let (item, problems) = self.read_one(document, index, value, &read);
                for problem in problems {
                    listed.report(&document.place, problem);
                }
                if let Some(item) = item {
                    listed.add(item, document, main, unique, || {
                        format!("{}: duplicate {}; choose another", self.name(index, value), self.unique)
                    });
                }
            }
        }
        listed
    }

    fn read_one<T>(
        &self,
        document: &Document,
        index: usize,
        value: &Value,
        read: impl Fn(&mut Item<'_>) -> Option<T>,
    ) -> (Option<T>, Vec<String>) {
        let name = self.name(index, value);
        let Value::Table(table) = value else {
            return (None, vec![format!("{name}: {}", Expected::Words("a table").but_got(value))]);
        };
        let mut item = Item { table, bound: document.bound.as_ref(), problems: Vec::new(), conflicts: Vec::new() };
        for key in table.keys().filter(|key| !self.keys.contains(&key.as_str())) {
            item.report(format!("{key}: unknown key; the keys are {}", self.keys.join(", ")));
        }
        let read = read(&mut item).filter(|_| item.problems.is_empty());
        let problems = item.problems.into_iter().chain(item.conflicts);
        (read, problems.map(|problem| format!("{name}: {problem}")).collect())
    }

    fn name(&self, index: usize, value: &Value) -> String {
        match value.get(self.named_by).and_then(Value::as_str) {
            Some(name) => format!("{} {name:?}", self.one),
            None => format!("{} number {}", self.one, index + 1),
        }
    }
}
