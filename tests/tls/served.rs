//! The program with two trust domains, and its client.

use std::fs;
use std::path::PathBuf;

use ecr_broker::authn::tls::Settings;

use super::certificates::Pair;
use super::federation::{Federation, HOST_NAME};
use super::program::{Ended, Server, run};

/// The program, and the files that it reads.
pub(crate) struct Served {
    pub(crate) federation: Federation,
    pub(crate) config: PathBuf,
}

impl Served {
    pub(crate) fn new() -> Self {
        let federation = Federation::new();
        let config = federation.directory.path().join("broker.toml");
        let Settings { certificate, key, .. } = &federation.settings;
        let text = format!(
            "server.tls = {{ certificate = \"{}\", key = \"{}\" }}\n\
             authentication.client_ca = {{ \"a.example\" = \"{}\" }}\n\
             authentication.client_dns = {{ {HOST_NAME:?} = \"{}\" }}\n\
             [[grants]]\nid = \"runners\"\ncallers = [{{ spiffe = \"spiffe://a.example/ns/ci/sa/*\" }}, {{ dns = {HOST_NAME:?} }}]\n\
             registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n",
            certificate.display(),
            key.display(),
            federation.a.file.display(),
            federation.hosts.file.display(),
        );
        fs::write(&config, text).unwrap();
        Self { federation, config }
    }

    pub(crate) fn serve(&self) -> Server {
        let config = self.config.to_str().unwrap();
        Server::start(&["serve", "--simulate", "--config", config, "--listen", "127.0.0.1:0"], &[])
    }

    /// Runs the program's client with a certificate.
    pub(crate) fn whoami(&self, broker: &Server, pair: &Pair) -> Ended {
        let directory = self.federation.directory.path();
        let (certificate, key) = pair.write(directory, "client");
        let ca = directory.join("trusted.pem");
        fs::write(&ca, self.federation.a.pem() + &self.federation.impostor.pem()).unwrap();
        let arguments = [
            "whoami",
            "--address",
            &broker.address.replace("127.0.0.1", "localhost"),
            "--tls-ca",
            ca.to_str().unwrap(),
        ];
        let identity = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        run(&[&arguments[..], &identity].concat(), &[])
    }
}
