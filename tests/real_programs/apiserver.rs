//! A real kube-apiserver with etcd on loopback. `deploy/kubernetes/programs cluster` builds it, which takes minutes.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::other::{Foreign, succeed};
use super::program::skipped;

/// The token of a user who may do everything.
const ADMIN: &str = "admin-token";
/// The token of the user that sync is. It may do what a test's role allows.
const SYNC: &str = "sync-token";
const APPLY: &str = "application/apply-patch+yaml";

/// An API server without nodes and controllers. It is stopped on drop.
pub(crate) struct ApiServer {
    directory: tempfile::TempDir,
    program: PathBuf,
    server: Option<Foreign>,
    _etcd: Foreign,
    etcd: u16,
    port: u16,
}

impl ApiServer {
    /// Starts one; `None` if it is not built on this machine.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = built() else {
            skipped("kube-apiserver is not built; run: deploy/kubernetes/programs cluster");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let (etcd, port) = (free_port(), free_port());
        let running = start_etcd(directory.path(), etcd);
        succeed(Command::new("openssl").args(["genrsa", "-out"]).arg(directory.path().join("sa.key")).arg("2048"));
        fs::write(directory.path().join("tokens.csv"), format!("{ADMIN},admin,1,system:masters\n{SYNC},sync,2\n"))
            .unwrap();
        let mut api = Self { directory, program, server: None, _etcd: running, etcd, port };
        api.resume();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": api.url(""), "certificate-authority": api.path("certs/apiserver.crt") } }],
            "users": [{ "name": "u", "user": { "token": SYNC } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        fs::write(api.path("kubeconfig"), kubeconfig.to_string()).unwrap();
        Some(api)
    }

    /// Stops the API server. Its objects stay in etcd.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Starts the API server, at the same port as before.
    pub(crate) fn resume(&mut self) {
        let issuer = "https://kubernetes.default.svc.cluster.local";
        let mut command = Command::new(&self.program);
        command
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--authorization-mode=RBAC"])
            .args(["--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount"])
            .arg(format!("--secure-port={}", self.port))
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd))
            .arg(format!("--cert-dir={}", self.path("certs")))
            .arg(format!("--token-auth-file={}", self.path("tokens.csv")))
            .arg(format!("--service-account-issuer={issuer}"))
            .arg(format!("--service-account-key-file={}", self.path("sa.key")))
            .arg(format!("--service-account-signing-key-file={}", self.path("sa.key")));
        self.server = Some(Foreign::start(&mut command, "Serving securely on 127.0.0.1:"));
        until(|| self.get("/readyz").0 == 200);
    }

    /// Returns a path in the server's directory.
    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// Returns the kubeconfig of the user that sync is.
    pub(crate) fn kubeconfig(&self) -> String {
        self.path("kubeconfig")
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, "application/json", &Value::Null)
    }

    pub(crate) fn delete(&self, path: &str) {
        assert_eq!(self.call("DELETE", path, "application/json", &Value::Null).0, 200, "{path}");
    }

    pub(crate) fn merge(&self, path: &str, fields: &Value) {
        let (code, answer) = self.call("PATCH", path, "application/merge-patch+json", fields);
        assert_eq!(code, 200, "{answer}");
    }

    /// Applies an object as another field manager, with force.
    pub(crate) fn apply(&self, path: &str, object: &Value) {
        self.apply_as("other", path, object);
    }

    pub(crate) fn apply_as(&self, manager: &str, path: &str, object: &Value) {
        let (code, answer) = self.call("PATCH", &format!("{path}?fieldManager={manager}&force=true"), APPLY, object);
        assert!([200, 201].contains(&code), "{code} {answer}");
    }

    pub(crate) fn namespace(&self, name: &str, labels: &Value) {
        let metadata = json!({ "name": name, "labels": labels });
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        self.apply(&format!("/api/v1/namespaces/{name}"), &object);
    }

    /// Lets sync do these in a namespace, with Secrets of these names.
    pub(crate) fn allow(&self, namespace: &str, names: &[&str], verbs: &[&str]) {
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let rules = json!([{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": verbs }]);
        let (role, binding) = (rbac_object("Role", namespace), rbac_object("RoleBinding", namespace));
        let parts = [("roles", role, json!({ "rules": rules })), ("rolebindings", binding, bound("Role"))];
        for (kind, object, fields) in parts {
            self.apply(&format!("{rbac}/namespaces/{namespace}/{kind}/sync"), &merged(object, fields));
        }
        self.until_allowed(namespace, names[0], verbs[verbs.len() - 1]);
    }

    /// Waits until the API server has noticed a role.
    fn until_allowed(&self, namespace: &str, name: &str, verb: &str) {
        let attributes = json!({ "namespace": namespace, "verb": verb, "resource": "secrets", "name": name });
        let spec = json!({ "user": "sync", "resourceAttributes": attributes });
        let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        until(|| self.call("POST", path, "application/json", &review).1["status"]["allowed"] == true);
    }

    /// Lets sync do the same in all namespaces, and list them.
    pub(crate) fn allow_everywhere(&self, names: &[&str]) {
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let verbs = ["get", "create", "patch"];
        let rules = json!([
            { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"] },
            { "apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": verbs },
        ]);
        let role = merged(rbac_object("ClusterRole", ""), json!({ "rules": rules }));
        self.apply(&format!("{rbac}/clusterroles/sync"), &role);
        let binding = merged(rbac_object("ClusterRoleBinding", ""), bound("ClusterRole"));
        self.apply(&format!("{rbac}/clusterrolebindings/sync"), &binding);
        self.until_allowed("default", names[0], "patch");
    }

    fn call(&self, method: &str, path: &str, content: &str, body: &Value) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--write-out", "\n%{http_code}", "--cacert", &self.path("certs/apiserver.crt")]);
        curl.args(["--header", &format!("Authorization: Bearer {ADMIN}"), "--request", method]);
        curl.args(["--header", &format!("Content-Type: {content}"), &self.url(path)]);
        if !body.is_null() {
            curl.args(["--data", &body.to_string()]);
        }
        let output = curl.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, code) = text.rsplit_once('\n').unwrap();
        (code.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

fn rbac_object(kind: &str, namespace: &str) -> Value {
    let mut metadata = json!({ "name": "sync" });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata })
}

fn merged(mut object: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { return object };
    object.as_object_mut().unwrap().extend(fields);
    object
}

fn bound(kind: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "roleRef": { "apiGroup": group, "kind": kind, "name": "sync" },
        "subjects": [{ "apiGroup": group, "kind": "User", "name": "sync" }],
    })
}

