//! A parent with two nodes as its children, and grants for the pods and users that they forward.

use std::path::PathBuf;
use std::sync::Arc;

use ecr_broker::audit::Output;
use ecr_broker::authn::tls::Tls;
use ecr_broker::pb;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern, TokenPattern, ViaPattern};
use serde_json::Value;
use tonic::Status;
use tonic::transport::Channel;

use super::federation::{Federation, connect};
use super::support::*;
use super::tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, issuers, seconds};

pub(crate) const NODE_CLAIM: &str = "kubernetes.io.node.name";
pub(crate) const TOKEN: &str = "x-ecr-broker-caller-token";
pub(crate) const ASSERTED: &str = "x-ecr-broker-caller-asserted";
pub(crate) const VIA: &str = "x-ecr-broker-caller-via";

/// A broker that takes pods' tokens from their own nodes, and the word of the node `n1` for the user 1001.
pub(crate) struct Parent {
    pub(crate) federation: Federation,
    pub(crate) signer: Signer,
    pub(crate) broker: TestBroker,
    audit: PathBuf,
    now: u64,
}

pub(crate) fn node(name: &str) -> String {
    format!("spiffe://a.example/node/{name}")
}

fn grants() -> Policy {
    let via = |job: CallerPattern, broker: String, claim: Option<&str>| {
        let brokers = vec![broker.parse().unwrap()];
        CallerPattern::Forwarded(Box::new(job), ViaPattern { brokers, claim: claim.map(ToOwned::to_owned) })
    };
    let subject = Some("system:serviceaccount:ci:*".parse().unwrap());
    let pods = CallerPattern::Token(TokenPattern { issuer: "blue".into(), subject, claims: Vec::new() });
    let grant = |id: &str, caller, registry| Grant {
        id: id.into(),
        callers: vec![caller],
        registries: vec![registry],
        profile: Some("default".into()),
        effect: Effect::Allow,
        max_lifetime: None,
    };
    Policy::Grants(vec![
        grant("pods", via(pods, node("*"), Some(NODE_CLAIM)), RegistryPattern::every_private()),
        grant("users", via(CallerPattern::Uid(1001), node("n1"), None), RegistryPattern::every_private()),
        grant("nodes", CallerPattern::Spiffe(node("*").parse().unwrap()), RegistryPattern::Public),
        grant("local-user", CallerPattern::Uid(1002), RegistryPattern::every_private()),
    ])
}

impl Parent {
    pub(crate) fn start(change: impl FnOnce(&mut Setup)) -> Self {
        let (federation, signer, cache) = (Federation::new(), Signer::new("k1"), TestCache::new());
        let issuers = issuers(&signer, federation.directory.path(), cache.clock.clone());
        let tls = Arc::new(Tls::load(federation.settings.clone(), cache.clock.clone()).unwrap());
        let (now, audit) = (seconds(&*cache.clock), federation.directory.path().join("audit.jsonl"));
        let broker = TestBroker::start_on(cache, grants(), Some(&Output::File(audit.clone())), |setup| {
            (setup.auth.tls, setup.auth.issuers, setup.config.server.loopback) = (Some(tls), Some(issuers), false);
            change(setup);
        });
        Self { federation, signer, broker, audit, now }
    }

    /// Connects as a node, by its certificate.
    pub(crate) async fn as_node(&self, name: &str) -> Channel {
        connect(&self.broker, &self.federation.a, Some(&self.federation.a.workload(&node(name)))).await
    }

    pub(crate) async fn without_certificate(&self) -> Channel {
        connect(&self.broker, &self.federation.a, None).await
    }

    /// Returns the token of a pod on a node.
    pub(crate) fn pod_token(&self, signer: &Signer, node: &str) -> String {
        let now = self.now;
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"{SUBJECT}","aud":"{AUDIENCE}","iat":{now},"exp":{},"kubernetes.io":{{"node":{{"name":"{node}"}}}}}}"#,
            now + 600
        );
        signer.sign(&signer.header(), &claims)
    }

    /// Returns the audit records so far.
    pub(crate) fn audited(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Requests a registry's credential with metadata.
pub(crate) async fn get_with(channel: &Channel, host: &str, metadata: &[(&'static str, &str)]) -> Result<(), Status> {
    let mut request = tonic::Request::new(request(host));
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    RegistryCredentialsServiceClient::new(channel.clone()).get_registry_credentials(request).await.map(|_| ())
}

/// Returns the caller as the parent knows it, and the proof.
pub(crate) async fn whoami_with(channel: &Channel, metadata: &[(&'static str, &str)]) -> (String, String) {
    let mut request = tonic::Request::new(pb::GetCallerIdentityRequest {});
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    let answer = RegistryCredentialsServiceClient::new(channel.clone()).get_caller_identity(request).await.unwrap();
    let answer = answer.into_inner();
    (answer.principal, answer.proof)
}
