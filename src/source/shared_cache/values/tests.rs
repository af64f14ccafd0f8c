use std::time::SystemTime;

use super::super::entry_key::EntryParts;
use super::super::keys::Keys;
use super::*;
use crate::credential::{CredentialKey, ProfileName, Revision, SourceName};
use crate::metrics::Registry;
use crate::registry;
use crate::request_id::RequestId;
use crate::source::FetchProgress;
use crate::source::span::FetchSpan;
use crate::sync::lock;

const HOUR: Duration = Duration::from_hours(1);

#[derive(Debug)]
struct SetClock(std::sync::Mutex<Moment>);

impl Clock for SetClock {
    fn now(&self) -> Moment {
        *lock(&self.0)
    }
}

/// A broker with its own clock.
struct Broker {
    values: Values,
    clock: Arc<SetClock>,
}

fn at(seconds: u64) -> Moment {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
    Moment { wall, steady: Duration::from_secs(seconds) }
}

/// Returns brokers of one ring.
fn brokers() -> [Broker; 2] {
    let ring = Arc::new(KeyRing::new(&Keys::random().unwrap()).unwrap());
    [0, 1].map(|_| {
        let clock = Arc::new(SetClock(std::sync::Mutex::new(at(0))));
        let metrics = Metrics::new(&mut Registry::default());
        Broker { values: Values::new(Arc::clone(&ring), clock.clone() as Arc<dyn Clock>, metrics), clock }
    })
}

fn entry() -> Entry {
    let parts = EntryParts {
        service: "ecr",
        partition: "aws",
        account: "123456789012".to_owned(),
        region: "eu-central-1".to_owned(),
        endpoint: String::new(),
        identity: "role".to_owned(),
        session_policy: String::new(),
        attribution: String::new(),
    };
    let name = super::super::entry_key::EntryName::of_hash([1; 16]);
    Entry::new(parts, name)
}

fn credential(password: &str, minter: &Minter) -> Credential {
    let (issued, expires) = (at(0).wall, at(12 * 3600).wall);
    let credential = Credential::new(SourceName::Aws, "AWS", password, issued, expires, at(0)).unwrap();
    credential.minted_by(minter.clone()).with_upstream_request_id(Some("call-1".into()))
}

fn request() -> FetchRequest {
    let key = CredentialKey {
        registry: registry::Registry::PUBLIC,
        profile: ProfileName::default_profile(),
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    };
    FetchRequest {
        key,
        min_validity: 5 * Duration::from_mins(1),
        rejected: None,
        replaces: None,
        new_session: false,
        requester: None,
        proof: None,
        request_id: RequestId::random(),
        hops: crate::hops::Hops::default(),
        parent_span: None,
        deadline: tokio::time::Instant::now() + HOUR,
        progress: FetchProgress::default(),
        span: FetchSpan::default(),
    }
}

fn minter(unique_id: &str) -> Minter {
    let minter = Minter::known("arn:aws:iam::123456789012:role/pull");
    minter.identify(unique_id);
    minter
}

#[test]
fn credential_of_another_broker_is_as_it_was_but_for_its_source() {
    let [one, other] = brokers();
    let stored = credential("x", &minter("AROAONE:session")).for_account("123456789012".parse().ok());
    let SealedValue { value, ttl } = one.values.seal(&entry(), &stored).unwrap();
    assert_eq!(ttl, (12 * HOUR).checked_sub(MIN_REMAINING).unwrap());
    let found = other.values.open(&entry(), &value, Some(ttl), &request()).unwrap();
    assert_eq!((found.source(), found.id()), (&SourceName::SharedCache, stored.id()));
    assert_eq!((found.account(), found.minter().arn()), (stored.account(), stored.minter().arn()));
    assert_eq!((found.issued(), found.expires()), (stored.issued(), stored.expires()));
    assert_eq!((found.upstream_request_id(), found.remaining(at(0))), (Some("call-1"), 12 * HOUR));
    assert_eq!(found.minter().unique_id().as_deref(), Some("AROAONE"));
}

#[test]
fn p14_value_ends_when_the_tiers_clock_says_so() {
    let [one, other] = brokers();
    let SealedValue { value, .. } = one.values.seal(&entry(), &credential("x", &Minter::default())).unwrap();
    let hour_left = Some(HOUR.checked_sub(MIN_REMAINING).unwrap());
    let found = other.values.open(&entry(), &value, hour_left, &request()).unwrap();
    assert_eq!(found.remaining(at(0)), HOUR, "this host's wall clock is eleven hours behind");
    assert_eq!(found.remaining(Moment { wall: at(0).wall - 5 * HOUR, steady: HOUR }), Duration::ZERO);
    let too_short =
        other.values.open(&entry(), &value, hour_left, &FetchRequest { min_validity: 2 * HOUR, ..request() });
    assert_eq!(too_short.unwrap_err(), Unusable::TooShort);
}