/// Returns the API server that was built into the cache.
#[expect(clippy::disallowed_methods, reason = "where deploy/kubernetes/programs keeps it")]
fn built() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?.join("ecr-broker-ci");
    let versions = fs::read_dir(cache).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    versions.map(|version| version.join("kube-apiserver")).filter(|program| program.exists()).max()
}

fn start_etcd(directory: &Path, port: u16) -> Foreign {
    let url = format!("http://127.0.0.1:{port}");
    let mut etcd = Command::new("etcd");
    etcd.arg("--data-dir").arg(directory.join("etcd")).args(["--unsafe-no-fsync", "--logger=zap"]);
    etcd.args([
        "--listen-client-urls",
        &url,
        "--advertise-client-urls",
        &url,
        "--listen-peer-urls",
        "http://127.0.0.1:0",
    ]);
    let etcd = Foreign::start(&mut etcd, "\"listen-client-urls\":[\"http://127.0.0.1:");
    until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    etcd
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks again and again until a server answers.
fn until(is_ready: impl Fn() -> bool) {
    let ready = (0..1_200).any(|_| {
        let is_ready = is_ready();
        if !is_ready {
            std::thread::sleep(Duration::from_millis(100));
        }
        is_ready
    });
    assert!(ready, "the server is not ready after two minutes");
}
