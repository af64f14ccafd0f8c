//! Credential helpers as docker, kubelet and Bazel run them, with a broker on a simulated AWS.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../program/mod.rs"]
mod program;

mod adoption;
mod auth_file;
mod configure;
mod delegate;
mod docker;
mod kubelet;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use program::{Ended, PROGRAM, Server, simulated_broker};
use serde_json::{Value, json};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const NOT_FOUND: &str = "credentials not found in native keychain\n";
/// An address that is never a broker's: clients do not wait for one.
const UNUSED_ADDRESS: &str = "unix:/dev/null";

/// Directory with a `client.toml` and helper programs.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// Without a broker, unless `client` names one.
    fn new(client: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("ecr-broker")).unwrap();
        let address =
            if client.contains("address") { String::new() } else { format!("address = {UNUSED_ADDRESS:?}\n") };
        fs::write(directory.path().join("ecr-broker/client.toml"), address + client).unwrap();
        Self { directory }
    }

    fn at(broker: &Server) -> Self {
        Self::new(&format!("address = {:?}\ntimeout = \"60s\"\n", broker.address))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn also(self, client: &str) -> Self {
        let file = self.path("ecr-broker/client.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + client).unwrap();
        self
    }

    /// Creates a program that records its arguments and stdin, and prints an answer.
    fn helper_script(&self, name: &str, answer: &str, code: i32) -> PathBuf {
        let path = self.path(name);
        let requests = self.path("requests");
        let text = format!(
            "#!/bin/sh\necho \"$@\" >>{requests}\ncat >>{requests}\nprintf '%s\\n' '{answer}'\nexit {code}\n",
            requests = requests.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn requests(&self) -> String {
        fs::read_to_string(self.path("requests")).unwrap_or_default()
    }

    fn run(&self, program: &str, arguments: &[&str], question: &str) -> Ended {
        self.run_with(program, arguments, question, &[])
    }

    fn run_with(&self, program: &str, arguments: &[&str], question: &str, variables: &[(&str, &str)]) -> Ended {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
        command.args(arguments).env_clear().env("PATH", path).env("XDG_CONFIG_HOME", self.directory.path());
        command.envs(variables.iter().copied());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A program may exit without reading its stdin.
        _ = child.stdin.take().unwrap().write_all(question.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Installs the docker helper in the PATH.
    fn install_helper(&self) {
        std::os::unix::fs::symlink(PROGRAM, self.path("docker-credential-ecr-broker")).unwrap();
    }

    fn docker(&self, action: &str, question: &str) -> Ended {
        self.run(HELPER, &[action], question)
    }

    /// Returns the note of a `get` that docker takes for "no entry".
    fn not_found(&self, server: &str) -> String {
        not_found(self.docker("get", server))
    }

    /// Returns the username of a registry's entry.
    fn user(&self, server: &str) -> String {
        let answer: Value = serde_json::from_str(&self.docker("get", server).out()).unwrap();
        answer["Username"].as_str().unwrap().to_owned()
    }
}

/// Checks the form of a failed `get`: docker's text on stdout, at most one line on stderr, exit code 1. Returns the note.
fn not_found(ended: Ended) -> String {
    let Ended { code, stdout, stderr } = ended;
    assert_eq!((code, stdout.as_str()), (1, NOT_FOUND), "{stderr}");
    assert!(stderr.lines().count() <= 1, "{stderr}");
    stderr
}

fn credential(server: &str) -> String {
    json!({ "ServerURL": server, "Username": "user", "Secret": "s3cret" }).to_string()
}

fn fields(answer: &Value) -> Vec<&str> {
    let mut fields: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

fn is_token(secret: &str) -> bool {
    // Tokens of the simulated AWS are as long as real ones.
    secret.len() > 1_000
}

/// A mistake in the settings: variables, the content of client.toml, and the note.
type Mistake = (&'static [(&'static str, &'static str)], &'static str, &'static str);

const MISTAKES: [Mistake; 8] = [
    (&[("ECR_BROKER_TIMEOUT", "30")], "", "ECR_BROKER_TIMEOUT: time unit needed"),
    (&[("ECR_BROKER_ADDRESS", "ftp://broker.example")], "", "is not a broker address"),
    (&[("ECR_BROKER_TLS_CERT", "/x")], "", "tls_cert without tls_key"),
    (&[], "tls_key = \"/x\"\n", "tls_key without tls_cert"),
    (&[], "adress = 1\n", "unknown field `adress`"),
    (&[], "timeout = \"soon\"\n", "timeout is not a duration"),
    (&[], "address = 7\n", "client.toml"),
    (&[], "address = \"ftp://x\"\n", "is not a broker address"),
];

fn kubelet_request(image: &str, more: &str) -> String {
    format!(
        r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"{image}"{more}}}"#
    )
}

fn kubelet(place: &Place, arguments: &[&str], image: &str, more: &str) -> Ended {
    place.run(PROGRAM, &[&["helper", "kubelet"], arguments].concat(), &kubelet_request(image, more))
}
