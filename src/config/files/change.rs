//! Changes of the configuration files: the active files with single files as they are on disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::include::{self, INCLUDE, Include};
use super::{Disk, File, Files};
use crate::config::diagnostic::Diagnostic;

impl Files {
    /// Returns these files with the main file on disk, and with the files that it includes as they are here. `also` is taken from the
    /// disk, too. Returns `None` if the main file has not changed, or if the files that a new pattern matches have not settled.
    #[must_use]
    pub fn with_main(&self, disk: &Disk, also: Option<&Path>) -> Option<Self> {
        let main = disk.main().filter(|main| self.main.as_ref() != Some(main))?;
        self.under(main, disk, |path| if also == Some(path) { disk.file(path) } else { self.file(path).cloned() })
    }

    /// Returns these files with some included files as they are on disk; deleted ones are left out.
    #[must_use]
    pub fn with_files(&self, disk: &Disk, changed: &[PathBuf]) -> Self {
        let listed = self.listed(disk);
        let file = |path: &Path| {
            let on_disk = || disk.file(path).filter(|_| listed.contains(path));
            if changed.iter().any(|one| one == path) { on_disk() } else { self.file(path).cloned() }
        };
        let main = Self { main: self.main.clone(), ..Self::default() };
        main.filled(self.includes.clone(), self, disk, file)
    }

    /// Returns whether the main file or an included one is another on disk.
    #[must_use]
    pub fn differ_from(&self, disk: &Disk) -> bool {
        self.with_main(disk, None).is_some() || !self.changed_on(disk).is_empty()
    }

    /// Returns the included files that are new, deleted or different on disk. A file that has not settled has not changed.
    #[must_use]
    pub fn changed_on(&self, disk: &Disk) -> Vec<PathBuf> {
        let listed = self.listed(disk);
        let mut changed = Vec::new();
        for include in &self.includes {
            let can_list = matches!(disk.listing(&include.files), Some(Ok(_)));
            let differs = |path: &PathBuf| {
                let has_changed = || disk.file(path).is_some_and(|file| self.file(path) != Some(&file));
                if listed.contains(path) { has_changed() } else { can_list }
            };
            let paths = self.paths(include, disk).into_iter().filter(differs);
            paths.for_each(|path| {
                if !changed.contains(&path) {
                    changed.push(path);
                }
            });
        }
        changed
    }

    /// Returns the patterns whose folders cannot be read. Their files keep their contents.
    #[must_use]
    pub fn unlisted(&self, disk: &Disk) -> Vec<Diagnostic> {
        let problem = |include: &Include| {
            let problem = disk.listing(&include.files)?.err()?;
            Some(Diagnostic { place: self.place_of(include), problem: format!("{INCLUDE}: {problem}") })
        };
        self.includes.iter().filter_map(problem).collect()
    }

    /// Returns whether a place is an included file.
    #[must_use]
    pub fn includes(&self, place: &str) -> bool {
        self.included.iter().any(|one| one.file.name() == place)
    }

    /// Returns whether the main file is TOML.
    #[must_use]
    pub fn main_is_toml(&self) -> bool {
        self.main.as_ref().is_none_or(|main| main.document().is_ok())
    }

    /// Returns a new main file with the files that it includes, as far as `file` has them.
    pub(super) fn under(&self, main: File, disk: &Disk, file: impl Fn(&Path) -> Option<File>) -> Option<Self> {
        // `documents` reports a file that is not TOML.
        let (includes, problems) = match main.document() {
            Ok(document) => include::read(document.table.get(INCLUDE)),
            Err(_) => (self.includes.clone(), Vec::new()),
        };
        let mut files = Self { main: Some(main), ..Self::default() };
        for problem in &problems {
            files.report(files.name(), problem);
        }
        let is_new = |include: &&Include| !self.includes.iter().any(|old| old.files == include.files);
        for include in includes.iter().filter(is_new) {
            // Without the list of its files, this pattern could take the place of another one with a denial.
            if let Err(problem) = disk.listing(&include.files)? {
                files.report(files.place_of(include), &problem);
            }
        }
        Some(files.filled(includes, self, disk, file))
    }

    /// Adds the files that the items match on disk, or matched in `before`.
    fn filled(
        mut self,
        includes: Vec<Include>,
        before: &Self,
        disk: &Disk,
        file: impl Fn(&Path) -> Option<File>,
    ) -> Self {
        for include in &includes {
            let files = before.paths(include, disk).into_iter().filter_map(|path| file(&path));
            files.for_each(|file| self.include(file, include));
        }
        Self { includes, ..self }
    }

    fn file(&self, path: &Path) -> Option<&File> {
        self.included.iter().map(|one| &one.file).find(|file| file.path == path)
    }

    /// Returns the files that an item matches on disk or here, in the order of their names.
    fn paths(&self, include: &Include, disk: &Disk) -> BTreeSet<PathBuf> {
        let here = self.included.iter().filter(|one| one.include.files == include.files);
        let on_disk = disk.listing(&include.files).and_then(Result::ok).unwrap_or_default();
        here.map(|one| one.file.path.clone()).chain(on_disk).collect()
    }

    /// Returns the files that any item matches on disk.
    fn listed(&self, disk: &Disk) -> BTreeSet<PathBuf> {
        self.includes.iter().filter_map(|include| disk.listing(&include.files)?.ok()).flatten().collect()
    }

    pub(super) fn patterns(&self) -> BTreeSet<String> {
        self.includes.iter().map(|include| include.files.clone()).collect()
    }

    /// Returns the place of an item's problems, apart from the main file's.
    fn place_of(&self, include: &Include) -> String {
        let main = self.main.as_ref().and_then(|main| main.path.parent());
        main.unwrap_or_else(|| Path::new("")).join(&include.files).display().to_string()
    }
}
