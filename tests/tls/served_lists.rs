//! Revocation lists of the running program: reloaded, broken, and past their nextUpdate.

use std::fs;
use std::path::PathBuf;

use tonic::Code;
use tonic::transport::Channel;

use super::certificates::{Pair, RUNNER};
use super::federation::{connect_to, whoami};
use super::openssl::OpensslCa;
use super::program::{Ended, Server, run, signal};
use super::served::Served;

/// Times of a list whose nextUpdate is over.
const PAST: [&str; 4] = ["-crl_lastupdate", "20250101000000Z", "-crl_nextupdate", "20260101000000Z"];
const LASTING: [&str; 2] = ["-crldays", "30"];

/// The program with a root and its revocation list, and two certificates of it.
struct Listed {
    served: Served,
    root: OpensslCa,
    good: Pair,
    bad: Pair,
    crl: PathBuf,
}

impl Listed {
    fn new() -> Self {
        let served = Served::new();
        let directory = served.federation.directory.path();
        let (root, crl) = (OpensslCa::root(directory, "openssl"), directory.join("a.crl"));
        let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
        fs::write(&served.federation.a.file, root.certificate()).unwrap();
        let text = fs::read_to_string(&served.config).unwrap();
        let setting = format!("authentication.client_crl = {{ \"a.example\" = \"{}\" }}\n", crl.display());
        fs::write(&served.config, setting + &text).unwrap();
        let listed = Self { served, root, good, bad, crl };
        listed.publish(&LASTING);
        listed
    }

    fn publish(&self, times: &[&str]) {
        fs::write(&self.crl, self.root.revocation_list(times)).unwrap();
    }

    async fn connect(&self, broker: &Server, pair: &Pair) -> Channel {
        let address = broker.address.trim_start_matches("grpcs://").parse().unwrap();
        connect_to(address, &self.served.federation.a, Some(pair)).await
    }

    fn check(&self) -> Ended {
        run(&["config", "check", "--config", self.served.config.to_str().unwrap()], &[])
    }

    /// Returns whether health says that every file is in effect.
    fn is_healthy(&self, broker: &Server) -> bool {
        let ca = self.served.federation.a.pem();
        let (file, address) =
            (self.crl.with_file_name("broker-ca.pem"), broker.address.replace("127.0.0.1", "localhost"));
        fs::write(&file, ca).unwrap();
        let ended =
            run(&["probe", "--service", "config", "--address", &address, "--tls-ca", file.to_str().unwrap()], &[]);
        assert!([0, 1].contains(&ended.code), "{ended:?}");
        ended.code == 0
    }
}

/// A list that was removed or damaged held up the removal of a root.
#[tokio::test]
async fn program_removes_a_root_while_a_revocation_list_is_broken() {
    let listed = Listed::new();
    let Listed { served, root, good, bad, crl } = &listed;
    let removed = OpensslCa::root(served.federation.directory.path(), "removed");
    let roots = &served.federation.a.file;
    fs::write(roots, root.certificate() + &removed.certificate()).unwrap();
    let other = removed.workload("other", RUNNER);
    root.revoke("bad");
    listed.publish(&LASTING);
    let broker = served.serve();
    let (open, gone) = (listed.connect(&broker, good).await, listed.connect(&broker, &other).await);
    assert_eq!(whoami(&gone).await.unwrap().principal, RUNNER);
    assert!(listed.is_healthy(&broker));

    fs::remove_file(crl).unwrap();
    fs::write(roots, root.certificate()).unwrap();
    broker.until_logged("TLS files reloaded");
    broker.until_logged("revocation lists rejected; the last good ones stay in force");
    assert_eq!(whoami(&gone).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(whoami(&open).await.unwrap().principal, RUNNER);
    assert!(served.whoami(&broker, bad).error().contains("CertificateRevoked"));
    let check = listed.check();
    assert!(check.code == 1 && check.error().contains("no such file"), "{check:?}");
    while listed.is_healthy(&broker) {}
    listed.publish(&LASTING);
    signal(broker.pid(), "HUP");
    while !listed.is_healthy(&broker) {}
}

#[tokio::test]
async fn program_refuses_a_revoked_certificate_on_its_open_connection() {
    let listed = Listed::new();
    let Listed { served, root, good, bad, crl } = &listed;
    let broker = served.serve();
    let (open, other) = (listed.connect(&broker, bad).await, listed.connect(&broker, good).await);
    assert_eq!(whoami(&open).await.unwrap().principal, RUNNER);

    root.revoke("bad");
    listed.publish(&PAST);
    broker.until_logged("TLS files reloaded");
    let error = whoami(&open).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(error.message().contains("client certificate was revoked by its CA"), "{error}");
    assert_eq!(whoami(&other).await.unwrap().principal, RUNNER);
    let refused = served.whoami(&broker, bad);
    assert!(refused.code == 5 && refused.error().contains("CertificateRevoked"), "{refused:?}");
    broker.until_logged("invalid peer certificate: Revoked");
    broker.until_logged("is past its nextUpdate");

    fs::write(crl, "nothing").unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("revocation lists rejected; the last good ones stay in force");
    assert_eq!(whoami(&open).await.unwrap_err().code(), Code::Unauthenticated);
    let check = listed.check();
    assert!(check.code == 1 && check.error().contains("holds no revocation list in PEM or DER form"), "{check:?}");
}

/// Health and log say so from the start, and for as long as it lasts.
#[test]
fn health_shows_a_revocation_list_past_its_next_update() {
    let listed = Listed::new();
    listed.publish(&PAST);
    let broker = listed.served.serve();
    broker.until_logged("is past its nextUpdate, 2026-01-01T00:00:00Z; it stays in force");
    while listed.is_healthy(&broker) {}
    listed.publish(&LASTING);
    signal(broker.pid(), "HUP");
    while !listed.is_healthy(&broker) {}
}

/// Each kind of TLS file that is broken, and its mended contents.
#[test]
fn health_shows_each_broken_tls_file_until_it_is_mended() {
    let listed = Listed::new();
    let broker = listed.served.serve();
    let directory = listed.served.federation.directory.path();
    for file in ["server.crt", "server.key", "a.pem", "a.crl"] {
        let path = directory.join(file);
        let good = fs::read(&path).unwrap();
        assert!(listed.is_healthy(&broker), "{file}");
        fs::write(&path, "nothing").unwrap();
        signal(broker.pid(), "HUP");
        while listed.is_healthy(&broker) {}
        fs::write(&path, good).unwrap();
        signal(broker.pid(), "HUP");
        while !listed.is_healthy(&broker) {}
    }
}
