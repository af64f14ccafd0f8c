use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const AWS: Fingerprint = Fingerprint::from_bytes([1; 32]);

fn at(seconds: u64) -> Moment {
    let time = Duration::from_secs(seconds) + Duration::from_nanos(7);
    Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + time, steady: time }
}

fn registry(text: &str) -> Registry {
    text.parse().expect("a registry")
}

fn kept(registry: Registry, caller: Option<&str>, password: &str) -> KeptCredential {
    let credential =
        Credential::new(SourceName::Aws, USERNAME, password, at(0).wall, at(40_000).wall, at(10)).expect("valid");
    let account = registry.account();
    let minter = account.map(|_| Minter::known("arn:aws:iam::123456789012:role/pull")).unwrap_or_default();
    let credential =
        credential.minted_by(minter).for_account(account).with_upstream_request_id(account.map(|_| "request-1".into()));
    let caller = caller.map(|name| read_principal(name).expect("a principal"));
    let key = CredentialKey {
        registry,
        profile: ProfileName::default_profile(),
        revision: Revision::default(),
        caller,
        lifetime: None,
    };
    KeptCredential { key, credential: Arc::new(credential), refresh_at: at(3_000), is_stale: password.len() % 2 == 1 }
}

fn encoded(credentials: &[KeptCredential], max_bytes: usize) -> (Zeroizing<Vec<u8>>, usize) {
    encode(&Fingerprints::new(AWS, &[]), credentials, max_bytes)
}

#[test]
fn credentials_are_read_as_they_were_written() {
    let region = "eu-west-1".parse().expect("a region");
    let unnamed = PrivateRegistry::new(None, region, EndpointVariant::default()).expect("a registry");
    let written = [
        kept(registry("123456789012.dkr.ecr.eu-central-1.amazonaws.com"), None, "one"),
        kept(registry("123456789012.dkr-ecr-fips.us-east-1.on.aws"), Some("uid:1001"), "three"),
        kept(registry("public.ecr.aws"), Some("spiffe://a.example/ci/runner"), "four"),
        kept(registry("ecr-public.aws.com"), Some("dns:build-1.corp.example"), "ä€"),
        kept(Registry::Private(unnamed), Some("jwt:blue:repo:a/b:ref:x"), "x"),
        kept(registry("public.ecr.aws"), Some("loopback"), "y"),
        kept(registry("public.ecr.aws"), Some("aws-api"), "z"),
        kept(registry("public.ecr.aws"), Some("via spiffe://a.example/node/1 uid:7"), "v"),
        kept(registry("public.ecr.aws"), Some("exact:00112233445566778899aabbccddeeff:jwt:blue:ci"), "w"),
    ];
    let (bytes, count) = encoded(&written, usize::MAX);
    assert_eq!(count, written.len());
    let contents = decode(&bytes).expect("contents");
    assert_eq!((contents.aws, contents.unreadable, contents.credentials.len()), (AWS, 0, written.len()));
    for (read, written) in contents.credentials.iter().zip(&written) {
        assert_eq!((&read.key, read.profile), (&written.key, Fingerprint::of_profile(None)));
        assert_eq!((read.refresh_at, read.is_stale), (written.refresh_at, written.is_stale));
        let (back, before) = (read.credential().expect("valid"), &written.credential);
        assert_eq!((back.id(), back.password()), (before.id(), before.password()));
        assert_eq!(
            (back.issued(), back.expires(), back.received()),
            (before.issued(), before.expires(), before.received())
        );
        assert_eq!((back.source(), back.minter().arn()), (before.source(), before.minter().arn()));
        assert_eq!((back.account(), back.upstream_request_id()), (before.account(), before.upstream_request_id()));
        for now in [at(10), at(20_000), at(39_999), at(50_000)] {
            assert_eq!((back.remaining(now), back.age(now)), (before.remaining(now), before.age(now)));
        }
    }
}

