//! Engines that keep images: dockerd with its `BuildKit`, and containerd.

use std::process::Command;

use super::other::{script, succeed, tools};
use super::program::PROGRAM;

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");

/// In a separate network, the registry has a name of ECR.
#[test]
#[ignore = "needs root and dockerd, containerd, crane, docker-registry and htpasswd, which .ci/tools installs"]
fn dockerd_and_containerd_build_push_and_pull_by_the_broker() {
    let directory = tempfile::tempdir().unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net"]).arg(script("engines.sh")).args([PROGRAM, HELPER]).arg(directory.path());
    unshare
        .env_clear()
        .env("PATH", std::env::join_paths([tools().join("bin"), "/usr/bin".into(), "/bin".into()]).unwrap());
    let output = succeed(&mut unshare);
    assert!(
        output.contains("built, pushed and pulled with dockerd 20.") && output.contains("containerd 1.6"),
        "{output}"
    );
}
