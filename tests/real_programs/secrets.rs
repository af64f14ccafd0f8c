//! `sync` into Secrets of a real API server: RBAC, field managers, immutable Secrets, restarts, and many namespaces.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use ecr_broker::kubernetes::{Api, ApiError, Manifest, Scope};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::PRIVATE;
use super::apiserver::ApiServer;
use super::program::{Ended, Following, Server, at_once, program, run};

/// An API server, and a broker with a simulated AWS.
struct Place {
    api: ApiServer,
    broker: Server,
}

impl Place {
    fn new(arguments: &[&str]) -> Option<Self> {
        let api = ApiServer::start()?;
        let arguments = [&["serve", "--simulate", "--listen", "127.0.0.1:0"], arguments].concat();
        let environment = [("ECR_BROKER_CACHE_SAFETY_MARGIN", "1s")];
        Some(Self { api, broker: Server::start(&arguments, &environment) })
    }

    fn environment(&self) -> [(&'static str, String); 3] {
        let address = self.broker.address.replace("grpc://", "http://");
        [("ECR_BROKER_ADDRESS", address), ("KUBECONFIG", self.api.kubeconfig()), ("RUST_LOG", "trace".to_owned())]
    }

    fn sync(&self, arguments: &[&str]) -> Ended {
        let environment = self.environment();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        run(&[&["sync"], arguments].concat(), &environment)
    }

    /// Runs sync once, and searches its output for the credential.
    fn once(&self, arguments: &[&str]) -> Ended {
        let ended = self.sync(&[&["--once"], arguments].concat());
        let password = self.password();
        let auth = BASE64.encode(format!("AWS:{password}").as_bytes());
        let output = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!output.contains(&password) && !output.contains(&auth), "the credential is printed");
        ended
    }

    fn follow(&self, arguments: &[&str]) -> Following {
        let mut command = program(&[]);
        command.envs(self.environment()).env_remove("RUST_LOG").arg("sync").args(arguments);
        Following::start(command)
    }

    /// Returns the password that the broker has now.
    fn password(&self) -> String {
        let address = self.broker.address.replace("grpc://", "http://");
        run(&["get", PRIVATE, "-o", "password"], &[("ECR_BROKER_ADDRESS", &address)]).out().trim().to_owned()
    }

    /// Lets the broker fetch another credential, in a later second: of two that end in one, a Secret keeps the first.
    #[expect(clippy::disallowed_methods, reason = "the broker's own clock")]
    fn renew(&self) {
        let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let before = second();
        while second() == before {
            std::thread::yield_now();
        }
        let address = self.broker.address.replace("grpc://", "http://");
        run(&["get", PRIVATE, "--refresh", "-o", "password"], &[("ECR_BROKER_ADDRESS", &address)]).out();
    }

    fn secret(&self, name: &str) -> Value {
        let (code, secret) = self.api.get(&path(name));
        assert_eq!(code, 200, "{name}: {secret}");
        secret
    }

    /// Returns the password that a Secret has.
    fn stored(&self, name: &str) -> Option<String> {
        let config: Value = serde_json::from_slice(&decoded(&self.secret(name)["data"][".dockerconfigjson"])).unwrap();
        let auth = String::from_utf8(decoded(config["auths"].get(PRIVATE)?.get("auth")?)).unwrap();
        auth.strip_prefix("AWS:").map(str::to_owned)
    }
}

fn path(name: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

fn decoded(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn docker_secret(name: &str, auths: &Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    let config = BASE64.encode(json!({ "auths": auths }).to_string().as_bytes());
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": namespace },
        "type": "kubernetes.io/dockerconfigjson", "data": { ".dockerconfigjson": config },
    })
}

/// Checks that a Secret stays as it is, and why.
fn check_kept(place: &Place, name: &str, code: i32, problem: &str) {
    let before = place.secret(name);
    let ended = place.once(&["--kubernetes-secret", name, PRIVATE]);
    assert!(ended.code == code && ended.stderr.contains(problem), "{ended:?}");
    assert_eq!(place.secret(name), before);
}

