use std::sync::Mutex;

use super::*;
use crate::credential::{CredentialKey, ProfileName, Revision};
use crate::hops::Hops;
use crate::policy::RegistryPattern;
use crate::registry::Registry;
use crate::request_id::RequestId;
use crate::source::FetchProgress;
use crate::source::aws::admission::{self, AdmissionControl};
use crate::source::broker::Fallback;
use crate::source::span::FetchSpan;
use crate::sync::lock;

/// A source that fails in one way and counts its calls.
#[derive(Debug)]
struct Failing {
    name: SourceName,
    failure: Mutex<FetchError>,
    calls: Mutex<usize>,
    status: SourceStatus,
}

impl Failing {
    fn new(name: SourceName, status: SourceStatus) -> Arc<Self> {
        let failure = FetchError::Upstream(UpstreamError::unanswered(name.clone()));
        Arc::new(Self { name, failure: Mutex::new(failure), calls: Mutex::default(), status })
    }
}

impl SourceIdentity for Failing {
    fn name(&self) -> SourceName {
        self.name.clone()
    }

    fn status(&self) -> SourceStatus {
        self.status
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(std::future::ready(self.status))
    }

    fn problems(&self) -> Vec<String> {
        vec![self.name.id().to_owned()]
    }

    fn expires(&self) -> Option<SystemTime> {
        None
    }
}

impl CredentialSource for Failing {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, _: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        *lock(&self.calls) += 1;
        Box::pin(std::future::ready(Err(lock(&self.failure).clone())))
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        Duration::from_secs(if self.name == SourceName::Aws { 8 } else { 5 })
    }
}

fn parent_name(name: &str) -> SourceName {
    SourceName::Parent(name.parse().unwrap())
}

fn settings(name: &str, registries: Vec<RegistryPattern>, profiles: &[&str], fallback: Fallback) -> Settings {
    Settings {
        name: name.parse().unwrap(),
        addresses: Vec::new(),
        tls_ca: None,
        tls_identity: None,
        token_file: None,
        registries,
        profiles: profiles.iter().map(|name| name.parse().unwrap()).collect(),
        fallback,
        forward_callers: false,
    }
}

fn request(host: &str, profile: &str) -> FetchRequest {
    let registry: Registry = host.parse().unwrap();
    FetchRequest {
        key: CredentialKey {
            registry,
            profile: ProfileName::from(profile),
            revision: Revision::default(),
            caller: None,
            lifetime: None,
        },
        min_validity: Duration::ZERO,
        rejected: None,
        replaces: None,
        new_session: false,
        requester: None,
        proof: None,
        request_id: RequestId::random(),
        parent_span: None,
        deadline: tokio::time::Instant::now(),
        progress: FetchProgress::default(),
        span: FetchSpan::default(),
        hops: Hops::default(),
    }
}

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

#[tokio::test]
async fn parent_is_not_asked_for_a_credential_with_a_lifetime() {
    let (parent, aws) =
        (Failing::new(parent_name("a"), SourceStatus::Ready), Failing::new(SourceName::Aws, SourceStatus::Ready));
    let all = settings("a", vec![RegistryPattern::every_private()], &["default"], Fallback::None);
    let route = Route::new(vec![(all, parent.clone() as _)], Some(aws.clone()));
    let mut request = request(PRIVATE, "default");
    request.key.lifetime = crate::credential::Lifetime::from_minutes(15);
    route.fetch(&request).await.unwrap_err();
    assert_eq!((*lock(&parent.calls), *lock(&aws.calls)), (0, 1));
}

#[tokio::test]
async fn first_parent_that_covers_a_request_is_asked_and_aws_the_rest() {
    let sources = ["a", "b"].map(|name| Failing::new(parent_name(name), SourceStatus::Ready));
    let aws = Failing::new(SourceName::Aws, SourceStatus::Ready);
    let both = vec![RegistryPattern::every_private(), RegistryPattern::Public];
    let first = settings("a", vec![RegistryPattern::Public], &["default", "far"], Fallback::None);
    let second = settings("b", both, &["default"], Fallback::None);
    let parents = vec![(first, sources[0].clone() as _), (second, sources[1].clone() as _)];
    let route = Route::new(parents, Some(aws.clone()));
    for (host, profile, asked) in [
        ("public.ecr.aws", "default", [1, 0, 0]),
        ("public.ecr.aws", "far", [1, 0, 0]),
        (PRIVATE, "default", [0, 1, 0]),
        (PRIVATE, "far", [0, 0, 1]),
    ] {
        let all = [&sources[0], &sources[1], &aws];
        for source in all {
            *lock(&source.calls) = 0;
        }
        route.fetch(&request(host, profile)).await.unwrap_err();
        assert_eq!(all.map(|source| *lock(&source.calls)), asked, "{host} {profile}");
    }
}

