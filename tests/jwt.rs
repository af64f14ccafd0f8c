//! Bearer tokens: accepted and rejected tokens, and the keys of their issuers.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod program;
mod support;
mod tokens;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ecr_broker::authn::jwt::{Issuers, KeyLocation, KeySet, Settings, TokenRejected};
use ecr_broker::caller::TokenCaller;
use ecr_broker::follow_file::FilesInEffect;
use ecr_broker::proxy::Proxies;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey};
use program::{Server, run};
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::*;
use tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, cases, seconds};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Minimum time between two fetches of an issuer's keys.
const COOL_DOWN: Duration = Duration::from_secs(10);

/// Verifies a token and returns its caller.
async fn verify(issuers: &Issuers, token: &str) -> Result<Arc<TokenCaller>, TokenRejected> {
    issuers.verify(token).await.map(|verified| verified.caller)
}

fn settings(issuer: &str, keys: KeyLocation) -> Settings {
    let (name, issuer) = ("blue".to_owned(), issuer.to_owned());
    Settings {
        name,
        issuer,
        audience: AUDIENCE.to_owned(),
        keys,
        ca_bundle: None,
        proxies: Proxies::default(),
        max_lifetime: HOUR,
    }
}

#[tokio::test]
async fn each_bad_token_is_rejected_for_its_reason() {
    let (signer, other, clock) = (Signer::new("k1"), Signer::new("k2"), ManualClock::new());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    fs::write(&file, signer.jwks()).unwrap();
    let issuers = Issuers::load(vec![settings(ISSUER, KeyLocation::File(file))], clock.clone()).unwrap();
    let cases = cases(&signer, &other, seconds(&*clock));
    assert!(cases.iter().filter(|case| case.expected.is_err()).count() >= 60);
    for case in cases {
        let outcome = verify(&issuers, &case.token).await;
        assert_eq!(outcome.as_ref().map(|_| ()).map_err(|refusal| *refusal), case.expected, "{}", case.name);
        assert!(outcome.is_err() || outcome.is_ok_and(|caller| caller.subject == SUBJECT), "{}", case.name);
    }
}

#[tokio::test]
async fn token_of_8_kib_is_accepted_and_one_byte_more_is_not() {
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let issuers = tokens::issuers(&signer, directory.path(), clock.clone());
    let now = seconds(&*clock);
    let of = |padding: usize, thumbprint: usize| {
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"{SUBJECT}","aud":"{AUDIENCE}","iat":{now},"exp":{},"x":"{}"}}"#,
            now + 60,
            "x".repeat(padding)
        );
        let header = format!(r#"{{"alg":"ES256","kid":"{}","x5t":"{}"}}"#, signer.kid, "x".repeat(thumbprint));
        signer.sign(&header, &claims)
    };
    // Four characters of a token encode three bytes of its header or claims, so both vary to reach every length.
    let sizes = (5_800..6_000).flat_map(|padding| (0..3).map(move |thumbprint| (padding, thumbprint)));
    let (mut exact, mut beyond) = (None, None);
    for (padding, thumbprint) in sizes {
        let token = of(padding, thumbprint);
        match token.len() {
            8_192 => exact = Some(token),
            8_193 => beyond = Some(token),
            _ => {}
        }
    }
    assert!(verify(&issuers, &exact.unwrap()).await.is_ok());
    assert_eq!(verify(&issuers, &beyond.unwrap()).await, Err(TokenRejected::Malformed));
}

/// A cached token is not verified again, which must not change the result.
#[tokio::test]
async fn repeated_token_is_cached_until_it_expires() {
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let issuers = tokens::issuers(&signer, directory.path(), clock.clone());
    let now = seconds(&*clock);
    let claims = format!(r#"{{"iss":"{ISSUER}","sub":"{SUBJECT}","aud":"{AUDIENCE}","iat":{now},"exp":{}}}"#, now + 40);
    let token = signer.sign(&signer.header(), &claims);
    let first = verify(&issuers, &token).await.unwrap();
    let again = verify(&issuers, &token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the token is cached");
    for (index, letter) in token.char_indices().filter(|(_, letter)| *letter != '.') {
        let other = if letter == 'A' { "B" } else { "A" };
        let altered = [&token[..index], other, &token[index + 1..]].concat();
        assert!(verify(&issuers, &altered).await.is_err(), "{index}");
    }
    clock.advance(Duration::from_secs(41));
    let within_leeway = verify(&issuers, &token).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &within_leeway), "the token is verified again");
    clock.advance(Duration::from_secs(30));
    assert_eq!(verify(&issuers, &token).await, Err(TokenRejected::Expired));
}

