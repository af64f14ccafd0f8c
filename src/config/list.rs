//! Lists of tables, such as `[[grants]]`, as typed in one file or in several.

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use super::files::Document;

/// A list, and what each of its tables has.
pub(super) struct List {
    /// Its key.
    pub(super) key: &'static str,
    /// What is typed above each table, between brackets.
    pub(super) heading: &'static str,
    /// What one of them is called in diagnostics.
    pub(super) one: &'static str,
    /// Which of its keys names it.
    pub(super) named_by: &'static str,
    /// What no two of them may have in common.
    pub(super) unique: &'static str,
    pub(super) keys: &'static [&'static str],
}

/// What was read of a list.
pub(super) struct Listed<T> {
    pub(super) items: Vec<T>,
    /// Whether there is the list at all; an empty one is another thing than none.
    pub(super) is_there: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// One table of a list, and what was found wrong with it.
pub(super) struct Item<'a> {
    table: &'a Table,
    problems: Vec<String>,
}

impl Item<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.table.get(key)
    }

    pub(super) fn wrong(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// What could be read; else the problem is noted.
    pub(super) fn take<T>(&mut self, read: Result<T, String>) -> Option<T> {
        read.map_err(|problem| self.wrong(problem)).ok()
    }
}

impl List {
    /// Reads each table by `read`; those with which something is wrong are left out. `same` says whether two may not stand together.
    pub(super) fn read<T>(
        &self,
        documents: &[Document],
        read: impl Fn(&mut Item<'_>) -> Option<T>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Listed<T> {
        let mut listed = Listed { items: Vec::new(), is_there: false, diagnostics: Vec::new() };
        for document in documents {
            let Some(value) = document.table.get(self.key) else { continue };
            listed.is_there = true;
            let mut mistake = |problem| listed.diagnostics.push(Diagnostic { place: document.place.clone(), problem });
            let Value::Array(values) = value else {
                mistake(format!("{0} is a list of tables: write [[{0}]] above each", self.heading));
                continue;
            };
            for (index, value) in values.iter().enumerate() {
                match self.read_one(index, value, &read) {
                    Ok(item) if listed.items.iter().any(|other| same(other, &item)) => {
                        let name = self.name(index, value);
                        mistake(format!("{name}: another one has its {}; give each its own", self.unique));
                    }
                    Ok(item) => listed.items.push(item),
                    Err(problems) => problems.into_iter().for_each(&mut mistake),
                }
            }
        }
        listed
    }

    fn read_one<T>(
        &self,
        index: usize,
        value: &Value,
        read: impl Fn(&mut Item<'_>) -> Option<T>,
    ) -> Result<T, Vec<String>> {
        let name = self.name(index, value);
        let Value::Table(table) = value else { return Err(vec![format!("{name}: {value} is not a table")]) };
        let mut item = Item { table, problems: Vec::new() };
        for key in table.keys().filter(|key| !self.keys.contains(&key.as_str())) {
            item.wrong(format!("{key} is not a key; a {} has {}", self.one, self.keys.join(", ")));
        }
        match read(&mut item) {
            Some(read) if item.problems.is_empty() => Ok(read),
            _ => Err(item.problems.into_iter().map(|problem| format!("{name}: {problem}")).collect()),
        }
    }

    fn name(&self, index: usize, value: &Value) -> String {
        match value.get(self.named_by).and_then(Value::as_str) {
            Some(name) => format!("{} {name:?}", self.one),
            None => format!("{} number {}", self.one, index + 1),
        }
    }
}
