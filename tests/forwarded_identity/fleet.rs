//! A child and its parent as processes: the job's token reaches the parent, which decides about the job.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ecr_broker::clock::SystemClock;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use ecr_broker::pb::{CacheStatus, RegistryCredentials};
use serde_json::{Value, json};
use tonic_types::StatusExt as _;

use super::certificates::Authority;
use super::parent::{NODE_CLAIM, node};
use super::program::{Server, simulated_broker};
use super::support::{HOST, request};
use super::tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, bearing, seconds};

/// A parent and its child on the node `n1`, both with the issuer `blue` and an audit log.
struct Fleet {
    directory: tempfile::TempDir,
    signer: Signer,
    parent: Server,
    child: Server,
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

impl Fleet {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (path, signer) = (directory.path(), Signer::new("k1"));
        let jwks = write(path, "jwks.json", &signer.jwks());
        let issuer = format!(
            "[[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{jwks}\"\n"
        );
        let authority = Authority::new(path, "ca.pem", "organisation");
        let parent = Self::parent(path, &authority, &issuer);
        let child = Self::child(path, &authority, &issuer, &parent);
        Self { directory, signer, parent, child }
    }

    fn parent(path: &Path, authority: &Authority, issuer: &str) -> Server {
        let (certificate, key) = authority.server().write(path, "server");
        let (nodes, n1, uid) = (node("*"), node("n1"), own_uid());
        let config = format!(
            "audit.output = \"{audit}\"\nserver.tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n\
             authentication.client_ca = {{ \"a.example\" = \"{ca}\" }}\n{issuer}\
             [[grants]]\nid = \"pods\"\n\
             callers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\", via = \"{nodes}\", via_claim = \"{NODE_CLAIM}\" }}]\n\
             registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n\
             [[grants]]\nid = \"users\"\ncallers = [{{ uid = {uid}, via = \"{n1}\", asserted = true }}]\n\
             registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n",
            audit = path.join("parent.jsonl").display(),
            certificate = certificate.display(),
            key = key.display(),
            ca = authority.file.display(),
        );
        simulated_broker(&["--config", &write(path, "parent.toml", &config)], &[("RUST_LOG", "trace")])
    }

    fn child(path: &Path, authority: &Authority, issuer: &str, parent: &Server) -> Server {
        let (certificate, key) = authority.workload(&node("n1")).write(path, "node");
        let address = parent.address.replace("grpcs://127.0.0.1", "https://localhost");
        let mut config = format!(
            "audit.output = \"{audit}\"\nauthentication.loopback = true\n{issuer}\
             [[parents]]\nname = \"central\"\naddresses = [{address:?}]\ntls_ca = \"{ca}\"\ntls_cert = \"{certificate}\"\n\
             tls_key = \"{key}\"\nregistries = [{{ accounts = [\"*\"], regions = [\"*\"] }}, {{ public = true }}]\n\
             forward_callers = true\n",
            audit = path.join("child.jsonl").display(),
            ca = authority.file.display(),
            certificate = certificate.display(),
            key = key.display(),
        );
        _ = write!(
            config,
            "[[grants]]\nid = \"own\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}, {{ uid = {} }}, {{ loopback = true }}]\n\
             registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n",
            own_uid()
        );
        let (socket, file) = (path.join("child.sock"), write(path, "child.toml", &config));
        let listen = format!("unix:{}", socket.display());
        let arguments = ["serve", "--config", &file, "--listen", "127.0.0.1:0", "--listen", &listen];
        Server::start(&arguments, &[("RUST_LOG", "trace")])
    }