#[test]
fn p14_credential_of_a_parent_keeps_the_end_of_its_validity() {
    let source = SourceName::Parent("central".parse().expect("a name"));
    let credential = Credential::new(source, USERNAME, "one", at(0).wall, at(40_000).wall, at(10)).expect("valid");
    let credential = Arc::new(credential.ending_by(at(60).steady));
    let written = KeptCredential { credential: Arc::clone(&credential), ..kept(Registry::PUBLIC, None, "one") };
    let (bytes, _) = encoded(&[written], usize::MAX);
    let contents = decode(&bytes).expect("contents");
    let back = contents.credentials[0].credential().expect("valid");
    assert_eq!((back.source(), back.end()), (credential.source(), credential.end()));
    assert_eq!(back.remaining(at(59)), Duration::from_secs(1));
}

/// A version before lifetimes existed refuses a record with more bytes than it knows.
#[test]
fn short_lived_credential_keeps_its_key_and_adds_only_its_lifetime() {
    let general = kept(registry("123456789012.dkr.ecr.eu-central-1.amazonaws.com"), None, "one");
    let key = CredentialKey { lifetime: Lifetime::from_minutes(15), ..general.key.clone() };
    let written = [KeptCredential { key: key.clone(), ..kept(key.registry.clone(), None, "one") }, general.clone()];
    let (bytes, _) = encoded(&written, usize::MAX);
    let contents = decode(&bytes).expect("contents");
    let keys: Vec<_> = contents.credentials.iter().map(|stored| stored.key.clone()).collect();
    assert_eq!(keys, [key, general.key.clone()]);
    let of = |one: &KeptCredential| encoded(std::slice::from_ref(one), usize::MAX).0;
    let (short_lived, general) = (of(&written[0]), of(&general));
    assert_eq!(short_lived.len(), general.len() + 2);
    let invalid = [&short_lived[..short_lived.len() - 2], &[0, 0]].concat();
    assert_eq!(decode(&invalid).expect("contents").unreadable, 1, "no lifetime has 0 minutes");
}

#[test]
fn what_has_no_room_is_left_out_from_the_end() {
    let written = [1, 2, 3].map(|number| kept(Registry::PUBLIC, None, &number.to_string().repeat(1_000)));
    let whole = encoded(&written, usize::MAX).0.len();
    for (max, expected) in [(whole, 3), (whole - 1, 2), (2_000, 1), (1_000, 0), (0, 0)] {
        let (bytes, count) = encoded(&written, max);
        let read = decode(&bytes).expect("contents").credentials.len();
        assert_eq!((count, read), (expected, expected), "{max}");
    }
}

#[test]
fn unreadable_credential_is_left_out_alone() {
    let (mut bytes, _) = encoded(&[kept(Registry::PUBLIC, None, "one"), kept(Registry::PUBLIC, None, "two")], 10_000);
    // The first byte of the first credential: its kind of registry.
    bytes[36] = 9;
    let contents = decode(&bytes).expect("contents");
    assert_eq!((contents.credentials.len(), contents.unreadable), (1, 1));
    assert_eq!(contents.credentials[0].credential().expect("valid").password().expose(), "two");
    let length = bytes.len() - 1;
    bytes.truncate(length);
    assert!(decode(&bytes).is_none());
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..400))| read_all(&bytes));
}

#[test]
fn changed_contents_are_read_without_a_panic() {
    let changes = proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6);
    proptest!(|(changes in changes, length in any::<usize>())| {
        let (bytes, _) = encoded(&[kept(Registry::PUBLIC, Some("loopback"), "a password")], 10_000);
        let mut bytes = bytes.to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(length % (bytes.len() + 1));
        read_all(&bytes);
    });
}

fn read_all(bytes: &[u8]) {
    if let Some(contents) = decode(bytes) {
        contents.credentials.iter().for_each(|stored| _ = stored.credential());
    }
}