#[tokio::test]
async fn issuer_keys_verify_only_tokens_of_that_issuer() {
    let (a, b, clock) = (Signer::new("same-id"), Signer::new("same-id"), ManualClock::new());
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, signer: &Signer| {
        let path = directory.path().join(name);
        fs::write(&path, signer.jwks()).unwrap();
        KeyLocation::File(path)
    };
    let green = Settings { name: "green".into(), ..settings("https://b.example", file("b.json", &b)) };
    let issuers = Issuers::load(vec![settings(ISSUER, file("a.json", &a)), green], clock.clone()).unwrap();
    let now = seconds(&*clock);
    assert_eq!(verify(&issuers, &a.token(ISSUER, SUBJECT, now)).await.unwrap().issuer, "blue");
    assert_eq!(verify(&issuers, &b.token("https://b.example", SUBJECT, now)).await.unwrap().issuer, "green");
    assert_eq!(verify(&issuers, &b.token(ISSUER, SUBJECT, now)).await, Err(TokenRejected::Signature));
    assert_eq!(verify(&issuers, &a.token("https://b.example", SUBJECT, now)).await, Err(TokenRejected::Signature));
}

#[test]
fn only_strong_signature_keys_are_accepted() {
    let signer = Signer::new("k");
    let rsa = |bytes: usize| {
        let n = BASE64URL_NOPAD.encode(&vec![0xc1; bytes]);
        format!(r#"{{"kty":"RSA","kid":"r","n":"{n}","e":"AQAB"}}"#)
    };
    let ed25519 = |curve: &str| format!(r#"{{"kty":"OKP","crv":"{curve}","kid":"e","x":"{}"}}"#, "A".repeat(43));
    for (keys, usable) in [
        (signer.jwk(""), true),
        (signer.jwk(r#","use":"sig""#), true),
        (signer.jwk(r#","use":"enc""#), false),
        (signer.jwk(r#","key_ops":["verify"]"#), true),
        (signer.jwk(r#","key_ops":["encrypt"]"#), false),
        (signer.jwk(r#","alg":"ES384""#), false),
        (signer.jwk(r#","alg":"HS256""#), false),
        (signer.jwk("").replace("\"kid\":\"k\",", ""), false),
        (signer.jwk("").replace("P-256", "P-384"), true),
        (signer.jwk("").replace("P-256", "P-521"), false),
        (signer.jwk("").replace("P-256", "secp256k1"), false),
        (ed25519("Ed25519"), true),
        (ed25519("P-256"), false),
        (rsa(256), true),
        (rsa(255), false),
        (rsa(128), false),
        (r#"{"kty":"oct","kid":"s","k":"c2VjcmV0"}"#.to_owned(), false),
        (String::new(), false),
        (format!("{},{}", signer.jwk(""), signer.jwk("")), false),
        (format!("{},{}", r#"{"kty":"new","kid":"n"}"#, signer.jwk("")), true),
        (format!("{}{}", r#"{"kty":"new"},"#.repeat(63), signer.jwk("")), true),
        (format!("{}{}", r#"{"kty":"new"},"#.repeat(64), signer.jwk("")), false),
    ] {
        let set = KeySet::read(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
        assert_eq!(set.is_ok_and(|set| !set.is_empty()), usable, "{keys}");
    }
    for broken in ["", "[]", "{}", "{\"keys\":1}", "null"] {
        assert!(KeySet::read(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[tokio::test]
async fn key_verifies_only_the_algorithm_of_its_curve() {
    let (clock, directory) = (ManualClock::new(), tempfile::tempdir().unwrap());
    let kinds = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256, 33),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384, 49),
        (&rcgen::PKCS_ED25519, Algorithm::EdDSA, 32),
    ];
    for (kind, own, middle) in kinds {
        let key = KeyPair::generate_for(kind).unwrap();
        let point = key.public_key_raw();
        let coordinate = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let jwk = match own {
            Algorithm::EdDSA => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, coordinate(point)),
            _ => format!(
                r#""kty":"EC","crv":"P-{}","x":"{}","y":"{}""#,
                (middle - 1) * 8,
                coordinate(&point[1..middle]),
                coordinate(&point[middle..])
            ),
        };
        let file = directory.path().join("jwks.json");
        fs::write(&file, format!(r#"{{"keys":[{{"kid":"k",{jwk}}}]}}"#)).unwrap();
        let issuers = Issuers::load(vec![settings(ISSUER, KeyLocation::File(file))], clock.clone()).unwrap();
        for (_, claimed, _) in kinds {
            let now = seconds(&*clock);
            let claims =
                format!(r#"{{"iss":"{ISSUER}","sub":"{SUBJECT}","aud":"{AUDIENCE}","iat":{now},"exp":{}}}"#, now + 60);
            let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
            let header = format!(r#"{{"alg":"{claimed:?}","kid":"k"}}"#);
            let signed = format!("{}.{}", encode(&header), encode(&claims));
            let secret = match own {
                Algorithm::EdDSA => EncodingKey::from_ed_der(&key.serialize_der()),
                _ => EncodingKey::from_ec_der(&key.serialize_der()),
            };
            let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, own).unwrap();
            let expected = if claimed == own { Ok(()) } else { Err(TokenRejected::KeyMismatch) };
            let outcome = verify(&issuers, &format!("{signed}.{signature}")).await;
            assert_eq!(outcome.map(drop), expected, "{own:?} as {claimed:?}");
        }
    }
}

#[test]
fn world_writable_key_file_is_rejected() {
    let (signer, directory) = (Signer::new("k1"), tempfile::tempdir().unwrap());
    let file = directory.path().join("jwks.json");
    fs::write(&file, signer.jwks()).unwrap();
    let load = || Issuers::load(vec![settings(ISSUER, KeyLocation::File(file.clone()))], ManualClock::new()).map(drop);
    assert!(load().is_ok());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(load().unwrap_err().to_string().contains("is world-writable"));
}

#[tokio::test]
async fn nested_claims_have_dotted_names_without_collisions() {
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let file = directory.path().join("jwks.json");
    fs::write(&file, signer.jwks()).unwrap();
    let issuers = Issuers::load(vec![settings(ISSUER, KeyLocation::File(file))], clock.clone()).unwrap();
    let now = seconds(&*clock);
    let verify = async |more: &str| {
        let claims =
            format!(r#"{{"iss":"{ISSUER}","sub":"x","aud":"{AUDIENCE}","iat":{now},"exp":{},{more}}}"#, now + 60);
        verify(&issuers, &signer.sign(&signer.header(), &claims)).await.map(|caller| caller.claims.clone())
    };
    let nested = r#""kubernetes.io":{"namespace":"ci","serviceaccount":{"name":"runner","uid":7}},"list":["a"],"half":1.5,"none":null"#;
    let expected = [
        ("kubernetes.io.namespace", "ci"),
        ("kubernetes.io.serviceaccount.name", "runner"),
        ("kubernetes.io.serviceaccount.uid", "7"),
    ];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into_iter().collect();
    assert_eq!(verify(nested).await, Ok(expected));
    assert_eq!(verify(r#""a":{"b":"1"},"a.b":"2""#).await, Err(TokenRejected::Claims));
    for twice in [
        r#""a":{"b":"1","b":"2"}"#,
        r#""a":{"b":{"c":1,"c":1}}"#,
        r#""":{"repository_id":"456"}"#,
        r#""a":{"b.c":1},"a.b":{"c":1}"#,
    ] {
        assert_eq!(verify(twice).await, Err(TokenRejected::Claims), "{twice}");
    }
    // 5 KB that expand to more than 16 KiB, and 16 KiB less one byte.
    let names = (0..40).map(|number| format!(r#""{number}":1,"#)).collect::<Vec<_>>().concat();
    let large = format!(r#""{}":{{{}"x":1}}"#, "n".repeat(4_000), names);
    assert_eq!(verify(&large).await, Err(TokenRejected::ClaimsSize));
    let at_the_limit = format!(r#""{}":{{"a":1,"b":1}}"#, "n".repeat(2_000));
    assert_eq!(verify(&at_the_limit).await.map(|claims| claims.len()), Ok(2));
    let deep = format!(r#""a":{}1{}"#, r#"{"a":"#.repeat(500), "}".repeat(500));
    assert_eq!(verify(&deep).await, Err(TokenRejected::Claims));
}

#[tokio::test]
async fn only_claims_that_grants_name_are_kept_of_a_token() {
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let file = directory.path().join("jwks.json");
    fs::write(&file, signer.jwks()).unwrap();
    let issuers = Issuers::load(vec![settings(ISSUER, KeyLocation::File(file))], clock.clone()).unwrap();
    let now = seconds(&*clock);
    let more = format!(r#""ref":"main","job":{{"id":7,"text":"{}"}}"#, "x".repeat(3_000));
    let claims = format!(r#"{{"iss":"{ISSUER}","sub":"x","aud":"{AUDIENCE}","iat":{now},"exp":{},{more}}}"#, now + 60);
    let token = signer.sign(&signer.header(), &claims);
    for (names, kept) in [(vec!["ref"], vec!["ref"]), (vec!["job.id", "none"], vec!["job.id"])] {
        issuers.keep_claims(names.iter().map(ToString::to_string).collect());
        for _ in 0..2 {
            let caller = verify(&issuers, &token).await.unwrap();
            assert_eq!(caller.claims.keys().map(String::as_str).collect::<Vec<_>>(), kept);
        }
    }
}

/// An issuer with a scripted response, which counts the requests for its keys.
struct Issuer {
    url: String,
    /// The URL of the keys in the discovery document.
    jwks_uri: Arc<Mutex<String>>,
    response: Arc<Mutex<(u16, String)>>,
    key_fetches: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts it over TLS if there is an acceptor, which has a certificate for `localhost`.
    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = match &tls {
            None => format!("http://{address}"),
            Some(_) => format!("https://localhost:{}", address.port()),
        };
        let response = Arc::new(Mutex::new((200, String::new())));
        let jwks_uri = Arc::new(Mutex::new(format!("{url}/keys")));
        let issuer = Self { url, jwks_uri, response, key_fetches: Arc::new(AtomicUsize::new(0)) };
        let (url, response) = (issuer.url.clone(), Arc::clone(&issuer.response));
        let jwks_uri = Arc::clone(&issuer.jwks_uri);
        let key_fetches = Arc::clone(&issuer.key_fetches);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => reply(stream, (&url, &jwks_uri), &response, &key_fetches).await,
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { continue };
                        reply(stream, (&url, &jwks_uri), &response, &key_fetches).await;
                    }
                }
            }
        });
        issuer
    }

    fn respond(&self, status: u16, body: impl Into<String>) {
        *self.response.lock().unwrap() = (status, body.into());
    }

    fn publish_keys_at(&self, jwks_uri: &str) {
        jwks_uri.clone_into(&mut self.jwks_uri.lock().unwrap());
    }

    fn key_fetches(&self) -> usize {
        self.key_fetches.load(Ordering::SeqCst)
    }

    fn followed(&self, clock: &Arc<ManualClock>) -> Arc<Issuers> {
        self.followed_with(None, clock)
    }

    /// Follows the keys with a configured `jwks_uri`.
    fn followed_with(&self, jwks_uri: Option<String>, clock: &Arc<ManualClock>) -> Arc<Issuers> {
        let settings = settings(&self.url, KeyLocation::Discovery { jwks_uri });
        let issuers = Arc::new(Issuers::load(vec![settings], clock.clone()).unwrap());
        tokio::spawn(Arc::clone(&issuers).follow(FilesInEffect::default()));
        issuers
    }
}

/// Answers one request: with the discovery document, or with the scripted response for the keys.
async fn reply(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    (url, jwks_uri): (&str, &Mutex<String>),
    response: &Mutex<(u16, String)>,
    key_fetches: &AtomicUsize,
) {
    let mut request = [0; 4096];
    let read = stream.read(&mut request).await.unwrap_or(0);
    let discovery = String::from_utf8_lossy(&request[..read]).contains("openid-configuration");
    let (status, body) = if discovery {
        let jwks_uri = jwks_uri.lock().unwrap().clone();
        (200, format!(r#"{{"issuer":"{url}","jwks_uri":"{jwks_uri}","more":[1]}}"#))
    } else {
        key_fetches.fetch_add(1, Ordering::SeqCst);
        response.lock().unwrap().clone()
    };
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nlocation: {url}/keys2\r\nconnection: close", body.len());
    _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await;
    _ = stream.shutdown().await;
}

/// Returns an acceptor with a certificate of the CA.
fn acceptor(authority: &certificates::Authority) -> TlsAcceptor {
    let pair = authority.server();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()))
}

/// An https issuer sent the broker to any service of the broker's host, and had keys taken from there in plaintext.
#[tokio::test]
async fn jwks_uri_of_another_origin_is_never_called_unless_configured() {
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let authority = certificates::Authority::new(directory.path(), "ca.pem", "cluster");
    let issuer = Issuer::start_with(Some(acceptor(&authority))).await;
    let (plaintext, other) = (Issuer::start().await, Issuer::start_with(Some(acceptor(&authority))).await);
    let token = signer.token(&issuer.url, SUBJECT, seconds(&*clock));
    for victim in [&plaintext, &other] {
        victim.respond(200, signer.jwks());
    }
    let target = |host: &str| plaintext.url.replace("127.0.0.1", host) + "/admin/restart";
    let other_keys = format!("{}/keys", other.url);
    let outcome = |published: String, configured: Option<&String>| {
        issuer.publish_keys_at(&published);
        let keys = KeyLocation::Discovery { jwks_uri: configured.cloned() };
        let settings = Settings { ca_bundle: Some(authority.file.clone()), ..settings(&issuer.url, keys) };
        let issuers = Arc::new(Issuers::load(vec![settings], clock.clone()).unwrap());
        tokio::spawn(Arc::clone(&issuers).follow(FilesInEffect::default()));
        let token = token.clone();
        async move { verify(&issuers, &token).await.map(drop) }
    };
    let refused = Err(TokenRejected::KeysUnavailable);
    for host in ["127.0.0.1", "localhost", "127.1", "2130706433", "[::1]"] {
        assert_eq!(outcome(target(host), None).await, refused, "{host}");
    }
    assert_eq!(outcome(other_keys.clone(), None).await, refused, "another port");
    assert_eq!((plaintext.key_fetches(), other.key_fetches()), (0, 0));
    assert_eq!(outcome(other_keys.clone(), Some(&other_keys)).await, Ok(()));
    assert_eq!((plaintext.key_fetches(), other.key_fetches(), issuer.key_fetches()), (0, 1, 0));
}

/// Each server of a Kubernetes control plane publishes its own address, and the document may come from any of them.
#[tokio::test]
async fn configured_jwks_uri_is_fetched_whatever_the_document_says() {
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let authority = certificates::Authority::new(directory.path(), "ca.pem", "cluster");
    let issuer = Issuer::start_with(Some(acceptor(&authority))).await;
    let (other, victim) = (Issuer::start_with(Some(acceptor(&authority))).await, Issuer::start().await);
    for server in [&other, &victim] {
        server.respond(200, signer.jwks());
    }
    let keys = KeyLocation::Discovery { jwks_uri: Some(format!("{}/keys?p=1", other.url)) };
    let settings = Settings { ca_bundle: Some(authority.file.clone()), ..settings(&issuer.url, keys) };
    let token = signer.token(&issuer.url, SUBJECT, seconds(&*clock));
    for published in ["https://10.0.0.2:6443/keys", "https://10.0.0.3:6443/keys", victim.url.as_str(), "not a URL"] {
        issuer.publish_keys_at(published);
        let issuers = Arc::new(Issuers::load(vec![settings.clone()], clock.clone()).unwrap());
        tokio::spawn(Arc::clone(&issuers).follow(FilesInEffect::default()));
        assert_eq!(verify(&issuers, &token).await.map(drop), Ok(()), "{published}");
    }
    assert_eq!((other.key_fetches(), victim.key_fetches(), issuer.key_fetches()), (4, 0, 0));
}

/// The API server of a Kubernetes cluster is such an issuer.
#[tokio::test]
async fn issuer_can_have_a_private_ca() {
    let (signer, clock, directory) = (Signer::new("k1"), ManualClock::new(), tempfile::tempdir().unwrap());
    let authority = certificates::Authority::new(directory.path(), "ca.pem", "cluster");
    let issuer = Issuer::start_with(Some(acceptor(&authority))).await;
    issuer.respond(200, signer.jwks());
    let token = signer.token(&issuer.url, SUBJECT, seconds(&*clock));
    let load = |ca_bundle| {
        let settings = Settings { ca_bundle, ..settings(&issuer.url, KeyLocation::Discovery { jwks_uri: None }) };
        Issuers::load(vec![settings], clock.clone()).map(Arc::new)
    };
    for (ca_bundle, expected) in [(Some(authority.file.clone()), Ok(())), (None, Err(TokenRejected::KeysUnavailable))] {
        let issuers = load(ca_bundle).unwrap();
        tokio::spawn(Arc::clone(&issuers).follow(FilesInEffect::default()));
        assert_eq!(verify(&issuers, &token).await.map(drop), expected);
    }
    let empty = directory.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    for (path, problem) in
        [(empty, "contains no PEM certificates"), (directory.path().join("gone.pem"), "cannot be read")]
    {
        assert!(load(Some(path)).unwrap_err().to_string().contains(problem));
    }
}

#[tokio::test]
async fn storm_of_unknown_keys_fetches_issuer_keys_once() {
    let (issuer, clock, signer) = (Issuer::start().await, ManualClock::new(), Signer::new("k1"));
    issuer.respond(200, signer.jwks());
    let issuers = issuer.followed(&clock);
    let good = signer.token(&issuer.url, SUBJECT, seconds(&*clock));
    assert_eq!(verify(&issuers, &good).await.unwrap().subject, SUBJECT);
    assert_eq!(issuer.key_fetches(), 1);
    let storm = |round: usize| {
        let (issuers, url, now) = (Arc::clone(&issuers), issuer.url.clone(), seconds(&*clock));
        let tokens = (0..1000).map(move |n| Signer::new(&format!("{round}-{n}")).token(&url, SUBJECT, now));
        join_all(tokens.map(move |token| {
            let issuers = Arc::clone(&issuers);
            async move { verify(&issuers, &token).await }
        }))
    };
    assert!(storm(1).await.iter().all(|outcome| *outcome == Err(TokenRejected::KeyUnknown)));
    assert_eq!(issuer.key_fetches(), 1, "the keys were fetched a moment ago");
    clock.advance(COOL_DOWN);
    assert!(storm(2).await.iter().all(|outcome| *outcome == Err(TokenRejected::KeyUnknown)));
    assert_eq!(issuer.key_fetches(), 2);
    assert!(verify(&issuers, &good).await.is_ok());
}

#[tokio::test]
async fn verified_token_is_valid_until_its_key_is_withdrawn() {
    let (issuer, clock, old, new) = (Issuer::start().await, ManualClock::new(), Signer::new("k1"), Signer::new("k2"));
    issuer.respond(200, old.jwks());
    let issuers = issuer.followed(&clock);
    let verified = issuers.verify(&old.token(&issuer.url, SUBJECT, seconds(&*clock))).await.unwrap();
    // Any caller can cause a fetch with an unknown key.
    let (old_keys, new_keys) = (old.jwks(), new.jwks());
    let both = old_keys.replacen("{\"keys\":[", &format!("{},", new_keys.trim_end_matches("]}")), 1);
    for keys in [old.jwks(), both] {
        issuer.respond(200, keys);
        clock.advance(COOL_DOWN);
        assert!(verify(&issuers, &Signer::new("x").token(&issuer.url, SUBJECT, seconds(&*clock))).await.is_err());
        assert!(issuers.time_left(&verified) > MINUTE);
    }
    issuer.respond(200, new.jwks());
    clock.advance(COOL_DOWN);
    assert!(verify(&issuers, &Signer::new("y").token(&issuer.url, SUBJECT, seconds(&*clock))).await.is_err());
    assert_eq!(issuers.time_left(&verified), Duration::ZERO, "its key was withdrawn");
}

#[tokio::test]
async fn new_keys_are_found_and_the_last_keys_survive_a_day_of_outage() {
    let (issuer, clock, old, new) = (Issuer::start().await, ManualClock::new(), Signer::new("k1"), Signer::new("k2"));
    issuer.respond(200, old.jwks());
    let issuers = issuer.followed(&clock);
    let token = |signer: &Signer| signer.token(&issuer.url, SUBJECT, seconds(&*clock));
    assert!(verify(&issuers, &token(&old)).await.is_ok());
    issuer.respond(200, new.jwks());
    assert_eq!(verify(&issuers, &token(&new)).await, Err(TokenRejected::KeyUnknown), "too soon for another fetch");
    clock.advance(COOL_DOWN);
    assert!(verify(&issuers, &token(&new)).await.is_ok());
    assert_eq!(verify(&issuers, &token(&old)).await, Err(TokenRejected::KeyUnknown), "a withdrawn key is rejected");
    for (status, body) in [(503, String::new()), (200, "[]".into()), (200, "x".repeat(300_000)), (302, new.jwks())] {
        clock.advance(HOUR);
        issuer.respond(status, body);
        let before = issuer.key_fetches();
        assert!(verify(&issuers, &token(&old)).await.is_err());
        assert_eq!(issuer.key_fetches(), before + 1, "{status}");
        assert!(verify(&issuers, &token(&new)).await.is_ok(), "{status}: the last keys stay in force");
    }
    clock.advance(COOL_DOWN);
    issuer.respond(200, r#"{"keys":[]}"#);
    assert!(verify(&issuers, &token(&old)).await.is_err());
    assert_eq!(
        verify(&issuers, &token(&new)).await,
        Err(TokenRejected::KeyUnknown),
        "an issuer without keys is not an outage"
    );
    clock.advance(COOL_DOWN);
    issuer.respond(200, new.jwks());
    assert!(verify(&issuers, &token(&new)).await.is_ok());
    issuer.respond(503, "");
    clock.advance(24 * HOUR + MINUTE);
    assert_eq!(verify(&issuers, &token(&new)).await, Err(TokenRejected::KeysUnavailable), "more than a day old");
    issuer.respond(200, new.jwks());
    clock.advance(COOL_DOWN);
    assert!(verify(&issuers, &token(&new)).await.is_ok());
}

#[tokio::test]
async fn cancelled_caller_does_not_cancel_the_key_fetch() {
    let (issuer, clock, signer) = (Issuer::start().await, ManualClock::new(), Signer::new("k1"));
    issuer.respond(200, signer.jwks());
    let issuers = issuer.followed(&clock);
    let good = signer.token(&issuer.url, SUBJECT, seconds(&*clock));
    let cancelled = tokio::time::timeout(Duration::ZERO, verify(&issuers, &good)).await;
    assert!(cancelled.is_err());
    assert!(verify(&issuers, &good).await.is_ok());
    assert_eq!(issuer.key_fetches(), 1);
}

/// The program with one issuer, whose keys are in a file.
struct Served {
    directory: tempfile::TempDir,
    signer: Signer,
    broker: Server,
}

impl Served {
    fn new() -> Self {
        let (directory, signer) = (tempfile::tempdir().unwrap(), Signer::new("k1"));
        let place = directory.path().display();
        fs::write(directory.path().join("jwks.json"), signer.jwks()).unwrap();
        let text = format!(
            "aws.region = \"eu-central-1\"\naudit.output = \"{place}/audit\"\n\
             [[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{place}/jwks.json\"\n\
             [[grants]]\nid = \"runners\"\ncallers = [{{ jwt = \"blue\", subject = \"system:serviceaccount:ci:*\" }}]\n\
             registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n\
             [[grants]]\nid = \"main\"\ncallers = [{{ jwt = \"blue\", claims = {{ repository_id = \"456\", protected = \"true\" }} }}]\n\
             registries = [{{ public = true }}]\n"
        );
        let config = directory.path().join("broker.toml");
        fs::write(&config, text).unwrap();
        let socket = format!("unix:{place}/broker.sock");
        let config = config.to_str().unwrap();
        let arguments = ["serve", "--simulate", "--config", config, "--listen", "127.0.0.1:0", "--listen", &socket];
        let broker = Server::start(&arguments, &[]);
        Self { directory, signer, broker }
    }

    fn run(&self, arguments: &[&str], token: &str) -> program::Ended {
        let file = self.directory.path().join("token");
        fs::write(&file, token).unwrap();
        let more = ["--address", &self.broker.address, "--token-file", file.to_str().unwrap()];
        run(&[arguments, &more].concat(), &[])
    }
}

#[expect(clippy::disallowed_methods, reason = "the broker under test uses the system clock")]
fn real_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn program_authenticates_tokens_and_logs_none_of_them() {
    let served = Served::new();
    let (signer, now) = (&served.signer, real_now());
    let token = signer.token(ISSUER, SUBJECT, now);
    let identity = served.run(&["whoami"], &token).out();
    assert!(identity.contains(&format!("jwt:blue:{SUBJECT}")) && identity.contains("runners"), "{identity}");
    assert_eq!(served.run(&["get", HOST], &token).code, 0);
    assert_eq!(served.run(&["get", "public.ecr.aws"], &token).code, 4);
    let claims = |more: &str| {
        let claims =
            format!(r#"{{"iss":"{ISSUER}","sub":"x","aud":"{AUDIENCE}","iat":{now},"exp":{}{more}}}"#, now + 60);
        signer.sign(&signer.header(), &claims)
    };
    for (more, code) in [
        (r#","repository_id":"456","protected":true"#, 0),
        (r#","repository_id":456,"protected":"true""#, 0),
        (r#","repository_id":"456""#, 4),
        (r#","repository_id":"4567","protected":true"#, 4),
        (r#","repository_id":["456"],"protected":true"#, 4),
    ] {
        assert_eq!(served.run(&["get", "public.ecr.aws"], &claims(more)).code, code, "{more}");
    }
    let refused = served.run(&["whoami"], &signer.token("https://evil.example", SUBJECT, now));
    assert_eq!(refused.code, 4);
    assert!(refused.error().contains("is not configured on the broker"), "{refused:?}");
    served.broker.until_logged("is not configured on the broker");
    let expired = served.run(&["get", HOST], &signer.token(ISSUER, SUBJECT, now - 3600));
    assert!(expired.code == 4 && expired.error().contains("has expired"), "{expired:?}");
    // Without a token the caller is loopback, which `--simulate` accepts and no grant allows.
    assert_eq!(run(&["get", HOST, "--address", &served.broker.address], &[]).code, 4);
    let audit = fs::read_to_string(served.directory.path().join("audit")).unwrap();
    assert!(audit.contains(&format!("jwt:blue:{SUBJECT}")), "{audit}");
    let log = served.broker.stop();
    let signature = token.rsplit('.').next().unwrap();
    assert!(!log.contains(signature) && !audit.contains(signature), "{log}{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_jwks_uri_is_logged_with_the_setting_to_change() {
    let (issuer, victim) = (Issuer::start().await, Issuer::start().await);
    issuer.publish_keys_at(&format!("{}/admin/restart", victim.url));
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "aws.region = \"eu-central-1\"\ngrants = []\n[[authentication.jwt]]\nname = \"blue\"\nissuer = \"{}\"\naudience = \"a\"\n",
        issuer.url
    );
    fs::write(file.path(), text).unwrap();
    let arguments = ["serve", "--simulate", "--config", file.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let broker = Server::start(&arguments, &[]);
    broker.until_logged("set jwks_uri in [[authentication.jwt]]");
    broker.stop();
    assert_eq!(victim.key_fetches(), 0);
}

#[test]
fn replaced_key_file_is_reloaded() {
    let served = Served::new();
    let (new, now) = (Signer::new("k2"), real_now());
    assert_eq!(served.run(&["whoami"], &new.token(ISSUER, SUBJECT, now)).code, 4);
    fs::write(served.directory.path().join("jwks.json"), "{").unwrap();
    served.broker.until_logged("the old keys stay in force");
    assert_eq!(served.run(&["whoami"], &served.signer.token(ISSUER, SUBJECT, now)).code, 0);
    fs::write(served.directory.path().join("jwks.json"), new.jwks()).unwrap();
    served.broker.until_logged("issuer key file reloaded");
    assert_eq!(served.run(&["whoami"], &new.token(ISSUER, SUBJECT, now)).code, 0);
    assert_eq!(served.run(&["whoami"], &served.signer.token(ISSUER, SUBJECT, now)).code, 4);
}

#[test]
fn health_shows_a_broken_key_file_until_it_is_mended() {
    let served = Served::new();
    let is_healthy = || {
        let ended = run(&["probe", "--service", "config", "--address", &served.broker.address], &[]);
        assert!([0, 1].contains(&ended.code), "{ended:?}");
        ended.code == 0
    };
    let file = served.directory.path().join("jwks.json");
    assert!(is_healthy());
    fs::write(&file, "{").unwrap();
    while is_healthy() {}
    assert_eq!(served.run(&["whoami"], &served.signer.token(ISSUER, SUBJECT, real_now())).code, 0);
    fs::write(&file, served.signer.jwks()).unwrap();
    while !is_healthy() {}
}

#[test]
fn changed_issuer_gets_the_new_grants_and_tokens_of_the_old_one_none() {
    let served = Served::new();
    let other = "https://other.example";
    let get = |issuer: &str, subject: &str| {
        served.run(&["get", HOST], &served.signer.token(issuer, subject, real_now())).code
    };
    assert_eq!((get(ISSUER, SUBJECT), get(other, SUBJECT)), (0, 4));
    let config = served.directory.path().join("broker.toml");
    let text = fs::read_to_string(&config).unwrap();
    // Another issuer with the old name, whose tokens are granted everything.
    fs::write(&config, text.replace(ISSUER, other).replace("serviceaccount:ci:*", "*:*:*")).unwrap();
    program::signal(served.broker.pid(), "HUP");
    served.broker.until_logged("configuration reloaded");
    let stranger = "system:serviceaccount:cd:other";
    assert_eq!([get(ISSUER, SUBJECT), get(ISSUER, stranger), get(other, stranger)], [4, 4, 0]);
}
