//! How a child proves itself to its parent: by a certificate, or by a token.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ecr_broker::clock::SystemClock;

use super::brokers::{address, asking, child, get, parent_with};
use super::certificates::{Authority, RUNNER};
use super::program::Server;
use super::support::{HOST, request};
use super::tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, seconds};

/// A parent with TLS that knows a certificate and a token, and the CA that its children trust.
struct Central {
    parent: Server,
    authority: Authority,
    signer: Signer,
    directory: tempfile::TempDir,
    _config: tempfile::TempDir,
}

impl Central {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "ca.pem", "organisation");
        let (certificate, key) = authority.server().write(directory.path(), "server");
        let signer = Signer::new("1");
        let jwks = directory.path().join("jwks.json");
        fs::write(&jwks, signer.jwks()).unwrap();
        let config = format!(
            "server.tls = {{ certificate = \"{}\", key = \"{}\" }}\n\
             authentication.client_ca = {{ \"a.example\" = \"{}\" }}\n\
             [[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{}\"\n\
             [[grants]]\nid = \"nodes\"\n\
             callers = [{{ spiffe = \"{RUNNER}\" }}, {{ jwt = \"blue\", subject = \"{SUBJECT}\" }}]\n\
             registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n",
            certificate.display(),
            key.display(),
            authority.file.display(),
            jwks.display(),
        );
        let (parent, config) = parent_with(&config, &[]);
        Self { parent, authority, signer, directory, _config: config }
    }

    /// Starts a child that trusts the CA, with more settings of its parent.
    fn child(&self, more: &str) -> Server {
        child(&asking(&[&address(&self.parent)], &format!("tls_ca = \"{}\"\n{more}", self.authority.file.display())))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child_is_known_by_its_certificate_and_denied_otherwise() {
    let central = Central::start();
    let (certificate, key) = central.authority.workload(RUNNER).write(central.path(), "node");
    let known = central.child(&format!("tls_cert = {certificate:?}\ntls_key = {key:?}"));
    get(&known, request(HOST)).await.unwrap();
    let (certificate, key) = central.authority.workload("spiffe://a.example/other").write(central.path(), "other");
    let bad_token = central.path().join("bad-token");
    fs::write(&bad_token, "header.claims.signature").unwrap();
    for (more, word) in [
        (format!("tls_cert = {certificate:?}\ntls_key = {key:?}"), "CALLER_NOT_ALLOWED"),
        (format!("token_file = {bad_token:?}"), "CALLER_UNAUTHENTICATED"),
    ] {
        let unknown = central.child(&more);
        assert_eq!(get(&unknown, request(HOST)).await.unwrap_err().reason, "PARENT_DENIED", "{word}");
        let log = unknown.stop();
        assert!(log.contains(word), "{word}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child_is_known_by_the_token_that_its_file_has_now() {
    let central = Central::start();
    let file = central.path().join("token");
    let write = |token: &str| {
        fs::write(&file, token).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let token = |subject: &str| central.signer.token(ISSUER, subject, seconds(&SystemClock::new()));
    write(&token("someone-else"));
    let child = central.child(&format!("token_file = {file:?}"));
    assert_eq!(get(&child, request(HOST)).await.unwrap_err().reason, "PARENT_DENIED");
    write(&token(SUBJECT));
    let other = HOST.replace("eu-central-1", "eu-west-1");
    get(&child, request(&other)).await.expect("the file was read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn impostor_with_another_authority_gets_no_call() {
    let central = Central::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::new(elsewhere.path(), "ca.pem", "another organisation");
    let child = child(&asking(&[&address(&central.parent)], &format!("tls_ca = {:?}", other.file)));
    assert_eq!(get(&child, request(HOST)).await.unwrap_err().reason, "PARENT_UNAVAILABLE");
    let log = child.stop();
    assert!(log.contains("certificate is signed by an untrusted authority"), "{log}");
}
