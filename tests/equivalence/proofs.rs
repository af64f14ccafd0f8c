//! Proofs of callers: certificates and bearer tokens. Both brokers trust the same ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ecr_broker::app::auth_material::AuthMaterial;
use ecr_broker::authn::tls::{Settings, Tls};
use ecr_broker::clock::Clock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::certificates::{Authority, Pair, RUNNER, leaf, uri};
use crate::support::ManualClock;
use crate::tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, issuers, seconds};

/// The child broker, and the claim of its jobs that must name it.
pub const NODE: &str = "spiffe://a.example/node/n1";
pub const NODE_CLAIM: &str = "kubernetes.io.node.name";
/// The lifetime of tokens, and how long a client presents one.
const LIFETIME: u64 = 3_600;
const RENEWAL: u64 = 1_800;
/// The time for which the runner's certificate is valid after the start of the clocks.
const RUNNER_VALIDITY: Duration = Duration::from_hours(3);

/// A token that a call presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Valid,
    /// Of the start of the clocks, so that it expires.
    Old,
    Expired,
    /// Of a subject that no grant names.
    Other,
    /// Of the subject that the runner's certificate names.
    Runner,
    /// Of a job on the node.
    Job,
    /// Signed by another key.
    Forged,
}

/// How a client proves itself on a TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// By a certificate that expires.
    Runner,
    /// By the certificate of a child broker.
    Node,
    /// By tokens only.
    None,
}

/// A certificate authority and an issuer.
pub struct Proofs {
    directory: tempfile::TempDir,
    authority: Authority,
    server: Settings,
    runner: Pair,
    node: Pair,
    signer: Signer,
    forger: Signer,
    /// A signature is random: both brokers must get the same token.
    tokens: Mutex<HashMap<(&'static str, String), String>>,
}

impl Proofs {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "ca.pem", "organisation");
        let (certificate, key) = authority.server().write(directory.path(), "server");
        let domain = spiffe::TrustDomain::new("a.example").unwrap();
        let server = Settings {
            certificate,
            key,
            trust_domains: BTreeMap::from([(domain, authority.file.clone())]),
            dns_names: BTreeMap::new(),
            revocations: BTreeMap::new(),
        };
        let mut runner = leaf(&[uri(RUNNER)]);
        runner.not_after = (start() + RUNNER_VALIDITY).into();
        let (runner, node) = (authority.sign(&runner), authority.workload(NODE));
        let (signer, forger) = (Signer::new("k1"), Signer::new("k1"));
        Self { directory, authority, server, runner, node, signer, forger, tokens: Mutex::default() }
    }

    /// Returns what a broker trusts.
    pub fn material(&self, clock: &Arc<ManualClock>, has_tls: bool) -> AuthMaterial {
        let tls = has_tls.then(|| Arc::new(Tls::load(self.server.clone(), Arc::<ManualClock>::clone(clock)).unwrap()));
        let issuers = issuers(&self.signer, self.directory.path(), Arc::<ManualClock>::clone(clock));
        AuthMaterial { tls, issuers: Some(issuers), ..AuthMaterial::default() }
    }

    /// Returns the configuration of a client's TLS. A client whose certificate has expired presents none.
    pub fn client(&self, identity: Identity, clock: &ManualClock) -> ClientConfig {
        let is_valid = clock.now().wall < start() + RUNNER_VALIDITY;
        let pair = match identity {
            Identity::Runner => Some(&self.runner).filter(|_| is_valid),
            Identity::Node => Some(&self.node),
            Identity::None => None,
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match pair {
            Some(Pair { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// Returns a token that a client presents now.
    pub fn token(&self, token: Token, clock: &ManualClock) -> String {
        let now = seconds(clock) / RENEWAL * RENEWAL;
        let (signer, subject, issued, more) = match token {
            Token::Valid => (&self.signer, SUBJECT, now, ""),
            Token::Old => (&self.signer, SUBJECT, seconds(&*ManualClock::new()), ""),
            Token::Expired => (&self.signer, SUBJECT, now - 2 * LIFETIME, ""),
            Token::Other => (&self.signer, "system:serviceaccount:web:server", now, ""),
            Token::Runner => (&self.signer, RUNNER, now, ""),
            Token::Job => (&self.signer, SUBJECT, now, r#","kubernetes.io":{"node":{"name":"n1"}}"#),
            Token::Forged => (&self.forger, SUBJECT, now, ""),
        };
        let expires = issued + LIFETIME;
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"{subject}","aud":"{AUDIENCE}","iat":{issued},"exp":{expires}{more}}}"#
        );
        let key = if token == Token::Forged { "forged" } else { "signed" };
        let mut tokens = self.tokens.lock().unwrap();
        tokens.entry((key, claims.clone())).or_insert_with(|| signer.sign(&signer.header(), &claims)).clone()
    }
}

/// The start of the clocks.
fn start() -> SystemTime {
    ManualClock::new().now().wall
}
