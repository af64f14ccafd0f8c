//! TLS callers with certificates from openssl.

use std::path::Path;
use std::process::Command;

use super::PRIVATE;
use super::other::{python, run, script, succeed, text, tool, tools};
use super::program::{self, Server};

const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";
const RUNNER: &str = "spiffe://a.example/ns/ci/sa/runner";

/// A broker with two trust domains.
struct Federation {
    directory: tempfile::TempDir,
    broker: Server,
}

impl Federation {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        succeed(Command::new(script("certificates.sh")).arg(directory.path()));
        let config = directory.path().join("broker.toml");
        let place = directory.path().display();
        let text = format!(
            "server.tls = {{ certificate = \"{place}/server.crt\", key = \"{place}/server.key\" }}\n\
             authentication.client_ca = {{ \"a.example\" = \"{place}/a.pem\", \"b.example\" = \"{place}/b.pem\" }}\n\
             [[grants]]\nid = \"runners\"\ncallers = [{{ spiffe = \"spiffe://a.example/ns/ci/sa/*\" }}]\n\
             registries = [{{ accounts = [\"123456789012\"], regions = [\"eu-*\"] }}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let arguments = ["serve", "--simulate", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let broker = Server::start(&arguments, &[]);
        Self { directory, broker }
    }

    fn address(&self) -> &str {
        self.broker.address.trim_start_matches("grpcs://")
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn grpcurl(&self, identity: &str) -> Command {
        let mut command = tool("bin/grpcurl");
        command.args(["-cacert", &self.file("a.pem")]);
        command.args(["-cert", &self.file(&format!("{identity}.crt")), "-key", &self.file(&format!("{identity}.key"))]);
        command
    }

    fn whoami(&self, identity: &str) -> std::process::Output {
        run(self.grpcurl(identity).args([self.address(), &format!("{SERVICE}/GetCallerIdentity")]))
    }
}

#[test]
#[ignore = "needs openssl and grpcurl, which .ci/tools installs"]
fn grpcurl_is_authenticated_by_its_certificate() {
    let federation = Federation::new();
    let identity = federation.whoami("runner");
    assert!(identity.status.success() && text(&identity.stdout).contains(RUNNER), "{identity:?}");
    let method = format!("{SERVICE}/GetRegistryCredentials");
    let get = |identity: &str, host: &str| {
        let request = format!(r#"{{"registry": "{host}"}}"#);
        run(federation.grpcurl(identity).args(["-d", &request, federation.address(), &method]))
    };
    assert!(text(&get("runner", PRIVATE).stdout).contains("\"username\": \"AWS\""));
    assert!(text(&get("runner", "public.ecr.aws").stderr).contains("CALLER_NOT_ALLOWED"));
    assert!(text(&get("guest", PRIVATE).stderr).contains("CALLER_NOT_ALLOWED"));
}

#[test]
#[ignore = "needs openssl and grpcurl, which .ci/tools installs"]
fn certificate_of_another_ca_is_rejected_and_the_log_says_why() {
    let federation = Federation::new();
    for (identity, reason) in [
        ("forged-by-b", "UnknownIssuer"),
        ("forged-by-same-name", "BadSignature"),
        ("two-ids", "has several URIs"),
        ("server-only", "extended key usage"),
    ] {
        let refused = federation.whoami(identity);
        assert!(!refused.status.success() && !text(&refused.stdout).contains(RUNNER), "{identity}: {refused:?}");
        federation.broker.until_logged(reason);
    }
}

#[test]
#[ignore = "needs openssl, which .ci/tools installs"]
fn openssl_s_client_connects_with_tls_1_3_only() {
    let federation = Federation::new();
    let s_client = |version: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", federation.address(), version, "-alpn", "h2"]);
        command.args(["-CAfile", &federation.file("a.pem"), "-verify_return_error"]);
        let output = run(&mut command);
        text(&output.stdout) + &text(&output.stderr)
    };
    let new = s_client("-tls1_3");
    assert!(new.contains("ALPN protocol: h2") && new.contains("Verification: OK"), "{new}");
    let old = s_client("-tls1_2");
    assert!(old.contains("alert protocol version"), "{old}");
}

/// `openssl req -x509` adds CA:TRUE unless an option says otherwise. grpcurl accepts such a certificate, rustls does not.
#[test]
#[ignore = "needs openssl and grpcurl, which .ci/tools installs"]
fn self_signed_certificate_of_openssl_is_explained_and_mended() {
    const EXTENSION: &str = "basicConstraints=critical,CA:FALSE";
    let federation = Federation::new();
    let (certificate, config) = (federation.file("self.pem"), federation.file("self.toml"));
    let serve = |options: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]).args(options);
        succeed(openssl.args(["-keyout", &federation.file("self.key"), "-out", &certificate]));
        let text = std::fs::read_to_string(federation.file("broker.toml")).unwrap();
        std::fs::write(&config, text.replace("server.crt", "self.pem").replace("server.key", "self.key")).unwrap();
        Server::start(&["serve", "--config", &config, "--listen", "127.0.0.1:0"], &[])
    };
    let client = |command: &str, broker: &Server| {
        let address = broker.address.replace("grpcs://127.0.0.1", "https://localhost");
        program::run(&[command, "--address", &address, "--tls-ca", &certificate], &[])
    };
    let broker = serve(&[]);
    broker.until_logged(EXTENSION);
    let diagnosis = client("doctor", &broker);
    assert!(diagnosis.stdout.contains("certificate is a CA certificate"), "{diagnosis:?}");
    assert!(diagnosis.stdout.contains(&format!("-addext {EXTENSION}")), "{diagnosis:?}");
    assert_ne!(client("probe", &broker).code, 0);
    let health = [&broker.address.replace("grpcs://127.0.0.1", "localhost"), "grpc.health.v1.Health/Check"];
    succeed(tool("bin/grpcurl").args(["-cacert", &certificate]).args(health));

    drop(broker);
    let broker = serve(&["-addext", EXTENSION]);
    assert_eq!(client("probe", &broker).code, 0, "{:?}", client("probe", &broker));
    assert!(!broker.stop().contains("broker certificate has a mistake"));
}

