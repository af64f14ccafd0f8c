//! A broker that accepts the tokens of one issuer, and the directory and environment of a job.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use crate::program::{Ended, Server, program};
use crate::tokens::{AUDIENCE, ISSUER, SUBJECT, Signer};

pub(crate) const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

pub(crate) struct Job {
    directory: tempfile::TempDir,
    pub(crate) signer: Arc<Signer>,
    pub(crate) broker: Server,
}

impl Job {
    /// Starts a broker whose registry credentials last this long.
    pub(crate) fn new(lifetime: &str) -> Self {
        let (directory, signer) = (tempfile::tempdir().unwrap(), Arc::new(Signer::new("k1")));
        let place = directory.path().display();
        fs::write(directory.path().join("jwks.json"), signer.jwks()).unwrap();
        let text = format!(
            "aws.region = \"eu-central-1\"\ncache.safety_margin = \"1s\"\n\
             [[authentication.jwt]]\nname = \"ci\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{place}/jwks.json\"\n\
             [[grants]]\nid = \"jobs\"\ncallers = [{{ jwt = \"ci\", subject = \"system:serviceaccount:ci:*\" }}]\n\
             registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n"
        );
        let config = directory.path().join("broker.toml");
        fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap();
        let listen = ["serve", "--simulate", "--config", config, "--listen", "127.0.0.1:0"];
        let arguments = [&listen[..], &["--simulate-token-lifetime", lifetime]].concat();
        let broker = Server::start(&arguments, &[]);
        fs::create_dir(directory.path().join("bin")).unwrap();
        Self { directory, signer, broker }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Installs a program of the platform.
    pub(crate) fn install(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = program(&[("ECR_BROKER_ADDRESS", &self.broker.address), ("ECR_BROKER_TIMEOUT", "30s")]);
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.args(arguments).env("PATH", path).env("HOME", self.directory.path());
        command.envs(environment.iter().copied());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        Ended::of(&mut self.command(arguments, environment))
    }

    /// Returns a token that ends this many seconds from now, or before it if negative.
    pub(crate) fn token(&self, seconds: i64) -> String {
        token(&self.signer, seconds)
    }
}

/// Returns a token of the job that ends this many seconds from now, or before it if negative.
pub(crate) fn token(signer: &Signer, seconds: i64) -> String {
    let now = i64::try_from(now()).unwrap();
    let (issued, expires) = (now + seconds - 60, now + seconds);
    let claims = format!(r#"{{"iss":"{ISSUER}","sub":"{SUBJECT}","aud":"{AUDIENCE}","iat":{issued},"exp":{expires}}}"#);
    signer.sign(&signer.header(), &claims)
}

#[expect(clippy::disallowed_methods, reason = "the broker under test uses the system clock")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
