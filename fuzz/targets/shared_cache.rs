//! Values and notes of the shared cache: each is refused, or is a credential that a holder of the keys has sealed.
//!
//! The first byte says what the rest is: a value as it is stored, the sealed contents of one, or the note of a failure.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use ecr_broker::clock::SystemClock;
use ecr_broker::credential::{Credential, CredentialKey, ProfileName, Revision};
use ecr_broker::error::{FailureClass, SourceName, UpstreamError};
use ecr_broker::hops::Hops;
use ecr_broker::metrics::Registry;
use ecr_broker::request_id::RequestId;
use ecr_broker::source::shared_cache::entry_key::{EntryKeys, EntryName, EntryParts};
use ecr_broker::source::shared_cache::envelope::Envelopes;
use ecr_broker::source::shared_cache::key_ring::KeyRing;
use ecr_broker::source::shared_cache::keys::Keys;
use ecr_broker::source::shared_cache::tier::{LeaseOwner, Tier, TierAnswer, TierError};
use ecr_broker::source::shared_cache::{Metrics, SharedCache};
use ecr_broker::source::span::FetchSpan;
use ecr_broker::source::{
    CredentialSource, FetchError, FetchProgress, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tokio::time::Instant;

struct World {
    runtime: Runtime,
    cache: SharedCache<Dead>,
    tier: Arc<Answering>,
    envelopes: Envelopes,
}

/// A tier with one answer.
#[derive(Debug, Default)]
struct Answering(Mutex<Option<TierAnswer>>);

/// A source that fails, so that every credential is the tier's.
#[derive(Debug)]
struct Dead;

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let keys = Keys::random().unwrap();
    let tier = Arc::new(Answering::default());
    let metrics = Metrics::new(&mut Registry::default());
    let ring = Arc::new(KeyRing::new(&keys).unwrap());
    let cache = SharedCache::new(Dead, tier.clone(), ring, Arc::new(Dead), Arc::new(SystemClock::new()), metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    World { runtime, cache, tier, envelopes: Envelopes::new(&keys).unwrap() }
});

impl EntryKeys for Dead {
    fn parts(&self, _: &CredentialKey) -> Option<EntryParts> {
        Some(EntryParts {
            service: "ecr",
            partition: "aws",
            account: "123456789012".into(),
            region: "eu-central-1".into(),
            endpoint: String::new(),
            identity: "farm".into(),
            session_policy: String::new(),
            attribution: String::new(),
        })
    }
}

impl CredentialSource for Dead {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, _: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async { Err(UpstreamError::new(SourceName::Aws, FailureClass::Unavailable).into()) })
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        Duration::from_secs(1)
    }
}

impl SourceIdentity for Dead {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Ready
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(async { SourceStatus::Ready })
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn expires(&self) -> Option<SystemTime> {
        None
    }
}

impl Tier for Answering {
    fn get_or_lease<'a>(
        &'a self,
        _: &'a EntryName,
        _: &'a LeaseOwner,
        known: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<TierAnswer, TierError>> {
        let answer = self.0.lock().unwrap().clone().filter(|_| known.is_none());
        Box::pin(async move { Ok(answer.unwrap_or(TierAnswer::Leased)) })
    }

    fn renew<'a>(&'a self, _: &'a EntryName, _: &'a LeaseOwner) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(async { Ok(true) })
    }

    fn put<'a>(
        &'a self,
        _: &'a EntryName,
        _: &'a LeaseOwner,
        _: &'a [u8],
        _: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(async { Ok(true) })
    }

    fn fail<'a>(
        &'a self,
        _: &'a EntryName,
        _: &'a LeaseOwner,
        _: &'a [u8],
        _: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(async { Ok(true) })
    }

    fn release<'a>(&'a self, _: &'a EntryName, _: &'a LeaseOwner) -> SourceFuture<'a, Result<(), TierError>> {
        Box::pin(async { Ok(()) })
    }

    fn invalidate<'a>(&'a self, _: &'a EntryName, _: Option<&'a [u8]>) -> SourceFuture<'a, Result<(), TierError>> {
        *self.0.lock().unwrap() = None;
        Box::pin(async { Ok(()) })
    }
}

fuzz_target!(|data: &[u8]| {
    let World { runtime, cache, tier, envelopes } = &*WORLD;
    let Some((way, rest)) = data.split_first() else { return };
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    let key = CredentialKey {
        registry: host.parse().unwrap(),
        profile: ProfileName::default_profile(),
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    };
    let parts = Dead.parts(&key).unwrap();
    let answer = match way % 3 {
        0 => TierAnswer::Value { sealed: rest.to_vec(), ttl: None },
        1 => {
            let sealed = envelopes.seal(&parts.key(), rest.to_vec().into()).unwrap();
            TierAnswer::Value { sealed, ttl: Some(Duration::from_secs(3_600)) }
        }
        _ => TierAnswer::Failed { note: rest.to_vec(), for_: None },
    };
    *tier.0.lock().unwrap() = Some(answer);
    let request = FetchRequest {
        key,
        min_validity: Duration::ZERO,
        rejected: None,
        replaces: None,
        new_session: false,
        requester: None,
        proof: None,
        request_id: RequestId::random(),
        hops: Hops::default(),
        parent_span: None,
        // Too soon for a second question about a note.
        deadline: Instant::now() + Duration::from_millis(20),
        progress: FetchProgress::default(),
        span: FetchSpan::default(),
    };
    if let Ok(credential) = runtime.block_on(cache.fetch(&request)) {
        assert_eq!(way % 3, 1, "a credential without the keys");
        let password = credential.password().expose();
        assert!(rest.windows(password.len()).any(|part| part == password.as_bytes()), "another credential");
    }
});