#[tokio::test]
async fn aws_is_asked_instead_only_where_configured_and_without_an_answer() {
    let (parent, aws) =
        (Failing::new(parent_name("a"), SourceStatus::Ready), Failing::new(SourceName::Aws, SourceStatus::Ready));
    let answered = |class| FetchError::Upstream(UpstreamError::new(parent_name("a"), class));
    let failed =
        UpstreamError { code: Some("AUDIT_UNAVAILABLE".into()), ..UpstreamError::unanswered(parent_name("a")) };
    for (failure, fallback, asked) in [
        (FetchError::Upstream(UpstreamError::unanswered(parent_name("a"))), Fallback::Aws, 1),
        (FetchError::Upstream(UpstreamError::unanswered(parent_name("a"))), Fallback::None, 0),
        (FetchError::Upstream(failed), Fallback::Aws, 0),
        (answered(FailureClass::ParentDenied), Fallback::Aws, 0),
        (answered(FailureClass::Unavailable), Fallback::Aws, 0),
        (answered(FailureClass::Overloaded), Fallback::Aws, 0),
        (FetchError::QueueFull { retry_after: Duration::ZERO }, Fallback::Aws, 0),
    ] {
        (*lock(&parent.failure), *lock(&aws.calls)) = (failure.clone(), 0);
        let settings = settings("a", vec![RegistryPattern::Public], &["default"], fallback);
        let route = Route::new(vec![(settings, parent.clone())], Some(aws.clone()));
        route.fetch(&request("public.ecr.aws", "default")).await.unwrap_err();
        assert_eq!(*lock(&aws.calls), asked, "{failure:?} {fallback:?}");
    }
}

#[tokio::test]
async fn aws_is_asked_while_the_queue_to_an_unreachable_parent_is_full() {
    let (parent, aws) =
        (Failing::new(parent_name("a"), SourceStatus::Ready), Failing::new(SourceName::Aws, SourceStatus::Ready));
    let settings = settings("a", vec![RegistryPattern::Public], &["default"], Fallback::Aws);
    let route = Route::new(vec![(settings, parent.clone())], Some(aws.clone()));
    let full = || FetchError::QueueFull { retry_after: Duration::ZERO };
    let denied = UpstreamError::new(parent_name("a"), FailureClass::ParentDenied);
    let unanswered = || FetchError::Upstream(UpstreamError::unanswered(parent_name("a")));
    for (failure, asked) in [(unanswered(), 1), (full(), 2), (full(), 3), (denied.into(), 3), (full(), 3)] {
        *lock(&parent.failure) = failure.clone();
        route.fetch(&request("public.ecr.aws", "default")).await.unwrap_err();
        assert_eq!(*lock(&aws.calls), asked, "{failure:?}");
    }
}

/// A parent that hangs, until it answers after `delay`.
#[derive(Debug)]
struct Hanging {
    delay: Mutex<Duration>,
    answers: Mutex<bool>,
    calls: Mutex<usize>,
}

impl SourceIdentity for Hanging {
    fn name(&self) -> SourceName {
        parent_name("a")
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Ready
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(std::future::ready(SourceStatus::Ready))
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn expires(&self) -> Option<SystemTime> {
        None
    }
}

impl CredentialSource for Arc<Hanging> {
    fn identity(&self) -> &dyn SourceIdentity {
        &**self
    }

    fn fetch<'a>(&'a self, _: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        *lock(&self.calls) += 1;
        let delay = *lock(&self.delay);
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let denied = || UpstreamError::new(parent_name("a"), FailureClass::ParentDenied);
            let unanswered = || UpstreamError::unanswered(parent_name("a"));
            Err(if *lock(&self.answers) { denied() } else { unanswered() }.into())
        })
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        Duration::from_secs(11)
    }
}

/// A route to a parent that hangs, behind its queue, and to AWS.
struct Outage {
    parent: Arc<Hanging>,
    aws: Arc<Failing>,
    route: Route,
}

