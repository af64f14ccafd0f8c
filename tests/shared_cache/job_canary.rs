//! Canary of a job's way: a child forwards its token to a parent, whose shared cache fails in several ways.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ecr_broker::clock::SystemClock;
use tempfile::TempDir;

use super::canary::{PASSWORD, cli, dumps, monitor};
use super::certificates::Authority;
use super::collector::Collector;
use super::fleet::{Fleet, write_secret};
use super::program::{Logs, Server, program, run, signal, skipped};
use super::secrets::Secrets;
use super::store::{Store, with_each};
use super::support::{HOST, host};
use super::tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, seconds};

const NODE: &str = "spiffe://a.example/node/n1";
const EVERYTHING: &str = "registries = [{ accounts = [\"*\"], regions = [\"*\"] }]";

/// A broker at TRACE, with spans, pushed metrics, an audit log and pages.
struct Broker {
    server: Server,
    config: String,
    socket: String,
    ops: PathBuf,
}

/// The brokers, and the secrets that they have seen.
struct Scene {
    /// What the brokers write.
    written: TempDir,
    /// Their configuration.
    own: TempDir,
    fleet: Fleet,
    parent: Broker,
    child: Broker,
    secrets: Secrets,
    /// What clients wrote to stderr.
    said: String,
}

impl Broker {
    fn start(name: &str, config: &Path, directory: &Path, collector: &str) -> Self {
        let (socket, ops) = (directory.join(format!("{name}.sock")), directory.join(format!("{name}.ops")));
        let (socket, ops_listen) = (format!("unix:{}", socket.display()), format!("unix:{}", ops.display()));
        let mut command = program(&[
            ("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "none"),
            ("AWS_SESSION_TOKEN", "none"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("ECR_BROKER_SERVER_OPS_LISTEN", &ops_listen),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("RUST_LOG", "trace"),
        ]);
        let config = config.to_str().unwrap().to_owned();
        command.args(["serve", "--config", &config, "--listen", "127.0.0.1:0", "--listen", &socket]);
        command.current_dir(directory).env("HOME", directory);
        let server = tokio::task::block_in_place(|| Server::spawn_logging(command));
        Self { server, config, socket, ops }
    }
}

/// Returns the lines of an issuer whose keys are in a file.
fn issuer(file: &Path, keys: &str) -> String {
    fs::write(file, keys).unwrap();
    format!(
        "[[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{}\"\n",
        file.display()
    )
}

fn audit(file: &Path) -> String {
    format!("[metrics]\nper_key = true\n[audit]\noutput = \"{}\"\n", file.display())
}

impl Scene {
    /// Starts both brokers. The parent does not know the second key of the issuer.
    async fn start(store: &Store, collector: &str, signers: &[Signer; 2]) -> Self {
        let (written, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, mut secrets) = (|name: &str| own.path().join(name), Secrets::default());
        let ca = Authority::new(own.path(), "ca.pem", "a");
        let (server, node) = (ca.server(), ca.workload(NODE));
        secrets.add_private_key(&server.key);
        secrets.add_private_key(&node.key);
        secrets.add("the password of the shared cache", PASSWORD);
        write_secret(&file("password"), PASSWORD);
        let (certificate, key) = server.write(own.path(), "server");
        let fleet = Fleet::with(&format!(
            "url = \"{url}\"\ntimeout = \"500ms\"\npassword_file = \"{password}\"\n\
             {audit}[server.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\
             [authentication]\nclient_ca = {{ \"a.example\" = \"{ca}\" }}\n{issuer}\
             [[grants]]\nid = \"pods\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\", via = \"spiffe://a.example/node/*\", \
             via_claim = \"kubernetes.io.node.name\" }}]\n{EVERYTHING}\n",
            url = store.url(),
            password = file("password").display(),
            certificate = certificate.display(),
            key = key.display(),
            audit = audit(&written.path().join("parent.jsonl")),
            ca = ca.file.display(),
            issuer = issuer(&file("parent.jwks"), &signers[0].jwks()),
        ))
        .await;
        secrets.add_keys(&fs::read_to_string(fleet.keys_file()).unwrap());
        let parent = Broker::start("parent", &fleet.configuration(), written.path(), collector);
        let (certificate, key) = node.write(own.path(), "node");
        let [known, unknown] = signers.each_ref().map(|signer| signer.jwk(""));
        let config = format!(
            "{audit}{issuer}[[parents]]\nname = \"central\"\naddresses = [{address:?}]\ntls_ca = \"{ca}\"\n\
             tls_cert = \"{certificate}\"\ntls_key = \"{key}\"\n{EVERYTHING}\nforward_callers = true\n\
             [[grants]]\nid = \"own\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}]\n{EVERYTHING}\n",
            audit = audit(&written.path().join("child.jsonl")),
            issuer = issuer(&file("child.jwks"), &format!("{{\"keys\":[{known},{unknown}]}}")),
            address = parent.server.address.replace("grpcs://127.0.0.1", "https://localhost"),
            ca = ca.file.display(),
            certificate = certificate.display(),
            key = key.display(),
        );
        fs::write(file("child.toml"), config).unwrap();
        let child = Broker::start("child", &file("child.toml"), written.path(), collector);
        Self { written, own, fleet, parent, child, secrets, said: String::new() }
    }

    /// Returns a new token of a pod on a node.
    fn token(&mut self, signer: &Signer, node: &str) -> String {
        let now = seconds(&SystemClock::new());
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"{SUBJECT}","aud":"{AUDIENCE}","iat":{now},"exp":{},"kubernetes.io":{{"node":{{"name":"{node}"}}}}}}"#,
            now + 600
        );
        let token = signer.sign(&signer.header(), &claims);
        self.secrets.add_bearer_token(&token);
        token
    }

    /// Asks the child, which must have the password or this error.
    fn ask(&mut self, token: &str, host: &str, error: Option<&str>) {
        let file = self.own.path().join("token");
        write_secret(&file, token);
        let (address, file) = (self.child.server.address.as_str(), file.to_str().unwrap());
        let arguments = ["get", host, "-o", "password", "--address", address, "--token-file", file];
        let ended = tokio::task::block_in_place(|| run(&arguments, &[("RUST_LOG", "trace")]));
        if let Some(error) = error {
            assert!(ended.code != 0 && ended.stderr.contains(error), "{error}: {} {}", ended.code, ended.stderr);
        } else {
            assert_eq!(ended.code, 0, "{ended:?}");
            self.secrets.add_password(ended.stdout.trim());
        }
        self.said += &ended.stderr;
    }

    /// Gives the parent a keys file that is not one, and then one with another seal key.
    fn change_keys(&mut self) {
        let keys = fs::read_to_string(self.fleet.keys_file()).unwrap();
        let names = keys.lines().next().unwrap();
        let other = format!("{names}\n{}", run(&["keygen", "--seal-only"], &[]).out());
        self.secrets.add_keys(&other);
        for (text, logged) in [(keys.replace("seal ", "seal x"), "keys rejected"), (other, "keys reloaded")] {
            write_secret(&self.fleet.keys_file(), &text);
            signal(self.parent.server.pid(), "HUP");
            tokio::task::block_in_place(|| self.parent.server.until_logged(&format!("shared cache {logged}")));
        }
    }

    /// Has the parent log a line at DEBUG: of a peer that does not speak TLS.
    fn log_at_debug(&self) {
        let address = self.parent.server.address.strip_prefix("grpcs://").unwrap();
        TcpStream::connect(address).unwrap().write_all(b"not TLS").unwrap();
        tokio::task::block_in_place(|| self.parent.server.until_logged("TLS handshake failed"));
    }

    /// Searches everything that the brokers show, and after their end what they wrote.
    async fn search(self, collector: &Collector) {
        let Self { written, parent, child, secrets, said, .. } = self;
        for broker in [&parent, &child] {
            secrets.search_ops(&broker.ops).await;
            secrets.search_process(broker.server.pid());
            tokio::task::block_in_place(|| secrets.search_commands(&broker.config, &broker.socket));
        }
        let [of_parent, of_child] = [parent, child].map(|broker| tokio::task::block_in_place(|| broker.server.stop()));
        for (place, text, expected) in [
            ("the clients' stderr", &said, "PARENT_DENIED"),
            ("the parent's log", &of_parent, "shared cache value refused"),
            ("the parent's log", &of_parent, "DEBUG"),
            ("the child's log", &of_child, "PARENT_DENIED"),
            ("the spans and the pushed metrics", &collector.everything(), "GetAuthorizationToken"),
            ("the spans and the pushed metrics", &collector.everything(), "parent:central"),
            ("the spans and the pushed metrics", &collector.everything(), "ecr_broker_shared_cache"),
        ] {
            assert!(text.contains(expected), "{expected} is not in {place}, so the search would prove nothing");
            secrets.search(place, text);
        }
        assert!(secrets.search_directory(written.path()) >= 2, "the audit logs at least");
    }
}

