//! Independent files: which of the changed files take effect, and which keep their last valid contents.
//!
//! The active files are valid together. Each changed file is tried alone on top of them, and takes effect if it causes no problem, in
//! itself or elsewhere. Files that were refused are tried again once others took effect, so that a grant can move between files.
//!
//! Only the main file may make an included file invalid: by its limits, profiles and grants. Of the included file those allows are then
//! left out. Its denials stay within its limits: see [`Config::load_valid_parts`].

use std::path::{Path, PathBuf};

use crate::config::{Config, Diagnostic, Disk, Files, Sources};

/// The configuration of the files in effect.
#[derive(Debug)]
pub(super) struct Combined {
    pub(super) config: Config,
    pub(super) files: Files,
    pub(super) problems: Vec<Problem>,
}

/// A problem of the files on disk, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) effect: Effect,
    /// The file at fault. It can cause a problem of another one.
    pub(super) file: String,
    pub(super) diagnostic: Diagnostic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The file's last valid contents stay active.
    FileKept,
    /// The new file has no effect.
    NewFileLeftOut,
    /// A grant of an active file has no effect, or less.
    GrantLeftOut,
    /// Another setting of an active file has no effect.
    SettingLeftOut,
    /// The files of a pattern stay as they are.
    FolderNotRead,
}

/// A combination of files, which may have problems.
#[derive(Debug)]
struct State {
    config: Config,
    files: Files,
    problems: Vec<Diagnostic>,
}

/// Combines the active files, which `sources` has, with those on disk. `check` returns why a configuration cannot follow an active one.
pub(super) fn combine(
    sources: &Sources,
    disk: &Disk,
    check: impl Fn(&Config, &Config, &Files) -> Vec<Diagnostic>,
) -> Combined {
    let trial = Trial { sources, disk, check };
    let mut state = trial.load(sources.files.clone());
    loop {
        let mut problems = Vec::new();
        let before = state.files.clone();
        state = trial.apply_main(state, &mut problems);
        let changed = state.files.changed_on(disk);
        state = trial.apply(state, &changed, &mut problems);
        if state.files == before {
            problems.extend(left_out(&state, disk));
            return Combined { config: state.config, files: state.files, problems };
        }
    }
}

/// Returns the grants and other settings that are left out of active files, and the folders that cannot be read.
fn left_out(state: &State, disk: &Disk) -> Vec<Problem> {
    let of = |effect| move |problem: Diagnostic| Problem { effect, file: problem.place.clone(), diagnostic: problem };
    let settings = state.problems.iter().map(|problem| of(effect(problem))(problem.clone()));
    settings.chain(state.files.unlisted(disk).into_iter().map(of(Effect::FolderNotRead))).collect()
}

/// Returns what the problem of an active file costs. Those of grants begin with `grant "ID"` or `grant number N`.
fn effect(problem: &Diagnostic) -> Effect {
    if problem.problem.starts_with("grant ") { Effect::GrantLeftOut } else { Effect::SettingLeftOut }
}

/// Returns whether a problem would leave out a grant for its limit: a wider grant could then give its callers credentials without one.
fn lifts_a_limit(problem: &Diagnostic) -> bool {
    problem.problem.starts_with("grant ") && problem.problem.contains(": max_lifetime: ")
}

struct Trial<'a, C> {
    sources: &'a Sources,
    disk: &'a Disk,
    check: C,
}

impl<C: Fn(&Config, &Config, &Files) -> Vec<Diagnostic>> Trial<'_, C> {
    fn load(&self, files: Files) -> State {
        let sources = Sources { files, ..self.sources.clone() };
        let (config, problems) = Config::load_valid_parts(&sources);
        State { config, files: sources.files, problems }
    }

    /// Applies the main file's change.
    fn apply_main(&self, state: State, problems: &mut Vec<Problem>) -> State {
        let Some(files) = state.files.with_main(self.disk, None) else { return state };
        let (changed, is_toml) = (files.changed_on(self.disk), files.main_is_toml());
        let found = match self.try_main(&state, files, None) {
            Ok(next) => return next,
            Err(found) => found,
        };
        // It may need another change, such as the file to which its grants moved.
        let with = |path: &PathBuf| {
            let files = state.files.with_main(self.disk, Some(path))?;
            self.try_main(&state, files, Some(path)).ok()
        };
        if let Some(next) = changed.iter().filter(|_| is_toml).find_map(with) {
            return next;
        }
        let at_fault = |problem| Problem { effect: Effect::FileKept, file: state.files.name(), diagnostic: problem };
        problems.extend(found.into_iter().map(at_fault));
        state
    }

    /// Fails with new problems other than those of included files. The file `with` may have none either. A grant of an included file
    /// whose limit the change makes invalid counts as the change's problem.
    fn try_main(&self, before: &State, files: Files, with: Option<&Path>) -> Result<State, Vec<Diagnostic>> {
        let next = self.load(files);
        let with = with.map(|path| path.display().to_string());
        let is_at_fault = |problem: &Diagnostic| {
            !next.files.includes(&problem.place) || with.as_ref().is_some_and(|with| *with == problem.place)
        };
        let mut problems = new_problems(before, &next);
        problems.retain(|problem| is_at_fault(problem) || lifts_a_limit(problem));
        problems.extend((self.check)(&next.config, &before.config, &next.files));
        if problems.is_empty() { Ok(next) } else { Err(problems) }
    }

    /// Applies changes of included files: together if they cause no problem, else in halves down to single files.
    fn apply(&self, before: State, changed: &[PathBuf], problems: &mut Vec<Problem>) -> State {
        if changed.is_empty() {
            return before;
        }
        let next = self.load(before.files.with_files(self.disk, changed));
        let mut found = new_problems(&before, &next);
        found.extend((self.check)(&next.config, &before.config, &next.files));
        if found.is_empty() {
            return next;
        }
        if let [path] = changed {
            let file = path.display().to_string();
            let effect = if before.files.includes(&file) { Effect::FileKept } else { Effect::NewFileLeftOut };
            problems.extend(found.into_iter().map(|diagnostic| Problem { effect, file: file.clone(), diagnostic }));
            return before;
        }
        let (first, others) = changed.split_at(changed.len() / 2);
        let state = self.apply(before, first, problems);
        self.apply(state, others, problems)
    }
}

/// Returns the problems that only `next` has. The advice of a problem may differ: it lists what else there is.
fn new_problems(before: &State, next: &State) -> Vec<Diagnostic> {
    let cause = |one: &Diagnostic| (one.place.clone(), one.problem.split("; ").next().map(str::to_owned));
    let is_old = |one: &&Diagnostic| before.problems.iter().any(|old| cause(old) == cause(one));
    next.problems.iter().filter(|one| !is_old(one)).cloned().collect()
}

#[cfg(test)]
mod tests;
