//! Certificates and keys in files: unusable ones, and those that are replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use ecr_broker::authn::tls::{Settings, Tls};
use rcgen::{ExtendedKeyUsagePurpose, IsCa};

use super::certificates::{BROKER, RUNNER, dns, leaf};
use super::federation::{Federation, HOST_NAME};
use super::program::{Server, run, signal};
use super::served::Served;
use super::support::ManualClock;

#[test]
fn untrusted_or_unusable_tls_files_are_rejected() {
    let federation = Federation::new();
    let load = |settings: &Settings| {
        Tls::load(settings.clone(), ManualClock::new()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(load(&federation.settings), Ok(()));
    let mode = |mode| fs::set_permissions(&federation.a.file, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    assert!(load(&federation.settings).unwrap_err().contains("is world-writable"));
    mode(0o644);
    // With a leaf among the roots, its key could sign for the whole trust domain.
    fs::write(&federation.a.file, federation.a.pem() + &federation.a.workload(RUNNER).certificate).unwrap();
    assert!(load(&federation.settings).unwrap_err().contains("certificate 2 is not a CA certificate"));
    fs::write(&federation.a.file, "").unwrap();
    assert!(load(&federation.settings).unwrap_err().contains("holds no certificate"));
    let pipe = Settings { key: "/dev/null".into(), ..federation.settings.clone() };
    assert!(load(&pipe).unwrap_err().contains("is not a regular file"));
    let none = Settings { key: "/no/such.key".into(), ..federation.settings };
    assert!(load(&none).unwrap_err().contains("cannot be read"));
}

#[test]
fn key_that_does_not_fit_the_certificate_is_named_with_the_fix() {
    let federation = Federation::new();
    let problem = || Tls::load(federation.settings.clone(), ManualClock::new()).map(drop).unwrap_err().problem;
    let own = fs::read_to_string(&federation.settings.certificate).unwrap();
    // The CA's certificate stands before the broker's.
    fs::write(&federation.settings.certificate, federation.a.pem() + &own).unwrap();
    assert!(problem().starts_with("is not the key of the first certificate in "), "{}", problem());
    fs::write(&federation.settings.certificate, own).unwrap();
    fs::write(&federation.settings.key, federation.a.workload(RUNNER).key).unwrap();
    assert!(problem().contains("name the key it was issued for"), "{}", problem());
    for pem in ["-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n", ""] {
        fs::write(&federation.settings.key, pem).unwrap();
        assert_eq!(problem().contains("openssl pkey -in FILE"), !pem.is_empty(), "{}", problem());
    }
}

#[test]
fn certificate_that_clients_reject_is_a_warning_of_serve_and_config_check() {
    let served = Served::new();
    let path = served.config.to_str().unwrap();
    let check = || run(&["config", "check", "--config", path], &[]);
    assert!(check().out().contains("is valid"));
    let mut params = leaf(&[dns(BROKER)]);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    served.federation.a.sign(&params).write(served.federation.directory.path(), "server");
    let checked = check();
    assert_eq!(checked.code, 0, "{checked:?}");
    let fix = "add -addext basicConstraints=critical,CA:FALSE";
    let warning = checked.error();
    assert!(warning.contains("warning: server.tls.certificate: ") && warning.contains(fix), "{warning}");
    let broker = Server::start(&["serve", "--config", path, "--listen", "127.0.0.1:0"], &[]);
    broker.until_logged("broker certificate has a mistake");
    let refused = served.whoami(&broker, &served.federation.a.workload(RUNNER));
    assert!(refused.error().contains("certificate is a CA certificate, which must not serve"), "{refused:?}");
    assert!(broker.stop().contains(fix));
}

#[test]
fn program_authenticates_certificates_and_reloads_tls_files() {
    let served = Served::new();
    let Federation { a, impostor, hosts, directory, .. } = &served.federation;
    let broker = served.serve();
    assert!(broker.address.starts_with("grpcs://127.0.0.1:"), "{}", broker.address);
    let runner = a.workload(RUNNER);
    let identity = served.whoami(&broker, &runner).out();
    assert!(identity.contains(RUNNER) && identity.contains("runners"), "{identity}");
    let host = hosts.sign(&leaf(&[dns(HOST_NAME)]));
    assert!(served.whoami(&broker, &host).out().contains("dns:build-1.corp.example"));
    let refused = served.whoami(&broker, &impostor.workload(RUNNER));
    assert_eq!(refused.code, 5, "{refused:?}");
    broker.until_logged("invalid peer certificate: BadSignature");
    let refused = served.whoami(&broker, &a.workload("spiffe://c.example/x"));
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.error().contains("client certificate missing or rejected: "), "{refused:?}");
    assert!(refused.error().contains("; run `ecr-broker doctor`"), "{refused:?}");
    broker.until_logged("trust domain c.example is not in authentication.client_ca");

    // A key of another certificate changes nothing.
    let renewed = impostor.server();
    fs::write(directory.path().join("server.key"), &renewed.key).unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("TLS files rejected; the old ones stay in force");
    assert_eq!(served.whoami(&broker, &runner).code, 0);

    // An expired certificate changes nothing.
    a.server_until(2020).write(directory.path(), "server");
    signal(broker.pid(), "HUP");
    broker.until_logged("has expired, at 2020-01-01");
    assert_eq!(served.whoami(&broker, &runner).code, 0);

    // Another CA takes over, for the broker's certificate and for the workloads.
    renewed.write(directory.path(), "server");
    fs::write(&a.file, impostor.pem()).unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("TLS files reloaded");
    assert_eq!(served.whoami(&broker, &runner).code, 5);
    assert!(served.whoami(&broker, &impostor.workload(RUNNER)).out().contains(RUNNER));
    let log = broker.stop();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[test]
fn replaced_tls_files_are_reloaded_without_sighup() {
    let served = Served::new();
    let broker = served.serve();
    let Federation { impostor, directory, .. } = &served.federation;
    impostor.server().write(directory.path(), "server");
    broker.until_logged("TLS files reloaded");
}
