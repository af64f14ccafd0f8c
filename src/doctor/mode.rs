//! Step `mode`: which program answers for ECR registries while a fleet switches over, and whether the fallback can be run.
//!
//! It reads the files as the helpers do: a mistake elsewhere in `client.toml` does not change the mode.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::finding::{Finding, StepResult};
use super::origin::Origin;
use super::problem::Problem;
use super::request::Request;
use super::tools::ToolPaths;
use crate::adoption::canary_from;
use crate::client::adoption::{Adoption, FallbackCause, Mode, Protocol};

/// The settings of the switch-over, with the file of each.
struct SwitchOver<'a> {
    files: Vec<(PathBuf, Adoption)>,
    adoption: Adoption,
    tools: &'a ToolPaths,
    canary_from: u8,
}

/// A fallback that cannot be run.
struct NotRunnable {
    facts: String,
    fix: String,
}

pub(super) fn check(request: &Request) -> StepResult<()> {
    let files = request.paths.each_adoption();
    let adoption = files.iter().fold(Adoption::default(), |all, (_, adoption)| all.or(adoption.clone()));
    (SwitchOver { files, adoption, tools: &request.tools, canary_from: canary_from() }.finding(), Some(()))
}

impl SwitchOver<'_> {
    fn finding(&self) -> Finding {
        let (mode, commands) = (self.adoption.mode(), self.commands());
        let checked: Vec<_> = commands.iter().map(|(protocol, command)| self.runnable(*protocol, command)).collect();
        let head = format!("{mode} ({}): {}", self.origin("mode"), self.answering(!commands.is_empty()));
        let problem = checked.iter().find_map(|checked| checked.as_ref().err());
        let mut finding = match problem {
            Some(problem) => Finding::fail(Problem::FallbackNotRunnable, &problem.facts).note(format!("mode {head}")),
            None => Finding::ok(head),
        };
        if mode == Mode::Canary {
            finding = finding.note(self.canary());
        }
        for checked in &checked {
            finding = match checked {
                Ok(note) => finding.note(note),
                Err(NotRunnable { fix, .. }) => finding.fix(fix),
            };
        }
        match without_fallback(mode, &commands) {
            Some(note) => finding.note(note),
            None => finding,
        }
    }

    fn commands(&self) -> Vec<(Protocol, &str)> {
        let command = |protocol| Some((protocol, self.adoption.command(protocol)?));
        Protocol::ALL.into_iter().filter_map(command).collect()
    }

    /// Returns the file of a setting.
    fn origin(&self, key: &str) -> Origin {
        let file = self.files.iter().find(|(_, adoption)| adoption.has(key));
        file.map_or(Origin::Default, |(file, _)| Origin::File(file.clone()))
    }

    fn answering(&self, has_fallback: bool) -> String {
        match self.adoption.mode() {
            _ if !has_fallback => "the broker answers".to_owned(),
            Mode::Full => match self.adoption.fallback_on() {
                [] => "the broker answers; fallback_on is empty, so the fallback never does".to_owned(),
                causes => {
                    let names: Vec<_> = causes.iter().copied().map(FallbackCause::name).collect();
                    format!("the broker answers, and the fallback after {}", names.join(", "))
                }
            },
            Mode::Canary if self.is_canary() => {
                "on this host the broker answers, and the fallback after any failure".to_owned()
            }
            Mode::Canary => "on this host the fallback answers, and the broker is asked beside it".to_owned(),
            Mode::Shadow => "the fallback answers, and the broker is asked beside it".to_owned(),
        }
    }

    fn is_canary(&self) -> bool {
        self.adoption.canary_percent() >= self.canary_from
    }

    fn canary(&self) -> String {
        let (percent, origin, from) = (self.adoption.canary_percent(), self.origin("canary_percent"), self.canary_from);
        let part = if self.is_canary() { "is a canary" } else { "is not a canary" };
        format!("canary_percent {percent} ({origin}): this host {part}; it is one from {from} on")
    }

    /// Returns a note about the fallback of a protocol.
    fn runnable(&self, protocol: Protocol, command: &str) -> Result<String, NotRunnable> {
        let program = command.split_whitespace().next().unwrap_or_default();
        let origin = self.origin("fallback");
        let found = if program.contains('/') { Some(PathBuf::from(program)) } else { self.tools.find(program) };
        let problem = |facts: &str, fix: String| NotRunnable {
            facts: format!("{program}, fallback of {protocol} ({origin}), {facts}"),
            fix,
        };
        let correct = || format!("install {program}, or correct fallback in {origin}");
        let Some(found) = found else { return Err(problem("is not a program in the PATH", correct())) };
        match is_executable(&found) {
            Some(true) => Ok(format!("fallback of {protocol} {command} ({origin}): {} can be run", found.display())),
            Some(false) => Err(problem("is not executable", format!("chmod +x {}", found.display()))),
            None => Err(problem("does not exist", correct())),
        }
    }
}

