//! Revocation lists: which certificates they withdraw, and which lists count.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use ecr_broker::authn::tls::{Tls, TlsError};

use super::certificates::{Pair, RUNNER};
use super::federation::{Federation, client_config, handshake};
use super::openssl::{OpensslCa, ROOT};
use super::support::*;

#[tokio::test]
async fn revoked_certificate_and_intermediate_are_refused_past_next_update() {
    let mut federation = Federation::new();
    let directory = federation.directory.path().to_owned();
    let root = OpensslCa::root(&directory, "openssl");
    let intermediate = root.intermediate("between", ROOT);
    fs::write(&federation.a.file, root.certificate()).unwrap();
    let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
    let Pair { certificate, key } = intermediate.workload("below", RUNNER);
    let below = Pair { certificate: certificate + &intermediate.certificate(), key };
    let crl = directory.join("a.crl");
    federation.settings.revocations.insert("a.example".to_owned(), crl.clone());
    let load = || Tls::load(federation.settings.clone(), ManualClock::new()).map(Arc::new);
    let outcome = async |tls: &Arc<Tls>, pair: &Pair| {
        let config = client_config(&federation, &[&rustls::version::TLS13], pair);
        handshake(tls, Arc::new(config)).await
    };
    fs::write(&crl, root.revocation_list(&["-crldays", "3000"])).unwrap();
    let tls = load().unwrap();
    assert!(tls.authority_mistakes().is_empty());
    for pair in [&good, &bad, &below] {
        assert_eq!(outcome(&tls, pair).await.as_deref(), Ok(RUNNER));
    }
    root.revoke("bad");
    let past = ["-crl_lastupdate", "20250101000000Z", "-crl_nextupdate", "20260101000000Z"];
    let pem = root.revocation_list(&past);
    for list in [pem.clone().into_bytes(), root.revocation_list_der()] {
        fs::write(&crl, list).unwrap();
        let tls = load().unwrap();
        assert_eq!(outcome(&tls, &good).await.as_deref(), Ok(RUNNER));
        assert!(outcome(&tls, &bad).await.unwrap_err().contains("Revoked"));
        let mistakes = tls.authority_mistakes();
        let stale = "revocation list 1 is past its nextUpdate, 2026-01-01T00:00:00Z; it stays in force";
        assert!(mistakes.len() == 1 && mistakes[0].to_string().contains(stale), "{mistakes:?}");
    }
    // The whole path is checked, and lists of several CAs are in one file.
    fs::copy(directory.join("between/ca.crt"), directory.join("openssl/between.crt")).unwrap();
    root.revoke("between");
    fs::write(&crl, root.revocation_list(&["-crldays", "3000"]) + &intermediate.revocation_list(&["-crldays", "3000"]))
        .unwrap();
    assert!(outcome(&load().unwrap(), &below).await.unwrap_err().contains("Revoked"));

    let impostor = OpensslCa::root(&directory.join("between"), "openssl");
    for (list, problem) in [
        (
            impostor.revocation_list(&["-crldays", "30"]),
            "revocation list 1 has the name of a root, but not its signature",
        ),
        (pem.replace("X509 CRL", "CERTIFICATE"), "holds no revocation list in PEM or DER form"),
        (String::new(), "holds no revocation list"),
        ("0\0".to_owned(), "is malformed"),
    ] {
        fs::write(&crl, list).unwrap();
        let error = load().unwrap_err().to_string();
        assert!(error.contains("a.crl") && error.contains(problem), "{problem}: {error}");
    }
    fs::write(&crl, pem).unwrap();
    fs::set_permissions(&crl, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(load().unwrap_err().to_string().contains("is world-writable"));
}

/// CAs append, and webpki uses the first list with the issuer's name.
#[tokio::test]
async fn only_the_newest_list_of_a_key_counts() {
    let listed = Listed::new();
    let root = OpensslCa::root(&listed.directory(), "openssl");
    fs::write(&listed.federation.a.file, root.certificate()).unwrap();
    let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
    let list = |more: &[&str]| root.revocation_list(&[&["-crldays", "3000"], more].concat());
    let (old, old_point) = (list(&[]), list(&["-crlexts", "one_point"]));
    root.revoke("bad");
    let new = list(&[]);
    for lists in [[&old, &new], [&new, &old]] {
        let tls = listed.load(&lists.map(String::as_str).concat()).unwrap();
        assert_eq!(listed.outcome(&tls, &good).await.as_deref(), Ok(RUNNER));
        assert!(listed.outcome(&tls, &bad).await.unwrap_err().contains("Revoked"));
    }
    // Lists of several distribution points are parts of one: an empty one withdraws nothing.
    let newest_point = list(&["-crlexts", "one_point"]);
    for lists in [old_point.clone() + &new, new.clone() + &old_point, old + &newest_point] {
        assert!(listed.outcome(&listed.load(&lists).unwrap(), &bad).await.unwrap_err().contains("Revoked"));
    }
    for (extensions, problem) in [
        ("delta", "revocation list 2 is a delta list"),
        ("users", "revocation list 2 has an issuing distribution point that limits its scope"),
    ] {
        let error = listed.load(&(new.clone() + &list(&["-crlexts", extensions]))).unwrap_err().to_string();
        assert!(error.contains("a.crl") && error.contains(problem), "{error}");
    }
}

/// SPIRE's roots have one name, and so have a CA's before and after a change of its key.
#[tokio::test]
async fn keys_of_one_name_have_their_own_lists() {
    let listed = Listed::new();
    let (one, two) = (listed.directory().join("one"), listed.directory().join("two"));
    let roots = [&one, &two].map(|directory| {
        fs::create_dir(directory).unwrap();
        OpensslCa::root(directory, "openssl")
    });
    let list = |ca: &OpensslCa| ca.revocation_list(&["-crldays", "3000", "-crlexts", "key"]);
    fs::write(&listed.federation.a.file, roots.each_ref().map(OpensslCa::certificate).concat()).unwrap();
    let pairs = roots.each_ref().map(|root| (root.workload("good", RUNNER), root.workload("bad", RUNNER)));
    roots[1].revoke("bad");
    // The second certificate of each root has the serial number of no other root's.
    let lists = roots.each_ref().map(list);
    let both = listed.load(&lists.concat()).unwrap();
    assert!(both.authority_mistakes().is_empty(), "{:?}", both.authority_mistakes());
    for accepted in [&pairs[0].0, &pairs[0].1, &pairs[1].0] {
        assert_eq!(listed.outcome(&both, accepted).await.as_deref(), Ok(RUNNER));
    }
    assert!(listed.outcome(&both, &pairs[1].1).await.unwrap_err().contains("Revoked"));
    // Without the first root, its list is left over: reported, and not in the way.
    fs::write(&listed.federation.a.file, roots[1].certificate()).unwrap();
    let rotated = listed.load(&lists.concat()).unwrap();
    let mistakes = rotated.authority_mistakes();
    let left_over = "revocation list 1 has the name of a root, and another key's signature";
    assert!(mistakes.len() == 1 && mistakes[0].to_string().contains(left_over), "{mistakes:?}");
    assert_eq!(listed.outcome(&rotated, &pairs[1].0).await.as_deref(), Ok(RUNNER));
    assert!(listed.outcome(&rotated, &pairs[1].1).await.unwrap_err().contains("Revoked"));

    // Intermediates of one name: each has its own list, or none of the name has one.
    let between = [&one, &two].map(|directory| roots[1].intermediate_in(directory, "between", ROOT));
    let chains = between.each_ref().map(|ca| {
        let Pair { certificate, key } = ca.workload("below", RUNNER);
        Pair { certificate: certificate + &ca.certificate(), key }
    });
    for chain in &chains {
        assert_eq!(listed.outcome(&rotated, chain).await.as_deref(), Ok(RUNNER));
    }
    between[1].revoke("below");
    let lists = between.each_ref().map(list);
    let tls = listed.load(&lists.concat()).unwrap();
    assert_eq!(listed.outcome(&tls, &chains[0]).await.as_deref(), Ok(RUNNER));
    assert!(listed.outcome(&tls, &chains[1]).await.unwrap_err().contains("Revoked"));
    let tls = listed.load(&lists[0]).unwrap();
    assert_eq!(listed.outcome(&tls, &chains[0]).await.as_deref(), Ok(RUNNER));
    listed.outcome(&tls, &chains[1]).await.unwrap_err();
}

#[tokio::test]
async fn revocation_list_above_1_mib_is_used_up_to_16_mib() {
    let listed = Listed::new();
    let root = OpensslCa::root(&listed.directory(), "openssl");
    fs::write(&listed.federation.a.file, root.certificate()).unwrap();
    let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
    root.revoke_many(40_000);
    root.revoke("bad");
    let list = root.revocation_list(&["-crldays", "3000"]);
    assert!(list.len() > 1 << 20);
    let tls = listed.load(&list).unwrap();
    assert_eq!(listed.outcome(&tls, &good).await.as_deref(), Ok(RUNNER));
    assert!(listed.outcome(&tls, &bad).await.unwrap_err().contains("Revoked"));
    let error = listed.load(&" ".repeat((16 << 20) + 1)).unwrap_err().to_string();
    assert!(error.contains("is longer than 16 MiB"), "{error}");
}

/// Revocation lists of the first trust domain.
struct Listed {
    federation: Federation,
    file: PathBuf,
}

impl Listed {
    fn new() -> Self {
        let mut federation = Federation::new();
        let file = federation.directory.path().join("a.crl");
        federation.settings.revocations.insert("a.example".to_owned(), file.clone());
        Self { federation, file }
    }

    fn directory(&self) -> PathBuf {
        self.federation.directory.path().to_owned()
    }

    fn load(&self, lists: &str) -> Result<Arc<Tls>, TlsError> {
        fs::write(&self.file, lists).unwrap();
        Tls::load(self.federation.settings.clone(), ManualClock::new()).map(Arc::new)
    }

    async fn outcome(&self, tls: &Arc<Tls>, pair: &Pair) -> Result<String, String> {
        let config = client_config(&self.federation, &[&rustls::version::TLS13], pair);
        handshake(tls, Arc::new(config)).await
    }
}