#[test]
#[ignore = "runs a kube-apiserver"]
fn secret_is_written_by_server_side_apply_with_three_permissions() {
    let Some(place) = Place::new(&[]) else { return };
    place.api.namespace("a", &json!({}));
    // `create` is for this Secret only, for apply names it.
    place.api.allow("a", &["pull"], &["get", "create", "patch"]);
    let once = || place.once(&["--kubernetes-secret", "a/pull", PRIVATE]);
    assert!(once().stdout.starts_with("a/pull: 1 registry, valid for 11h"));
    let secret = place.secret("a/pull");
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    let managers = secret["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(managers.len(), 1, "{managers:?}");
    assert!(managers[0]["manager"] == "ecr-broker" && managers[0]["operation"] == "Apply", "{managers:?}");
    assert_eq!(place.stored("a/pull"), Some(place.password()));
    assert_eq!(once().stdout, "a/pull is up to date\n");
    assert_eq!(place.secret("a/pull"), secret);
    place.renew();
    once();
    assert_eq!(place.stored("a/pull"), Some(place.password()));
    assert_ne!(place.secret("a/pull")["data"], secret["data"]);
    place.api.delete(&path("a/pull"));
    once();
    assert_eq!(place.stored("a/pull"), Some(place.password()), "created again");

    for (name, problem) in [("a/other", "; grant get, create and patch of Secrets"), ("b/pull", "cannot get resource")]
    {
        let ended = place.once(&["--kubernetes-secret", name, PRIVATE]);
        assert!(ended.code == 4 && ended.stderr.contains(problem), "{ended:?}");
    }
    place.api.allow_everywhere(&["pull"]);
    let ended = place.once(&["--kubernetes-secret", "b/pull", PRIVATE]);
    assert!(ended.code == 1 && ended.stderr.contains("namespaces \"b\" not found"), "{ended:?}");
}

#[test]
#[ignore = "runs a kube-apiserver"]
fn secrets_of_others_and_immutable_ones_stay_and_are_reported() {
    let Some(place) = Place::new(&[]) else { return };
    place.api.namespace("a", &json!({}));
    place.api.allow("a", &["pull", "theirs", "fixed", "argo", "flux"], &["get", "create", "patch"]);
    let once = |arguments: &[&str]| {
        let ended = place.once(arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    place.api.apply(&path("a/theirs"), &docker_secret("a/theirs", &json!({ PRIVATE: { "auth": "eDp5" } })));
    check_kept(&place, "a/theirs", 1, "a/theirs: the Secret is not sync's, and stays");

    once(&["--kubernetes-secret", "a/pull", "--kubernetes-secret", "a/fixed", PRIVATE]);
    place.api.apply(&path("a/pull"), &docker_secret("a/pull", &json!({})));
    check_kept(&place, "a/pull", 1, "conflict with \"other\"");
    place.api.delete(&path("a/pull"));
    once(&["--kubernetes-secret", "a/pull", PRIVATE]);

    place.api.merge(&path("a/fixed"), &json!({ "immutable": true }));
    once(&["--kubernetes-secret", "a/fixed", PRIVATE]);
    place.renew();
    check_kept(&place, "a/fixed", 1, "a/fixed: the Secret is immutable, and stays");

    let charts = format!("{PRIVATE}/charts");
    once(&["--kubernetes-secret", "a/argo", "--template", "argocd", &charts]);
    let argo = place.secret("a/argo");
    assert_eq!(argo["metadata"]["labels"]["argocd.argoproj.io/secret-type"], "repository");
    assert_eq!(decoded(&argo["data"]["url"]), charts.as_bytes());
    assert_eq!(decoded(&argo["data"]["password"]), place.password().as_bytes());
    once(&["--kubernetes-secret", "a/flux", "--template", "flux", PRIVATE]);
    assert_eq!(decoded(&place.secret("a/flux")["data"]["username"]), b"AWS");
    check_kept(&place, "a/flux", 1, "a/flux: the Secret has another type, and stays");

    let remove = |name: &str| place.sync(&["--remove", "--kubernetes-secret", name]);
    let denied = remove("a/flux");
    assert!(denied.code == 4 && denied.stderr.contains("; grant delete of Secrets"), "{denied:?}");
    place.api.allow("a", &["flux", "theirs"], &["get", "delete"]);
    assert_eq!(remove("a/flux").stdout, "a/flux: removed\n");
    assert_eq!((place.api.get(&path("a/flux")).0, remove("a/flux").stdout.as_str()), (404, "a/flux: not there\n"));
    assert_eq!((remove("a/theirs").code, place.api.get(&path("a/theirs")).0), (1, 200));
}

/// Applies as `sync` does that has found no Secret, although there is one now.
async fn applied_as_new(place: &Place, name: &str) -> Result<(), ApiError> {
    let kubeconfig = Kubeconfig::read_from(place.api.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let api = Api::new(kube::Client::try_from(config).unwrap(), String::new());
    let value = |text: &str| Zeroizing::new(text.to_owned());
    let manifest = Manifest {
        kind: "Opaque",
        labels: BTreeMap::from([("app.kubernetes.io/managed-by", "ecr-broker")]),
        annotations: BTreeMap::from([("ecr-broker/credentials", "{}".to_owned())]),
        data: BTreeMap::from([("username", value("AWS")), ("password", value("p"))]),
        ..Manifest::default()
    };
    api.apply(&name.parse().unwrap(), &manifest, None).await.map(|_| ())
}

/// Returns what an apply to a Secret of others leaves, if it cannot be given up.
fn labelled(name: &str) -> Value {
    let labels = json!({ "app.kubernetes.io/managed-by": "ecr-broker" });
    let metadata = json!({ "name": name, "namespace": "a", "labels": labels });
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": { "password": "cA==" } })
}

fn assert_as(after: &Value, before: &Value) {
    for part in ["/data", "/type", "/metadata/labels", "/metadata/annotations", "/metadata/managedFields"] {
        assert_eq!(after.pointer(part), before.pointer(part), "{part}");
    }
}

#[tokio::test]
#[ignore = "runs a kube-apiserver"]
async fn secret_that_others_created_meanwhile_stays_as_it_is() {
    let Some(place) = Place::new(&[]) else { return };
    place.api.namespace("a", &json!({}));
    place.api.allow("a", &["theirs", "new"], &["get", "create", "patch"]);
    let metadata = json!({ "name": "theirs", "namespace": "a" });
    let data = json!({ "token": "eA==" });
    let theirs = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data });
    place.api.apply(&path("a/theirs"), &theirs);
    let before = place.secret("a/theirs");
    assert_eq!(applied_as_new(&place, "a/theirs").await.unwrap_err().scope, Scope::Version);
    assert_as(&place.secret("a/theirs"), &before);
    // One that could not be given up then is given up by the next sync, and by `--remove`.
    place.api.allow("a", &["theirs", "new"], &["get", "create", "patch", "delete"]);
    for arguments in [&["--once", PRIVATE][..], &["--remove"]] {
        place.api.apply_as("ecr-broker", &path("a/theirs"), &labelled("theirs"));
        let ended = place.sync(&[&["--kubernetes-secret", "a/theirs"], arguments].concat());
        assert!(ended.code == 1 && ended.stderr.contains("the Secret is not sync's, and stays"), "{ended:?}");
        assert_as(&place.secret("a/theirs"), &before);
    }
    // A second sync at the same time finds what the first has created.
    applied_as_new(&place, "a/new").await.unwrap();
    let first = place.secret("a/new");
    applied_as_new(&place, "a/new").await.unwrap();
    assert_eq!(place.secret("a/new"), first, "the version, too");
    assert_eq!(decoded(&place.secret("a/new")["data"]["username"]), b"AWS");
}

#[test]
#[ignore = "runs a kube-apiserver"]
fn two_hundred_namespaces_get_and_renew_their_secrets() {
    let Some(place) = Place::new(&[]) else { return };
    place.api.allow_everywhere(&["pull"]);
    at_once(0..8, |part| {
        for number in (0..200).filter(|number| number % 8 == part) {
            place.api.namespace(&format!("team-{number}"), &json!({ "ecr-pull": "true" }));
        }
    });
    place.api.namespace("other", &json!({}));
    let once = || {
        let (start, ended) = (
            Instant::now(),
            place.once(&["--kubernetes-secret", "pull", "--namespace-selector", "ecr-pull=true", PRIVATE]),
        );
        assert_eq!(ended.code, 0, "{ended:?}");
        println!("{} lines in {:.1?}", ended.stdout.lines().count(), start.elapsed());
        ended.stdout
    };
    assert_eq!(once().lines().count(), 200);
    assert_eq!(once(), "each of 200 Secrets is up to date\n");
    place.renew();
    assert_eq!(once().lines().count(), 200);
    let password = place.password();
    for name in ["team-0/pull", "team-199/pull"] {
        assert_eq!(place.stored(name), Some(password.clone()));
    }
    assert_eq!(place.api.get(&path("other/pull")).0, 404);
}

#[test]
#[ignore = "runs a kube-apiserver"]
fn secrets_are_caught_up_when_the_api_server_returns() {
    // The broker renews a credential after half of its lifetime.
    let Some(mut place) = Place::new(&["--simulate-token-lifetime", "10s"]) else { return };
    place.api.namespace("a", &json!({}));
    place.api.allow("a", &["pull"], &["get", "create", "patch"]);
    let mut sync = place.follow(&["--kubernetes-secret", "a/pull", PRIVATE]);
    let stored = |place: &Place| (place.api.get(&path("a/pull")).0 == 200).then(|| place.stored("a/pull")).flatten();
    let first = loop {
        if let Some(password) = stored(&place) {
            break password;
        }
    };
    place.api.stop();
    sync.until(|line| line.contains("Kubernetes API at https://127.0.0.1:").then_some(()));
    while place.password() == first {}
    place.api.resume();
    sync.until(|line| line.contains("Kubernetes API answers again").then_some(()));
    while stored(&place).is_none_or(|password| password == first) {}
    assert!(sync.end("TERM").success());
}