/// The request has no fields, so no generated code is needed. The first field of the response is the principal.
const PYTHON: &str = "
import sys, grpc
address, directory = sys.argv[1:]
read = lambda name: open(f'{directory}/{name}', 'rb').read()
credentials = grpc.ssl_channel_credentials(read('a.pem'), read('runner.key'), read('runner.crt'))
channel = grpc.secure_channel(address, credentials)
print(channel.unary_unary('/ecrbroker.v1.RegistryCredentialsService/GetCallerIdentity')(b'', timeout=10))
";

#[test]
#[ignore = "needs openssl and Python's grpcio, which .ci/tools installs"]
fn python_s_grpcio_is_authenticated_by_its_certificate() {
    let federation = Federation::new();
    let place = federation.directory.path();
    let said = succeed(python().args(["-c", PYTHON, federation.address()]).arg(place));
    assert!(said.contains(RUNNER), "{said}");
}

const NODE: &str = "
const [address, directory] = process.argv.slice(1);
const grpc = require('@grpc/grpc-js');
const read = (name) => require('fs').readFileSync(`${directory}/${name}`);
const credentials = grpc.credentials.createSsl(read('a.pem'), read('runner.key'), read('runner.crt'));
const client = new grpc.Client(address, credentials);
const same = (bytes) => bytes;
const method = '/ecrbroker.v1.RegistryCredentialsService/GetCallerIdentity';
client.makeUnaryRequest(method, same, same, Buffer.alloc(0), (error, answer) => {
    console.log(error ?? answer.toString());
    client.close();
});
";

#[test]
#[ignore = "needs openssl, Node and @grpc/grpc-js, which .ci/tools installs"]
fn node_s_grpc_js_is_authenticated_by_its_certificate() {
    let federation = Federation::new();
    let modules: &Path = &tools().join("node/node_modules");
    let mut node = Command::new("node");
    node.env("NODE_PATH", modules).args(["-e", NODE, federation.address()]).arg(federation.directory.path());
    let said = succeed(&mut node);
    assert!(said.contains(RUNNER), "{said}");
}