#[test]
fn value_of_a_clock_that_is_ahead_is_refused() {
    let [one, other] = brokers();
    let SealedValue { value, ttl } = one.values.seal(&entry(), &credential("x", &Minter::default())).unwrap();
    let open_at = |ahead: Duration| {
        *lock(&other.clock.0) = Moment { wall: at(0).wall - ahead, steady: Duration::ZERO };
        other.values.open(&entry(), &value, Some(ttl), &request()).map(|credential| credential.id())
    };
    assert!(open_at(MAX_CLOCK_AHEAD).is_ok());
    assert_eq!(open_at(MAX_CLOCK_AHEAD + Duration::from_secs(1)), Err(Unusable::Faulty(Fault::Clock)));
    *lock(&other.clock.0) = at(13 * 3600);
    let expired = other.values.open(&entry(), &value, Some(ttl), &request());
    assert_eq!(expired.unwrap_err(), Unusable::Faulty(Fault::Expired), "put back by a writer of the tier");
}

#[test]
fn value_of_another_role_with_the_same_name_is_refused() {
    let [one, other] = brokers();
    let sealed =
        |broker: &Broker, minter: &Minter| broker.values.seal(&entry(), &credential("x", minter)).unwrap().value;
    let old = sealed(&one, &minter("AROAOLD:x"));
    let opens = |value: &[u8]| other.values.open(&entry(), value, None, &request()).map(|found| found.id());
    assert!(opens(&old).is_ok(), "this broker has minted nothing yet");
    let new = minter("AROANEW:y");
    let own = sealed(&other, &new);
    assert_eq!(opens(&old), Err(Unusable::Faulty(Fault::Minter)));
    assert!(opens(&own).is_ok() && opens(&sealed(&one, &Minter::default())).is_ok());
    new.identify("AROAOLD:z");
    assert!(opens(&old).is_ok(), "the last session counts");
}

#[test]
fn value_is_judged_by_the_request() {
    let [one, other] = brokers();
    let stored = Arc::new(credential("x", &Minter::default()));
    let SealedValue { value, .. } = one.values.seal(&entry(), &stored).unwrap();
    let with = |request: FetchRequest| other.values.open(&entry(), &value, None, &request).map(|found| found.id());
    let unusable = |request| with(request).unwrap_err();
    assert_eq!(unusable(FetchRequest { rejected: Some(stored.id()), ..request() }), Unusable::Rejected);
    assert_eq!(unusable(FetchRequest { min_validity: 13 * HOUR, ..request() }), Unusable::TooShort);
    assert_eq!(unusable(FetchRequest { replaces: Some(Arc::clone(&stored)), ..request() }), Unusable::NotNewer);
    let older = Credential::new(SourceName::Aws, "AWS", "y", at(0).wall, at(3600).wall, at(0)).unwrap();
    assert!(with(FetchRequest { rejected: Some(older.id()), replaces: Some(Arc::new(older)), ..request() }).is_ok());
}

#[test]
fn credential_that_ends_soon_is_not_shared() {
    let [one, _] = brokers();
    let lasting = |seconds| {
        let credential = Credential::new(SourceName::Aws, "AWS", "x", at(0).wall, at(seconds).wall, at(0)).unwrap();
        one.values.seal(&entry(), &credential).map(|sealed| sealed.ttl)
    };
    assert_eq!((lasting(900), lasting(901)), (None, Some(Duration::from_secs(1))));
}

#[test]
fn message_that_is_not_a_credential_is_refused() {
    let [one, other] = brokers();
    for message in [&b"nonsense"[..], b"", b"\x0a\x03AWS"] {
        let sealed = one.values.keys.current().seal(&entry().key(), zeroize::Zeroizing::new(message.to_vec())).unwrap();
        let refused = other.values.open(&entry(), &sealed, None, &request()).unwrap_err();
        assert_eq!(refused, Unusable::Faulty(Fault::Malformed), "{message:?}");
    }
    let long = other.values.open(&entry(), &vec![0; MAX_VALUE_BYTES + 1], None, &request()).unwrap_err();
    assert_eq!(long, Unusable::Faulty(Fault::Malformed));
}
