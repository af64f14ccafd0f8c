//! A broker over TLS that accepts one issuer, a registry that accepts the broker's password, and what a job finds on its host.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::issuer::{Issuer, Life};
use super::program::{self, Ended, PROGRAM, Server};
use super::recipe::Recipe;
use super::report::Report;
use crate::PRIVATE;
use crate::other::{Foreign, script, succeed, tools};
use crate::registry::{COMPARED, make_image};
use crate::registry_over_tls::RegistryOverTls;
use crate::scraped::{Sample, Scraped};
use crate::verified;

pub(super) const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
/// A token of a job's length.
pub(super) const OF_THE_JOB: Life = Life { issued: 0, expires: 1800 };

pub(super) struct Site {
    directory: tempfile::TempDir,
    pub(super) issuer: Issuer,
    _broker: Server,
    address: String,
    ops: String,
    pub(super) aws: RegistryOverTls,
    registry: Option<Foreign>,
}

/// How long a job pushes, and the life of its tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) seconds: i64,
    pub(super) life: Life,
}

impl Times {
    /// Returns the times of the form that runs: that of `JOB_SECONDS`, or the short one.
    pub(super) fn of_this_run() -> Self {
        match full() {
            Some(seconds) => Self { seconds, life: Life { issued: 0, expires: 20 } },
            None => Self { seconds: 8, life: Life { issued: -60, expires: -27 } },
        }
    }
}

/// Returns `JOB_SECONDS`.
#[expect(clippy::disallowed_methods, reason = "a test's own setting")]
pub(super) fn full() -> Option<i64> {
    std::env::var("JOB_SECONDS").ok().map(|seconds| seconds.parse().unwrap())
}

impl Site {
    pub(super) fn new(recipe: &Recipe) -> Self {
        let (directory, aws) = (tempfile::tempdir().unwrap(), RegistryOverTls::start());
        let (issuer, jwks) = (Issuer::new(recipe.claims.clone()), directory.path().join("jwks.json"));
        fs::write(&jwks, issuer.jwks()).unwrap();
        let (broker, ops) = broker(directory.path(), &recipe.with_keys(&jwks), &aws);
        let address = broker.address.replace("grpcs://127.0.0.1", "https://localhost");
        let mut site = Self { directory, issuer, _broker: broker, address, ops, aws, registry: None };
        fs::write(site.path("token"), site.issuer.sign(OF_THE_JOB)).unwrap();
        let password = site.with_token_file("token", &["get", PRIVATE, "-o", "password"]).out();
        let registry = verified::registry(&site.aws.authority, site.directory.path(), &password[..COMPARED]);
        site.aws.reach(PRIVATE, registry.port);
        site.registry = Some(registry);
        site.furnish();
        site
    }

    /// Writes what a job finds: programs, an image, and a repository with `push.sh`.
    fn furnish(&self) {
        for directory in ["bin", "home", "image", "repository"] {
            fs::create_dir(self.path(directory)).unwrap();
        }
        symlink(HELPER, self.path("bin/docker-credential-ecr-broker")).unwrap();
        symlink(PROGRAM, self.path("bin/ecr-broker")).unwrap();
        make_image(&self.path("image"));
        fs::copy(script("jobs/push.sh"), self.path("repository/push.sh")).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Installs a program of the CI system.
    pub(super) fn install(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Makes the job's directory a git repository with one more file.
    pub(super) fn commit(&self, from: &Path, to: &str) {
        let repository = self.path("repository");
        fs::create_dir_all(repository.join(to).parent().unwrap()).unwrap();
        fs::copy(from, repository.join(to)).unwrap();
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
            let mut git = Command::new("git");
            git.current_dir(&repository).args(identity).args(arguments).env("HOME", self.path("home"));
            succeed(&mut git);
        };
        git(&["init", "--quiet", "--initial-branch=main"]);
        git(&["remote", "add", "origin", "https://git.example/team/app.git"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message=one"]);
    }

    /// Returns a command in the job's directory, with the environment that the operator of the CI system gives to jobs.
    pub(super) fn command(&self, program: impl AsRef<OsStr>, seconds: i64) -> Command {
        let ca = &self.aws.authority.file;
        let path = [self.path("bin"), tools().join("bin"), "/usr/bin".into(), "/bin".into()];
        let mut command = Command::new(program);
        command.current_dir(self.path("repository")).env_clear();
        command.env("PATH", std::env::join_paths(path).unwrap()).env("HOME", self.path("home"));
        command.env("XDG_RUNTIME_DIR", self.path("home")).env("XDG_CACHE_HOME", self.path("home/cache"));
        command.env("ECR_BROKER_ADDRESS", &self.address).env("ECR_BROKER_TLS_CA", ca).env("ECR_BROKER_TIMEOUT", "30s");
        // What reaches a registry with the name of ECR's.
        command.env("HTTPS_PROXY", &self.aws.proxy).env("NO_PROXY", "localhost").env("SSL_CERT_FILE", ca);
        command.env("JOB_SECONDS", seconds.to_string()).env("JOB_PAUSE", "1");
        command.env("JOB_IMAGE", self.path("image")).env("JOB_REPORT", self.path("report"));
        command
    }

    /// Returns the broker's address, as a job has it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns what the last job reported.
    pub(super) fn report(&self) -> Report {
        Report::parse(&fs::read_to_string(self.path("report")).unwrap())
    }

    /// Runs the program with a file as its token source.
    fn with_token_file(&self, file: &str, arguments: &[&str]) -> Ended {
        let mut command = program::program(&[("ECR_BROKER_ADDRESS", &self.address)]);
        command.args(arguments).env("ECR_BROKER_TLS_CA", &self.aws.authority.file);
        Ended::of(command.env("ECR_BROKER_TOKEN_FILE", self.path(file)))
    }

    /// Returns why the broker denied requests.
    pub(super) fn denials(&self) -> Vec<String> {
        let is_denial = |sample: &Sample| sample.name == "ecr_broker_denials_total" && sample.value > 0.0;
        let samples = Scraped::from(&self.ops).samples.into_iter().filter(is_denial);
        samples.map(|sample| sample.labels["reason"].clone()).collect()
    }

    /// Asserts that the broker denied nothing.
    pub(super) fn assert_no_denial(&self) {
        assert!(self.denials().is_empty(), "{:?}", self.denials());
    }

    /// Asserts that the broker denied nothing, and refuses the job's first token now.
    pub(super) fn assert_first_token_ended_without_a_denial(&self) {
        self.assert_no_denial();
        fs::write(self.path("token"), &self.issuer.issued()[0]).unwrap();
        let refused = self.with_token_file("token", &["get", PRIVATE]);
        assert!(refused.code == 4 && refused.stderr.contains("expired"), "{refused:?}");
        assert_eq!(self.denials(), ["token"]);
    }
}

fn broker(place: &Path, recipe: &str, aws: &RegistryOverTls) -> (Server, String) {
    aws.authority.server().write(place, "broker");
    let text = format!(
        "aws.region = \"eu-central-1\"\n\
         server.tls = {{ certificate = \"{0}/broker.crt\", key = \"{0}/broker.key\" }}\n\
         authentication.client_ca = {{ \"a.example\" = \"{1}\" }}\n{recipe}",
        place.display(),
        aws.authority.file.display()
    );
    let config = place.join("broker.toml");
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    Server::start_with_ops(&["serve", "--simulate", "--config", config, "--listen", "127.0.0.1:0"], &[])
}