impl Outage {
    fn new() -> Self {
        let (delay, answers, calls) = (Mutex::new(Duration::from_secs(10)), Mutex::default(), Mutex::default());
        let parent = Arc::new(Hanging { delay, answers, calls });
        let aws = Failing::new(SourceName::Aws, SourceStatus::Ready);
        let settings = settings("a", vec![RegistryPattern::Public], &["default"], Fallback::Aws);
        let limits =
            admission::Settings { max_in_flight_per_region: 1, max_in_flight: 1, max_queued_per_requester: 100 };
        let admitted = Arc::new(AdmissionControl::new(Arc::clone(&parent), &limits));
        Self { route: Route::new(vec![(settings, admitted as _)], Some(Arc::clone(&aws) as _)), parent, aws }
    }

    /// Makes calls at once, and returns the time of the longest in seconds, and whom the calls failed at.
    async fn calls(&self, count: usize) -> (u64, Vec<SourceName>) {
        let start = tokio::time::Instant::now();
        let call = async || match self.route.fetch(&request("public.ecr.aws", "default")).await.unwrap_err() {
            FetchError::Upstream(failure) => failure.source,
            other => panic!("{other}"),
        };
        let failed = join_all((0..count).map(|_| call())).await;
        (start.elapsed().as_secs(), failed)
    }
}

#[tokio::test(start_paused = true)]
async fn fallback_does_not_wait_in_the_queue_to_a_parent_that_hangs() {
    let outage = Outage::new();
    let all_at_aws = |count| vec![SourceName::Aws; count];
    // The first call finds out after its timeout, and those behind it in the queue wait a moment longer.
    assert_eq!(outage.calls(4).await, (11, all_at_aws(4)));
    let asked = *lock(&outage.parent.calls);
    // One of those that follow waits a moment, and the others not at all.
    assert_eq!(outage.calls(1).await, (1, all_at_aws(1)));
    assert_eq!(outage.calls(100).await, (0, all_at_aws(100)));
    assert_eq!((*lock(&outage.parent.calls), *lock(&outage.aws.calls)), (asked + 1, 105), "one call goes on");
}

#[tokio::test(start_paused = true)]
async fn parent_that_answers_again_is_asked_by_every_call() {
    let outage = Outage::new();
    assert_eq!(outage.calls(1).await, (10, vec![SourceName::Aws]));
    (*lock(&outage.parent.delay), *lock(&outage.parent.answers)) = (Duration::from_secs(3), true);
    // It is slower than the call that finds out waits, which AWS answers.
    assert_eq!(outage.calls(1).await, (1, vec![SourceName::Aws]));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(outage.calls(1).await, (3, vec![parent_name("a")]));
    assert_eq!((*lock(&outage.parent.calls), *lock(&outage.aws.calls)), (3, 2));
}

#[tokio::test]
async fn registry_that_no_source_serves_is_a_mistake_of_the_configuration() {
    let parent = Failing::new(parent_name("a"), SourceStatus::Ready);
    let settings = settings("a", vec![RegistryPattern::Public], &["default"], Fallback::None);
    let route = Route::new(vec![(settings, parent.clone())], None);
    let error = route.fetch(&request(PRIVATE, "default")).await.unwrap_err();
    assert!(matches!(error, FetchError::Upstream(failure) if failure.class == FailureClass::Misconfigured));
    assert_eq!(*lock(&parent.calls), 0);
}

#[test]
fn budgets_add_up_and_statuses_are_told_apart() {
    use SourceStatus::{NoCredentials, Partial, Ready};
    for (parent, aws, expected, missing) in [
        (Ready, Some(Ready), Ready, 0),
        (Ready, Some(NoCredentials), Partial, 1),
        (NoCredentials, Some(NoCredentials), NoCredentials, 2),
        (Ready, None, Ready, 0),
        (NoCredentials, None, NoCredentials, 1),
    ] {
        let fallback = if aws.is_some() { Fallback::Aws } else { Fallback::None };
        let settings = settings("a", vec![RegistryPattern::Public], &["default"], fallback);
        let parents = vec![(settings, Failing::new(parent_name("a"), parent) as _)];
        let route = Route::new(parents, aws.map(|status| Failing::new(SourceName::Aws, status) as _));
        assert_eq!((route.status(), route.problems().len()), (expected, missing));
        assert_eq!(route.fetch_budget(), Duration::from_secs(if aws.is_some() { 13 } else { 5 }));
        assert_eq!(route.name() == SourceName::Aws, aws.is_some());
    }
}
