//! Whether docker and podman on this machine ask the broker for the registry.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::super::connection::Connection;
use super::report::{Finding, Outcome};
use crate::helper::json_file;
use crate::registry::Registry;

/// As their files name it.
const HELPER: &str = "ecr-broker";
const PROGRAM: &str = "docker-credential-ecr-broker";

/// Where docker and podman have their files.
#[derive(Debug, clap::Args)]
pub(super) struct Places {
    /// $DOCKER_CONFIG, docker's directory
    #[arg(long, env = "DOCKER_CONFIG", hide = true)]
    docker_config: Option<PathBuf>,
    /// $REGISTRY_AUTH_FILE, podman's file
    #[arg(long, env = "REGISTRY_AUTH_FILE", hide = true)]
    auth_file: Option<PathBuf>,
    /// $PATH, where they look for helpers
    #[arg(long, env = "PATH", hide = true)]
    path: Option<OsString>,
}

/// A program's file, and what `configure` calls the program.
struct Tool {
    name: &'static str,
    file: PathBuf,
}

pub(super) fn look(registry: &str, places: &Places, connection: &Connection) -> Outcome<()> {
    let Some(host) = registry.parse().ok().and_then(|registry: Registry| registry.host()) else {
        return (Finding::skipped("there is no registry to look for"), None);
    };
    let tools: Vec<_> = places.tools(connection).into_iter().filter(|tool| tool.file.exists()).collect();
    if tools.is_empty() {
        return (Finding::skipped("neither docker nor podman has a file of logins here"), None);
    }
    let judged: Vec<_> = tools.iter().map(|tool| tool.judge(&host)).collect();
    let asking = judged.contains(&Ok(true));
    let finding = if asking && !is_in(places.path.as_ref()) {
        let fix = format!(
            "put {PROGRAM}, which is installed with ecr-broker, into a directory of the PATH that docker and podman have"
        );
        Finding::broken(1, format!("{PROGRAM} is not in the PATH")).fix(fix)
    } else if asking {
        Finding::good("the broker's helper is asked for this registry")
    } else {
        Finding::skipped(
            "the broker's helper is not asked for this registry, which is well where another way was chosen",
        )
    };
    let finding =
        tools.iter().zip(judged).fold(finding, |finding, (tool, judgement)| tool.tell(finding, judgement, &host));
    (finding, Some(()))
}

impl Places {
    fn tools(&self, connection: &Connection) -> Vec<Tool> {
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let (_, home) = connection.given();
        let docker = given(&self.docker_config).or_else(|| Some(given(&home.home)?.join(".docker")));
        let stays = given(&home.config_home).or_else(|| Some(given(&home.home)?.join(".config")));
        let podman = given(&self.auth_file).or_else(|| Some(stays?.join("containers/auth.json")));
        let docker = docker.map(|directory| Tool { name: "docker", file: directory.join("config.json") });
        docker.into_iter().chain(podman.map(|file| Tool { name: "podman", file })).collect()
    }
}

impl Tool {
    /// Whether it asks our helper.
    fn judge(&self, host: &str) -> Result<bool, String> {
        let config = json_file::read(&self.file)?;
        let own = config.get("credHelpers").and_then(|helpers| helpers.get(host));
        // podman looks at no store.
        let store = config.get("credsStore").filter(|_| self.name == "docker");
        Ok(own.or(store).is_some_and(|helper| helper == HELPER))
    }

    fn tell(&self, finding: Finding, judgement: Result<bool, String>, host: &str) -> Finding {
        let file = self.file.display();
        match judgement {
            Ok(true) => finding.noting(format!("{file} names it")),
            Ok(false) => {
                let finding = finding.noting(format!("{file} does not name it"));
                finding.fix(format!("ecr-broker configure {} {host}", self.name))
            }
            Err(problem) => finding.noting(problem).fix(format!("correct {file}, which {} reads too", self.name)),
        }
    }
}

/// Whether there is such a program, for this user.
fn is_in(path: Option<&OsString>) -> bool {
    let mut places = path.into_iter().flat_map(std::env::split_paths);
    places.any(|directory| {
        let metadata = std::fs::metadata(directory.join(PROGRAM));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}
