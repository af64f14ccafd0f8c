//! A real registry tells the broker whether it accepts a new credential.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::certificates::{self, Authority};
use super::other::{Foreign, succeed};
use super::program::{Ended, Server, program};
use super::registry_over_tls::RegistryOverTls;

const ACCEPTED: &str = "a-password-that-the-registry-accepts";

/// Debian's docker-registry over TLS, with the user `AWS` and one password.
pub(crate) fn registry(authority: &Authority, directory: &Path, password: &str) -> Foreign {
    let mut params = certificates::leaf(&[certificates::dns("*.dkr.ecr.eu-central-1.amazonaws.com")]);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let (certificate, key) = authority.sign(&params).write(directory, "registry");
    let htpasswd = succeed(Command::new("htpasswd").args(["-Bbn", "AWS", password]));
    fs::write(directory.join("htpasswd"), htpasswd.trim()).unwrap();
    let config = format!(
        "{{version: 0.1, log: {{level: info}}, storage: {{filesystem: {{rootdirectory: {0}/data}}}}, \
         http: {{addr: '127.0.0.1:0', tls: {{certificate: {1}, key: {2}}}}}, \
         auth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}}}",
        directory.display(),
        certificate.display(),
        key.display()
    );
    let file = directory.join("config.yml");
    fs::write(&file, config).unwrap();
    Foreign::start(Command::new("docker-registry").arg("serve").arg(file), "listening on 127.0.0.1:")
}

#[test]
#[ignore = "needs docker-registry and htpasswd, which .ci/tools installs"]
fn docker_registry_accepts_and_refuses_new_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let aws = RegistryOverTls::start();
    let registry = registry(&aws.authority, directory.path(), ACCEPTED);
    let ca = aws.authority.file.to_str().unwrap();
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CA_BUNDLE", ca),
        ("HTTPS_PROXY", aws.proxy.as_str()),
        ("ECR_BROKER_AWS_VERIFY", "true"),
    ];
    let broker = Server::start(&["serve", "--allow-loopback", "--listen", "127.0.0.1:0"], &environment);
    let get = |host: &str| Ended::of(program(&[]).args(["get", host, "-o", "password", "--address", &broker.address]));
    for (account, password, succeeds) in [
        ("000000000001", ACCEPTED, true),
        ("000000000002", "a-password-that-no-registry-accepts", false),
        ("000000000003", ACCEPTED, true),
    ] {
        let host = format!("{account}.dkr.ecr.eu-central-1.amazonaws.com");
        aws.reach(&host, registry.port);
        aws.issue(password);
        let ended = get(&host);
        assert_eq!(ended.code == 0, succeeds, "{account}: {ended:?}");
        assert!(succeeds || ended.stderr.contains("AWS_RESPONSE_INVALID"), "{ended:?}");
    }
    let log = broker.stop();
    assert!(log.contains("new credential refused by its registry") && log.contains("401"), "{log}");
    assert!(!log.contains("used unverified") && !log.contains(ACCEPTED), "{log}");
}