/// Returns a note about the protocols that the mode does not concern.
fn without_fallback(mode: Mode, commands: &[(Protocol, &str)]) -> Option<String> {
    if mode == Mode::Full {
        return None;
    }
    let without = |protocol: &Protocol| commands.iter().all(|(with, _)| with != protocol);
    let names: Vec<_> = Protocol::ALL.iter().filter(|one| without(one)).map(ToString::to_string).collect();
    let mode = format!("mode {mode} does not apply to {}", names.join(" and "));
    (!names.is_empty()).then(|| format!("{mode}: without a fallback the broker answers"))
}

/// Returns whether a file is a program; `None` if the file does not exist.
fn is_executable(file: &Path) -> Option<bool> {
    let metadata = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Finding;
    use crate::terminal::Colours;

    /// Returns the lines of the step for a file, on a host that is a canary from 37 on.
    fn lines(text: &str) -> String {
        let tools = ToolPaths { path: Some("/usr/bin:/bin".into()), ..ToolPaths::default() };
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("ecr-broker")).unwrap();
        let file = home.path().join("ecr-broker/client.toml");
        std::fs::write(&file, text).unwrap();
        let paths = crate::client::Paths { config_home: Some(home.path().to_owned()), ..Default::default() };
        let files: Vec<_> = paths.each_adoption().into_iter().filter(|(path, _)| *path == file).collect();
        let adoption = files.iter().fold(Adoption::default(), |all, (_, adoption)| all.or(adoption.clone()));
        let finding: Finding = SwitchOver { files, adoption, tools: &tools, canary_from: 37 }.finding();
        finding.lines("mode", Colours::NONE).replace(&*file.to_string_lossy(), "FILE")
    }

    #[test]
    fn mode_names_its_file_and_the_program_that_answers() {
        for (text, expected) in [
            ("", "ok    mode        full (default): the broker answers"),
            ("mode = \"full\"", "ok    mode        full (FILE): the broker answers"),
            (
                "fallback = \"sh -c x\"",
                "ok    mode        full (default): the broker answers, and the fallback after no-broker, timeout\n      \
                 fallback of docker sh -c x (FILE): /usr/bin/sh can be run",
            ),
            (
                "fallback = \"sh\"\nfallback_on = []",
                "ok    mode        full (default): the broker answers; fallback_on is empty, so the fallback never does\n      \
                 fallback of docker sh (FILE): /usr/bin/sh can be run",
            ),
            (
                "mode = \"shadow\"\nfallback = { docker = \"sh\", kubelet = \"/bin/sh k\", bazel = \"sh\" }",
                "ok    mode        shadow (FILE): the fallback answers, and the broker is asked beside it\n      \
                 fallback of docker sh (FILE): /usr/bin/sh can be run\n      \
                 fallback of kubelet /bin/sh k (FILE): /bin/sh can be run\n      \
                 fallback of Bazel sh (FILE): /usr/bin/sh can be run",
            ),
            (
                "mode = \"shadow\"",
                "ok    mode        shadow (FILE): the broker answers\n      mode shadow does not apply to docker and kubelet \
                 and Bazel: without a fallback the broker answers",
            ),
        ] {
            assert_eq!(lines(text), expected, "{text}");
        }
    }

    #[test]
    fn canary_mode_names_the_percentage_and_the_part_of_this_host() {
        let fallback = "mode = \"canary\"\nfallback = { docker = \"sh\", kubelet = \"sh\", bazel = \"sh\" }\n";
        let default = lines(fallback);
        assert!(
            default.starts_with("ok    mode        canary (FILE): on this host the fallback answers, and the broker")
        );
        assert!(default.contains("canary_percent 10 (default): this host is not a canary; it is one from 37 on"));
        let canary = lines(&format!("{fallback}canary_percent = 37"));
        assert!(
            canary.starts_with("ok    mode        canary (FILE): on this host the broker answers, and the fallback")
        );
        assert!(canary.contains("canary_percent 37 (FILE): this host is a canary; it is one from 37 on"), "{canary}");
    }
}