/// Gives the server another password and ends all connections.
fn refuse_the_password(port: u16) {
    let mut cli = cli(port).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let commands = b"config set requirepass of-another-shared-cache\nclient kill type normal skipme yes\n";
    cli.stdin.take().unwrap().write_all(commands).unwrap();
    assert!(cli.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_job_is_written_by_child_parent_or_shared_cache() {
    with_each(async |kind| {
        let mut store = kind.start_with(&["--requirepass", PASSWORD]);
        let Some(mut monitor) = monitor(store.port) else {
            skipped("redis-cli is not installed; run .ci/tools");
            return;
        };
        let (seen, collector) = (Logs::of(monitor.stdout.take().unwrap()), Collector::default());
        seen.until("OK", 1);
        let signers = ["k1", "k2"].map(Signer::new);
        let mut scene = Scene::start(&store, &collector.over_grpc().await, &signers).await;
        let [known, unknown] = &signers;
        let own = scene.token(known, "n1");
        scene.ask(&own, HOST, None);
        for (signer, node, error) in [
            (known, "n2", "PARENT_DENIED"),
            (unknown, "n1", "PARENT_DENIED"),
            (&Signer::new("k1"), "n1", "CALLER_UNAUTHENTICATED"),
        ] {
            let token = scene.token(signer, node);
            scene.ask(&token, &host(9), Some(error));
        }
        // A replica that keeps the old key shares a credential that the parent then cannot open.
        let replica = scene.fleet.replica().await;
        scene.secrets.add_password(&replica.timed(&host(1)).await.0);
        scene.change_keys();
        scene.ask(&own, &host(1), None);
        scene.secrets.search("dumps", &dumps(store.port));
        refuse_the_password(store.port);
        scene.ask(&own, &host(2), None);
        tokio::task::block_in_place(|| scene.parent.server.until_logged("shared cache unavailable"));
        store.kill();
        scene.ask(&own, &host(3), None);
        scene.log_at_debug();
        _ = monitor.kill();
        monitor.wait().unwrap();
        seen.until("EVALSHA", 2);
        scene.secrets.search("MONITOR", &seen.text());
        scene.search(&collector).await;
    })
    .await;
}
