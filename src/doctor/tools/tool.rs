//! A credential file of docker or podman, and the helper that it names.

use std::path::PathBuf;

use super::super::finding::Finding;
use super::paths::{HELPER_PROGRAM, ToolPaths};
use crate::client::Paths;
use crate::json_file;
use crate::registry::Registry;

/// The name of the broker's helper in their files.
const HELPER: &str = "ecr-broker";
/// Amazon's helper. The broker's can take its place under its name.
const AMAZON_HELPER: &str = "ecr-login";
const AMAZON_HELPER_PROGRAM: &str = "docker-credential-ecr-login";

/// A credential file of a program.
#[derive(Debug)]
pub(super) struct Tool {
    /// The program's name for `ecr-broker configure`.
    pub(super) name: &'static str,
    pub(super) file: PathBuf,
}

/// The helper that a file names for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConfiguredHelper {
    /// The broker's, run as this program.
    Broker(&'static str),
    /// Amazon's, which is this program.
    Amazon(PathBuf),
    /// Another one, or none.
    Other,
    /// The file cannot be read.
    Unreadable(String),
}

impl ConfiguredHelper {
    /// Returns the name under which the broker's helper runs.
    pub(super) fn broker_program(&self) -> Option<&'static str> {
        if let Self::Broker(program) = self { Some(program) } else { None }
    }
}

impl Tool {
    pub(super) fn all(tool_paths: &ToolPaths, paths: &Paths) -> Vec<Self> {
        let docker = set(tool_paths.docker_config.as_ref()).or_else(|| Some(set(paths.home.as_ref())?.join(".docker")));
        let docker = docker.map(|directory| Self { name: "docker", file: directory.join("config.json") });
        let podman = podman_files(tool_paths, paths).into_iter().map(|file| Self { name: "podman", file });
        docker.into_iter().chain(podman).collect()
    }

    pub(super) fn helper(&self, host: &str, tool_paths: &ToolPaths) -> ConfiguredHelper {
        let config = match json_file::read(&self.file) {
            Ok(config) => config,
            Err(problem) => return ConfiguredHelper::Unreadable(problem),
        };
        let for_host = config.get("credHelpers").and_then(|helpers| helpers.get(host));
        // podman does not read credsStore.
        let for_all = config.get("credsStore").filter(|_| self.name == "docker");
        match for_host.or(for_all).and_then(|helper| helper.as_str()) {
            Some(HELPER) => ConfiguredHelper::Broker(HELPER_PROGRAM),
            Some(AMAZON_HELPER) => match tool_paths.find(AMAZON_HELPER_PROGRAM) {
                Some(program) if !tool_paths.is_broker_helper(&program) => ConfiguredHelper::Amazon(program),
                _ => ConfiguredHelper::Broker(AMAZON_HELPER_PROGRAM),
            },
            _ => ConfiguredHelper::Other,
        }
    }

    /// Notes what the file names. `host` is set if no file of this program names the broker's helper.
    pub(super) fn note(&self, finding: Finding, helper: &ConfiguredHelper, host: Option<&String>) -> Finding {
        let file = self.file.display();
        match helper {
            ConfiguredHelper::Broker(HELPER_PROGRAM) => finding.note(format!("{file} names the helper")),
            ConfiguredHelper::Broker(program) => finding.note(format!("{file} names the helper, as {program}")),
            ConfiguredHelper::Amazon(program) => {
                let program = program.display();
                let note = format!("{file} names {AMAZON_HELPER}, and {program} is not the broker's helper");
                self.configure_fix(finding.note(note), host)
            }
            ConfiguredHelper::Other => self.configure_fix(finding.note(format!("{file} does not name it")), host),
            ConfiguredHelper::Unreadable(problem) => {
                finding.note(problem).fix(format!("correct {file}, which {} reads too", self.name))
            }
        }
    }

    fn configure_fix(&self, finding: Finding, host: Option<&String>) -> Finding {
        let Some(host) = host else { return finding };
        let command = format!("ecr-broker configure {} {host}", self.name);
        if host.parse::<Registry>().is_ok() {
            return finding.fix(command);
        }
        finding.fix(format!("if the broker has this name in its [aliases]: {command}"))
    }
}

/// Returns podman's file from the environment, or the two that it reads by default: one per login, and one that stays.
fn podman_files(tool_paths: &ToolPaths, paths: &Paths) -> Vec<PathBuf> {
    if let Some(file) = set(tool_paths.auth_file.as_ref()) {
        return vec![file];
    }
    let uid = rustix::process::getuid().as_raw();
    let per_login = match set(paths.runtime_dir.as_ref()) {
        Some(directory) => directory.join("containers"),
        None => PathBuf::from(format!("/run/containers/{uid}")),
    };
    let config_home = set(paths.config_home.as_ref()).or_else(|| Some(set(paths.home.as_ref())?.join(".config")));
    let permanent = config_home.map(|directory| directory.join("containers"));
    [Some(per_login), permanent].into_iter().flatten().map(|directory: PathBuf| directory.join("auth.json")).collect()
}

/// An empty variable sets nothing.
fn set(path: Option<&PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty()).cloned()
}
