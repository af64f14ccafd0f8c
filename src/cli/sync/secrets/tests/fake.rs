//! An API server in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::HOST;
use crate::kubernetes::{Api, SecretName};

/// A server. Server-side apply takes every field; conflicts are answers that a test sets.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    /// Stored objects by their path.
    pub(super) objects: BTreeMap<String, Value>,
    pub(super) namespaces: Vec<&'static str>,
    pub(super) list_refusal: Option<Value>,
    /// Status codes and messages of writes, by path.
    pub(super) refusals: BTreeMap<String, Vec<Value>>,
    pub(super) is_down: bool,
    /// Objects that an admission webhook keeps as they are, by path.
    pub(super) reverted: BTreeSet<String>,
    /// Objects that others create between read and write, by path.
    pub(super) appearing: BTreeMap<String, Value>,
    /// Writes that an admission webhook does not answer, by namespace.
    pub(super) hanging: BTreeSet<String>,
    /// The answer when all fields are given up.
    pub(super) release_refusal: Option<Value>,
    /// Time of the last write, by path.
    pub(super) written: BTreeMap<String, Instant>,
    pub(super) reads: usize,
    pub(super) writes: usize,
    pub(super) version: u64,
}

impl Fake {
    pub(super) fn api(&self) -> Api {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.map_err(io::Error::other)?;
                if parts.method == Method::PATCH && fake.hangs(parts.uri.path()) {
                    std::future::pending::<()>().await;
                }
                let (status, answer) = fake.answer(&parts.method, &parts.uri, &body)?;
                let answer = Body::from(answer.to_string().into_bytes());
                Response::builder().status(status).body(answer).map_err(io::Error::other)
            }
        });
        Api::new(kube::Client::new(service, "default"), "https://fake".to_owned())
    }

    fn answer(&self, method: &Method, uri: &http::Uri, body: &[u8]) -> io::Result<(u16, Value)> {
        let mut state = self.0.lock().unwrap();
        let path = uri.path().to_owned();
        if *method == Method::GET {
            state.reads += 1;
        } else {
            state.writes += 1;
        }
        if state.is_down {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if let Some(refusal) = state.list_refusal.clone().filter(|_| path == "/api/v1/namespaces") {
            return Ok((code(&refusal), refusal));
        }
        if path == "/api/v1/namespaces" {
            assert_eq!(uri.query(), Some("&labelSelector=ecr%3Don"));
            let items: Vec<_> = state.namespaces.iter().map(|name| json!({ "metadata": { "name": name } })).collect();
            return Ok((200, json!({ "items": items })));
        }
        if *method == Method::GET {
            let missing = || (404, json!({ "kind": "Status", "code": 404, "message": "not found" }));
            return Ok(state.objects.get(&path).map_or_else(missing, |object| (200, object.clone())));
        }
        if let Some(refusal) = state.refusals.get_mut(&path).and_then(Vec::pop) {
            return Ok((code(&refusal), refusal));
        }
        if *method == Method::DELETE {
            let missing = json!({ "kind": "Status", "code": 404, "message": "not found" });
            return Ok(state.objects.remove(&path).map_or((404, missing), |object| (200, object)));
        }
        assert_eq!(*method, Method::PATCH);
        assert_eq!(uri.query(), Some("&fieldManager=ecr-broker"), "without force");
        let mut object: Value = serde_json::from_slice(body).unwrap();
        if let Some(refusal) = state.release_refusal.clone().filter(|_| object.get("data").is_none()) {
            return Ok((code(&refusal), refusal));
        }
        if let Some(answer) = state.raced(&path, &object) {
            return Ok((200, answer));
        }
        let known =
            state.objects.get(&path).map_or(Value::Null, |object| object["metadata"]["resourceVersion"].clone());
        assert_eq!(object["metadata"].get("resourceVersion").unwrap_or(&Value::Null), &known);
        if state.reverted.contains(&path) {
            return Ok((200, state.objects[&path].clone()));
        }
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.written.insert(path.clone(), Instant::now());
        state.objects.insert(path, object.clone());
        Ok((200, object))
    }

    fn hangs(&self, path: &str) -> bool {
        self.with(|state| state.hanging.iter().any(|namespace| path.contains(&format!("/namespaces/{namespace}/"))))
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    pub(super) fn config(&self, name: &str) -> Value {
        let encoded = self.with(|state| state.objects[&path(name)]["data"][".dockerconfigjson"].clone());
        serde_json::from_slice(&BASE64.decode(encoded.as_str().unwrap().as_bytes()).unwrap()).unwrap()
    }

    /// Returns the password that a Secret has for the registry.
    pub(super) fn password(&self, name: &str) -> Option<String> {
        let auth = self.config(name)["auths"][HOST]["auth"].as_str()?.to_owned();
        String::from_utf8(BASE64.decode(auth.as_bytes()).unwrap()).unwrap().strip_prefix("AWS:").map(str::to_owned)
    }

    pub(super) fn refuse(&self, name: &str, refusals: &[Value]) {
        self.with(|state| state.refusals.insert(path(name), refusals.to_vec()));
    }
}

impl State {
    /// Returns the answer to an apply without a version if others have created the object. They own its data.
    fn raced(&mut self, path: &str, applied: &Value) -> Option<Value> {
        let theirs = self.appearing.get(path)?;
        if applied.get("data").is_none() {
            // All fields are given up.
            assert_eq!(applied["metadata"]["resourceVersion"], self.objects[path]["metadata"]["resourceVersion"]);
            self.objects.insert(path.to_owned(), theirs.clone());
            return Some(theirs.clone());
        }
        let mut object = applied.clone();
        let ours = json!({ "manager": "ecr-broker", "operation": "Apply", "fieldsV1": { "f:data": {}, "f:type": {} } });
        let theirs = theirs["metadata"]["managedFields"].as_array().into_iter().flatten();
        object["metadata"]["managedFields"] = theirs.chain([&ours]).cloned().collect();
        object["metadata"]["resourceVersion"] = "1".into();
        self.objects.insert(path.to_owned(), object.clone());
        Some(object)
    }
}

pub(super) fn path(name: &str) -> String {
    let name: SecretName = name.parse().unwrap();
    format!("/api/v1/namespaces/{}/secrets/{}", name.namespace, name.name)
}

/// Returns the status code of a refusal.
fn code(refusal: &Value) -> u16 {
    u16::try_from(refusal["code"].as_u64().unwrap()).unwrap()
}