    fn token(&self, node: &str, subject: &str, number: usize) -> String {
        let now = seconds(&SystemClock::new());
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"{subject}","aud":"{AUDIENCE}","iat":{now},"exp":{},"jti":"{number}","kubernetes.io":{{"node":{{"name":"{node}"}}}}}}"#,
            now + 600
        );
        self.signer.sign(&self.signer.header(), &claims)
    }

    /// Asks the child with a token, or without one as `loopback`. Returns the credential, or the reason of the error.
    async fn ask(&self, token: Option<&str>) -> Result<RegistryCredentials, String> {
        let uri = self.child.address.replace("grpc://", "http://");
        self.ask_at(uri, token).await
    }

    /// Asks the child over its socket, as this user.
    async fn ask_as_user(&self) -> Result<RegistryCredentials, String> {
        let socket = self.directory.path().join("child.sock");
        self.ask_at(format!("unix://{}", socket.display()), None).await
    }

    async fn ask_at(&self, uri: String, token: Option<&str>) -> Result<RegistryCredentials, String> {
        let channel = tonic::transport::Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
        let message = request(HOST);
        let request =
            token.map_or_else(|| tonic::Request::new(message.clone()), |token| bearing(token, message.clone()));
        let answer = RegistryCredentialsServiceClient::new(channel).get_registry_credentials(request).await;
        let reason = |status: tonic::Status| {
            let details = status.get_error_details();
            details.error_info().map_or_else(|| status.to_string(), |info| info.reason.clone())
        };
        answer.map(|answer| answer.into_inner().credentials.unwrap()).map_err(reason)
    }

    fn audited(&self, broker: &str) -> Vec<Value> {
        let file: PathBuf = self.directory.path().join(format!("{broker}.jsonl"));
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn job_gets_through_child_and_parent_only_what_both_grant() {
    let fleet = Fleet::start();
    let (own, foreign) = (fleet.token("n1", SUBJECT, 1), fleet.token("n2", SUBJECT, 2));
    let got = fleet.ask(Some(&own)).await.unwrap();
    assert_eq!(got.registry, HOST);
    let of_parent = fleet.audited("parent").pop().unwrap();
    assert_eq!(of_parent["caller"], format!("jwt:blue:{SUBJECT}"));
    assert_eq!((&of_parent["via"], &of_parent["grant"]), (&json!([node("n1")]), &json!("pods")));
    let of_child = fleet.audited("child").pop().unwrap();
    assert_eq!((&of_child["caller"], &of_child["source"]), (&of_parent["caller"], &json!("parent:central")));
    // The child has a credential of this subject in its cache, which is not for a pod of another node.
    assert_eq!(fleet.ask(Some(&foreign)).await.unwrap_err(), "PARENT_DENIED");
    let of_parent = fleet.audited("parent").pop().unwrap();
    assert_eq!((&of_parent["outcome"], &of_parent["via"]), (&json!("denied"), &json!([node("n1")])));
    let renewed = fleet.ask(Some(&fleet.token("n1", SUBJECT, 3))).await.unwrap();
    assert_eq!((renewed.cache_status(), &renewed.credential_id), (CacheStatus::Hit, &got.credential_id));
    assert_eq!(fleet.audited("parent").len(), 2, "a renewed token finds what the parent gave");
    // The child's own checks come first.
    let forged = Fleet { signer: Signer::new("k1"), ..fleet };
    assert_eq!(forged.ask(Some(&forged.token("n1", SUBJECT, 4))).await.unwrap_err(), "CALLER_UNAUTHENTICATED");
    assert_eq!(forged.audited("parent").len(), 2);
    let audited = format!("{:?} {:?}", forged.audited("parent"), forged.audited("child"));
    for (written, text) in [("audit", audited), ("child", forged.child.stop()), ("parent", forged.parent.stop())] {
        assert!(text.len() > 500, "{written}: {text}");
        for token in [&own, &foreign] {
            let signature = token.rsplit('.').next().unwrap();
            assert!(!text.contains(signature), "the {written} log has a token");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_of_a_child_is_asserted_and_counts_only_where_a_grant_says_so() {
    let fleet = Fleet::start();
    fleet.ask_as_user().await.unwrap();
    let of_parent = fleet.audited("parent").pop().unwrap();
    assert!(of_parent["caller"].as_str().unwrap().starts_with(&format!("uid:{},", own_uid())), "{of_parent}");
    assert_eq!((&of_parent["via"], &of_parent["grant"]), (&json!([node("n1")]), &json!("users")));
    assert_eq!(fleet.ask(None).await.unwrap_err(), "PARENT_DENIED");
    let of_parent = fleet.audited("parent").pop().unwrap();
    assert_eq!((&of_parent["caller"], &of_parent["outcome"]), (&json!("loopback"), &json!("denied")));
    let other = fleet.token("n1", "system:serviceaccount:cd:runner", 1);
    assert_eq!(fleet.ask(Some(&other)).await.unwrap_err(), "CALLER_NOT_ALLOWED", "the child's grants decide first");
    assert_eq!(fleet.audited("parent").len(), 2);
}
