//! The program of the previous release beside this one: as broker, client, parent, child, and as the process before a restart.
//!
//! `.ci/tools` builds the previous release from its tag; `PREVIOUS_BROKER=PATH` names another program. Without a release the program is
//! tested with itself.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod keeper;
mod program;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keeper::Keeper;
use program::{Ended, PROGRAM, Server, program_at, skipped};
use serde_json::Value;

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";

/// The previous release.
#[expect(clippy::disallowed_methods, reason = "a test's own settings")]
fn previous() -> PathBuf {
    if let Some(named) = std::env::var_os("PREVIOUS_BROKER") {
        return named.into();
    }
    let tools = std::env::var_os("TOOLS").map_or_else(|| "target/tools".into(), PathBuf::from);
    let built = tools.join("bin/ecr-broker-previous");
    if built.exists() {
        return built;
    }
    skipped("no previous release is built; the program is tested with itself");
    PROGRAM.into()
}

/// Both orders of this program and the previous one.
fn orders() -> [[PathBuf; 2]; 2] {
    let (this, previous) = (PathBuf::from(PROGRAM), previous());
    [[this.clone(), previous.clone()], [previous, this]]
}

/// Whether a program has a setting.
fn knows(program: &Path, setting: &str) -> bool {
    Ended::of(program_at(program, &[]).args(["config", "example"])).out_anyway().contains(setting)
}

/// Starts a broker on a socket in `directory`, with more arguments.
fn serve(program: &Path, directory: &Path, name: &str, more: &[&str]) -> Server {
    let socket = format!("unix:{}", directory.join(name).display());
    let mut command = program_at(program, &[]);
    command.args(["serve", "--listen", &socket]).args(more);
    Server::spawn_logging(command)
}

/// A client command to a broker.
fn client(program: &Path, broker: &Server, arguments: &[&str]) -> Command {
    let mut command = program_at(program, &[]);
    command.args(arguments).args(["--address", &broker.address]);
    command
}

fn password(program: &Path, broker: &Server, registry: &str) -> String {
    Ended::of(&mut client(program, broker, &["get", registry, "-o", "password"])).out_anyway()
}

/// Returns what docker gets from its helper.
fn docker_password(program: &Path, broker: &Server) -> String {
    let mut helper = client(program, broker, &["helper", "docker", "get"]);
    let mut helper = helper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    helper.stdin.take().unwrap().write_all(PRIVATE.as_bytes()).unwrap();
    let output = helper.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["Secret"].as_str().unwrap().to_owned()
}

/// Returns the first event of a watch with a registry.
fn first_event(program: &Path, broker: &Server) -> Value {
    let mut watch = client(program, broker, &["watch", PRIVATE]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn clients_of_each_version_use_brokers_of_the_other() {
    for [client_program, broker_program] in orders() {
        let directory = tempfile::tempdir().unwrap();
        let broker = serve(&broker_program, directory.path(), "broker.sock", &["--simulate"]);
        let own = password(&broker_program, &broker, PRIVATE);
        assert_eq!(password(&client_program, &broker, PRIVATE), own);
        assert_eq!(docker_password(&client_program, &broker), own.trim());
        assert!(!password(&client_program, &broker, PUBLIC).is_empty());
        let event = first_event(&client_program, &broker);
        assert_eq!(event["registry"], PRIVATE, "{event}");
        let other = Ended::of(&mut client(&client_program, &broker, &["get", "ghcr.io"]));
        assert_eq!(other.code, 3, "{other:?}");
        for command in ["probe", "whoami"] {
            Ended::of(&mut client(&client_program, &broker, &[command])).out_anyway();
        }
    }
}

#[test]
fn parents_and_children_of_each_version_serve_each_other() {
    for [child_program, parent_program] in orders() {
        if !knows(&child_program, "parents") {
            skipped("the previous version asks no parents");
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let parent = serve(&parent_program, directory.path(), "parent.sock", &["--simulate"]);
        let config = directory.path().join("child.toml");
        let text = format!(
            "[[parents]]\nname = \"central\"\naddresses = [\"{}\"]\n\
             registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}, {{ public = true }}]\n",
            parent.address
        );
        std::fs::write(&config, text).unwrap();
        let child = serve(&child_program, directory.path(), "child.sock", &["--config", config.to_str().unwrap()]);
        let of_parent = password(PROGRAM.as_ref(), &parent, PRIVATE);
        assert_eq!(password(PROGRAM.as_ref(), &child, PRIVATE), of_parent, "by the parent");
        assert_eq!(first_event(PROGRAM.as_ref(), &child)["registry"], PRIVATE);
        assert!(!password(PROGRAM.as_ref(), &child, PUBLIC).is_empty());
        parent.stop();
        assert_eq!(password(PROGRAM.as_ref(), &child, PRIVATE), of_parent, "cached by the child");
        let cold = PRIVATE.replace("123456789012", "210987654321");
        let refused = Ended::of(&mut client(PROGRAM.as_ref(), &child, &["get", &cold, "--timeout", "2s"]));
        assert_eq!(refused.code, 5, "{refused:?}");
    }
}

/// An upgrade, a downgrade and an upgrade again: each program serves, and takes the credentials over if it can read them.
#[test]
fn p15_upgrade_and_downgrade_start_with_the_descriptor_store_of_the_other() {
    let Some(mut keeper) = Keeper::start() else { return skipped("only root's service manager keeps descriptors") };
    let [[this, previous], _] = orders();
    if !knows(&previous, "restart_memory") {
        return skipped("the previous version keeps no credentials over a restart");
    }
    let directory = tempfile::tempdir().unwrap();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let environment = [
        ("AWS_ENDPOINT_URL", aws.address.as_str()),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let socket = format!("unix:{}", directory.path().join("broker.sock").display());
    let mut before = String::new();
    for program in [&previous, &this, &previous, &this] {
        let mut command = program_at(program, &environment);
        command.args(["serve", "--listen", &socket]);
        let broker = Server::spawn_logging(keeper.service(&command));
        keeper.handle();
        let now = password(&this, &broker, PRIVATE);
        let log = broker.stop();
        let is_other_format = log.contains("another version of the broker wrote it");
        assert!(before.is_empty() || is_other_format || log.contains("\"restored\":1"), "{log}");
        assert!(before.is_empty() || is_other_format || now == before, "the credential of the process before");
        keeper.handle();
        before = now;
    }
}
