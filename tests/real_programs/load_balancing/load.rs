//! Load on the brokers: ghz, and a client with a retry policy.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::replicas::Replicas;
use crate::certificates::BROKER;
use crate::other::{python, script, tool, tools};
use crate::program::signal;

/// Calls of ghz in a second.
const RATE: &str = "150";
/// Accounts of which each call takes one: many calls wait for AWS.
const REGISTRY: &str = "{{randomInt 100000000000 100000001000}}.dkr.ecr.eu-central-1.amazonaws.com";

/// ghz, which runs until it is stopped.
pub(crate) struct Ghz {
    child: Child,
    report: PathBuf,
}

/// What became of the calls.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) answered: u64,
    /// The errors of the others.
    pub(crate) lost: BTreeMap<String, u64>,
}

impl Ghz {
    /// Calls `target` over five connections. `policy` is gRPC's load balancing policy.
    pub(crate) fn start(replicas: &Replicas, target: &str, policy: &str) -> Self {
        let report = replicas.directory().join("ghz.json");
        let mut command = tool("bin/ghz");
        command.args(["--proto", "ecrbroker/v1/registry_credentials.proto", "--import-paths"]);
        command.arg(format!("{}/proto,{}", env!("CARGO_MANIFEST_DIR"), tools().join("protos").display()));
        command.args(["--call", "ecrbroker.v1.RegistryCredentialsService.GetRegistryCredentials"]);
        command.args(["--data", &format!("{{\"registry\": \"{REGISTRY}\"}}")]);
        command.args(["--metadata", &format!("{{\"authorization\": \"Bearer {}\"}}", replicas.token)]);
        command.arg("--cacert").arg(replicas.directory().join("ca.pem")).args(["--cname", BROKER]);
        command.args(["--connections", "5", "--concurrency", "100", "--rps", RATE, "--timeout", "20s"]);
        command.args(["--duration", "10m", "--duration-stop", "wait", "--lb-strategy", policy]);
        command.args(["--format", "json", "--output"]).arg(&report).arg(target);
        Self { child: command.stdin(Stdio::null()).spawn().unwrap(), report }
    }

    /// Stops after the calls in flight.
    pub(crate) fn stop(mut self) -> Calls {
        signal(self.child.id(), "INT");
        assert!(self.child.wait().unwrap().success());
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&self.report).unwrap()).unwrap();
        let answered = report["statusCodeDistribution"]["OK"].as_u64().unwrap_or_default();
        println!("ghz: {} calls, {}", report["count"], report["errorDistribution"]);
        Calls { answered, lost: serde_json::from_value(report["errorDistribution"].clone()).unwrap_or_default() }
    }
}

impl Drop for Ghz {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A client of grpcio with a retry policy, which calls until it is stopped.
pub(crate) struct Retrying(Child);

impl Retrying {
    pub(crate) fn start(replicas: &Replicas, target: &str) -> Self {
        let mut command = python();
        command.args([&script("grpc_calls.py"), target]).arg(replicas.directory().join("ca.pem"));
        command.env("TOKEN", &replicas.token).stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Stops after the calls in flight.
    pub(crate) fn stop(mut self) -> Calls {
        signal(self.0.id(), "INT");
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(self.0.wait().unwrap().success());
        println!("grpcio: {text}");
        let calls: Value = serde_json::from_str(&text).unwrap();
        Calls {
            answered: calls["answered"].as_u64().unwrap(),
            lost: serde_json::from_value(calls["lost"].clone()).unwrap(),
        }
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
