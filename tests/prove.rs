//! `prove` against the simulated AWS, in both answers of each switch.
#![cfg(all(feature = "server", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_broker::clock::{Clock, SystemClock};
use ecr_broker::config::{Config, Sources};
use ecr_broker::moment::Moment;
use ecr_broker::prove::{self, Cleanup, Kit, Outcome, Request, Verdict};
use ecr_broker::simulator::{Answer, Controls, Settings, Simulator};
use tokio_util::sync::CancellationToken;

const ROLE: &str = "arn:aws:iam::123456789012:role/sandbox";

/// A clock that pauses move.
#[derive(Debug)]
struct Moved(SystemClock, Mutex<Duration>);

impl Clock for Moved {
    fn now(&self) -> Moment {
        self.0.now().after(*self.1.lock().unwrap())
    }
}

async fn simulate(answers: Vec<Answer>) -> (Controls, String) {
    let settings = Settings { answers, ..Settings::default() };
    let aws = Simulator::bind(([127, 0, 0, 1], 0).into(), settings).await.unwrap();
    let (controls, url) = (aws.controls(), format!("http://{}", aws.address()));
    tokio::spawn(aws.run_until(std::future::pending()));
    (controls, url)
}

async fn kit(controls: &Controls, url: &str, request: Request) -> Kit {
    let text = [("REGION", "eu-west-1"), ("ECR_ENDPOINT", url), ("STS_ENDPOINT", url)];
    let environment = text.map(|(name, value)| (format!("ECR_BROKER_AWS_{name}"), value.to_owned())).into();
    let mut config = Config::load(&Sources { environment, ..Sources::default() }).unwrap();
    config.aws.simulated_credentials = true;
    let clock = Arc::new(Moved(SystemClock::new(), Mutex::default()));
    controls.set_clock(Arc::clone(&clock) as _);
    let moved = Arc::clone(&clock);
    let pause = Box::new(move |time| {
        *moved.1.lock().unwrap() += time;
        Box::pin(std::future::ready(())) as _
    });
    let request = Request { registry_url: Some(url.parse().unwrap()), ..request };
    Kit::new(&config.aws, clock, request, pause).await.unwrap()
}

async fn outcomes(answers: Vec<Answer>, request: Request) -> (Vec<Outcome>, Cleanup, Controls) {
    let (controls, url) = simulate(answers).await;
    let kit = kit(&controls, &url, request).await;
    let mut outcomes = Vec::new();
    let emit = |outcome: &Outcome| {
        outcomes.push(outcome.clone());
        Ok(())
    };
    let (cleanup, result) = prove::run(&kit, CancellationToken::new(), emit).await;
    result.unwrap();
    (outcomes, cleanup, controls)
}

fn all() -> Request {
    Request { sandbox: true, role: Some(ROLE.to_owned()), session_end: true, registry_url: None }
}

fn with(verdict: Verdict, outcomes: &[Outcome]) -> Vec<&str> {
    outcomes.iter().filter(|one| one.verdict == verdict).map(|one| one.check.as_str()).collect()
}

#[tokio::test]
async fn promises_that_hold_are_proven_and_the_sandbox_is_removed() {
    let (outcomes, cleanup, controls) = outcomes(Vec::new(), all()).await;
    let endpoints = ["endpoint-plain", "endpoint-fips", "endpoint-dual-stack", "endpoint-fips-dual-stack"];
    let proven = [&endpoints[..], &["narrowed-push", "session-end", "revocation"]].concat();
    assert_eq!(with(Verdict::Proven, &outcomes), proven, "{outcomes:#?}");
    assert_eq!(with(Verdict::Manual, &outcomes).len(), 5);
    assert_eq!((cleanup.removed.len(), cleanup.left.len()), (3, 0));
    assert!(controls.repositories().is_empty());
    let steps = outcomes.iter().flat_map(|one| &one.steps);
    assert!(steps.filter(|step| step.request_id.is_some()).count() > 15);
}

#[tokio::test]
async fn promises_that_do_not_hold_are_refuted_one_by_one() {
    for (answer, refuted) in [
        (Answer::PolicyIgnored, vec!["narrowed-push"]),
        (Answer::TokenEndsWithSession, vec!["session-end"]),
        (Answer::RevocationIgnored, vec!["revocation"]),
        (Answer::NoFips, vec!["endpoint-fips", "endpoint-fips-dual-stack"]),
        (Answer::NoDualStack, vec!["endpoint-dual-stack", "endpoint-fips-dual-stack"]),
    ] {
        let (outcomes, cleanup, _) = outcomes(vec![answer], all()).await;
        assert_eq!(with(Verdict::Refuted, &outcomes), refuted, "{answer}: {outcomes:#?}");
        assert!(cleanup.left.is_empty());
    }
}

#[tokio::test]
async fn run_without_a_sandbox_creates_nothing() {
    let (outcomes, cleanup, _) = outcomes(Vec::new(), Request { sandbox: false, ..all() }).await;
    assert_eq!(with(Verdict::Skipped, &outcomes), ["narrowed-push", "session-end", "revocation"]);
    assert_eq!(cleanup, Cleanup::default());
}

#[tokio::test]
async fn repository_that_cannot_be_deleted_is_listed() {
    let (_, cleanup, controls) = outcomes(vec![Answer::DeleteDenied], all()).await;
    let mut left: Vec<_> = cleanup.left.iter().map(|(name, _)| name.clone()).collect();
    left.sort();
    assert_eq!(left, controls.repositories());
    assert!(cleanup.left.iter().all(|(name, code)| name.starts_with(prove::PREFIX) && code == "AccessDeniedException"));
}

#[tokio::test]
async fn stopped_run_removes_its_sandbox() {
    let (controls, url) = simulate(Vec::new()).await;
    let kit = kit(&controls, &url, all()).await;
    let stop = CancellationToken::new();
    let (cleanup, result) = prove::run(&kit, stop.clone(), |outcome| {
        if outcome.check == "narrowed-push" {
            stop.cancel();
        }
        Ok(())
    })
    .await;
    assert_eq!(result.unwrap_err().to_string(), "stopped by a signal; the other checks did not run");
    assert!(!cleanup.removed.is_empty() && cleanup.left.is_empty());
    assert!(controls.repositories().is_empty());
}
