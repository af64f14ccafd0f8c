//! Whether docker and podman on this machine ask the broker for the registry.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::report::{Finding, Outcome};
use crate::client::{Paths, registry_host};
use crate::exit_code::Exit;
use crate::json_file;
use crate::registry::Registry;

/// As their files name it.
const HELPER: &str = "ecr-broker";
const PROGRAM: &str = "docker-credential-ecr-broker";
/// Amazon's helper, whose place ours may take under its name.
const AMAZON_S: &str = "ecr-login";
const AMAZON_S_PROGRAM: &str = "docker-credential-ecr-login";

/// The environment that tells where docker and podman have their files.
#[derive(Debug, Clone)]
pub struct ToolPaths {
    /// `$DOCKER_CONFIG`, docker's directory.
    pub docker_config: Option<PathBuf>,
    /// `$REGISTRY_AUTH_FILE`, podman's file.
    pub auth_file: Option<PathBuf>,
    /// `$PATH`, which they search for helpers.
    pub path: Option<OsString>,
}

/// A program's file, and what `configure` calls the program.
struct Tool {
    name: &'static str,
    file: PathBuf,
}

/// Whom a program asks by its file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asks {
    /// Our helper, under this name of a program.
    Ours(&'static str),
    /// Amazon's, which is this one.
    AmazonS(PathBuf),
    /// Another one, or none.
    Another,
    /// Nobody knows.
    Unknown(String),
}

pub(super) fn check(registry: &str, paths: &ToolPaths, home: &Paths) -> Outcome<()> {
    let Some(host) = registry_host(registry) else {
        return (Finding::skip("this is no registry's name"), None);
    };
    let tools: Vec<_> = paths.tools(home).into_iter().filter(|tool| tool.file.exists()).collect();
    if tools.is_empty() {
        return (Finding::skip("neither docker nor podman has a file of logins here"), None);
    }
    let asks: Vec<_> = tools.iter().map(|tool| tool.asks(&host, paths)).collect();
    let programs: Vec<_> = asks.iter().filter_map(Asks::program).collect();
    let finding = if let Some(program) = programs.iter().find(|program| paths.find(program).is_none()) {
        let fix = format!(
            "put {PROGRAM}, which is installed with ecr-broker, into a directory of the PATH that docker and podman have, as {program}"
        );
        Finding::fail(Exit::Failure, format!("{program} is not in the PATH")).fix(fix)
    } else if programs.is_empty() {
        Finding::skip("the broker's helper is not asked for this registry, which is well where another way was chosen")
    } else {
        Finding::ok("the broker's helper is asked for this registry")
    };
    let finding = tools.iter().zip(&asks).fold(finding, |finding, (tool, own)| {
        // podman goes on to its next file.
        let is_asked = tools.iter().zip(&asks).any(|(other, asks)| other.name == tool.name && asks.program().is_some());
        tool.tell(finding, own, (!is_asked).then_some(&host))
    });
    (finding, Some(()))
}

impl ToolPaths {
    fn tools(&self, home: &Paths) -> Vec<Tool> {
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let docker = given(&self.docker_config).or_else(|| Some(given(&home.home)?.join(".docker")));
        let docker = docker.map(|directory| Tool { name: "docker", file: directory.join("config.json") });
        let podman = if let Some(file) = given(&self.auth_file) {
            vec![file]
        } else {
            let uid = rustix::process::getuid().as_raw();
            let goes = given(&home.runtime_dir)
                .map_or_else(|| format!("/run/containers/{uid}").into(), |directory| directory.join("containers"));
            let stays = given(&home.config_home).or_else(|| Some(given(&home.home)?.join(".config")));
            let directories = [Some(goes), stays.map(|directory| directory.join("containers"))];
            directories.into_iter().flatten().map(|directory| directory.join("auth.json")).collect()
        };
        docker.into_iter().chain(podman.into_iter().map(|file| Tool { name: "podman", file })).collect()
    }

    /// The program that is run under this name, by this user.
    fn find(&self, program: &str) -> Option<PathBuf> {
        let mut programs = self.path.iter().flat_map(std::env::split_paths).map(|directory| directory.join(program));
        programs.find(|program| {
            let metadata = fs::metadata(program);
            metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        })
    }

    /// Whether a program is our helper, by whichever name: the same file, or a copy of it.
    fn is_ours(&self, program: &Path) -> bool {
        let this = std::env::current_exe().ok();
        let beside = this.as_ref().map(|this| this.with_file_name(PROGRAM));
        let ours = [this, beside, self.find(PROGRAM)].into_iter().flatten().filter_map(|ours| fs::metadata(ours).ok());
        let same = |one: &Metadata, other: &Metadata| {
            (one.dev(), one.ino()) == (other.dev(), other.ino()) || one.len() == other.len()
        };
        fs::metadata(program).is_ok_and(|program| ours.into_iter().any(|ours| same(&ours, &program)))
    }
}

impl Asks {
    /// The program that it is run as, where it is ours.
    fn program(&self) -> Option<&'static str> {
        if let Self::Ours(program) = self { Some(program) } else { None }
    }
}

impl Tool {
    fn asks(&self, host: &str, paths: &ToolPaths) -> Asks {
        let config = match json_file::read(&self.file) {
            Ok(config) => config,
            Err(problem) => return Asks::Unknown(problem),
        };
        let own = config.get("credHelpers").and_then(|helpers| helpers.get(host));
        // podman looks at no store.
        let store = config.get("credsStore").filter(|_| self.name == "docker");
        match own.or(store).and_then(|helper| helper.as_str()) {
            Some(HELPER) => Asks::Ours(PROGRAM),
            Some(AMAZON_S) => match paths.find(AMAZON_S_PROGRAM) {
                Some(program) if !paths.is_ours(&program) => Asks::AmazonS(program),
                _ => Asks::Ours(AMAZON_S_PROGRAM),
            },
            _ => Asks::Another,
        }
    }

    /// `host`: where nothing that it reads names our helper.
    fn tell(&self, finding: Finding, asks: &Asks, host: Option<&String>) -> Finding {
        let file = self.file.display();
        let configure = |finding: Finding| match host {
            Some(host) if host.parse::<Registry>().is_ok() => {
                finding.fix(format!("ecr-broker configure {} {host}", self.name))
            }
            Some(host) => finding
                .fix(format!("where the broker has it among its [aliases]: ecr-broker configure {} {host}", self.name)),
            None => finding,
        };
        match asks {
            Asks::Ours(PROGRAM) => finding.note(format!("{file} names it")),
            Asks::Ours(program) => finding.note(format!("{file} names it, as {program}")),
            Asks::AmazonS(program) => {
                let program = program.display();
                configure(finding.note(format!("{file} names {AMAZON_S}, and {program} is not the broker's helper")))
            }
            Asks::Another => configure(finding.note(format!("{file} does not name it"))),
            Asks::Unknown(problem) => {
                finding.note(problem).fix(format!("correct {file}, which {} reads too", self.name))
            }
        }
    }
}
