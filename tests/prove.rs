//! `prove` against the simulated AWS, in both answers of each switch, in this process and as the whole program.
#![cfg(all(feature = "server", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "program/mod.rs"]
mod program;

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_broker::clock::{Clock, SystemClock};
use ecr_broker::config::{Config, Sources};
use ecr_broker::moment::Moment;
use ecr_broker::prove::{self, Cleanup, Kit, Outcome, Request, Verdict};
use ecr_broker::simulator::{Answer, Controls, Service, Settings, Simulator};
use program::{Ended, program, signal};
use serde_json::Value;
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
    let text = [("REGION", "eu-west-1"), ("ECR_ENDPOINT", url), ("STS_ENDPOINT", url), ("SIGNIN_ENDPOINT", url)];
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
    let proven =
        [&endpoints[..], &["narrowed-push", "session-end", "revocation", "bearer-token", "bearer-narrowed"]].concat();
    assert_eq!(with(Verdict::Proven, &outcomes), proven, "{outcomes:#?}");
    assert_eq!(with(Verdict::Manual, &outcomes).len(), 4);
    assert_eq!((cleanup.removed.len(), cleanup.left.len()), (5, 0));
    assert!(controls.repositories().is_empty());
    let steps = outcomes.iter().flat_map(|one| &one.steps);
    assert!(steps.filter(|step| step.request_id.is_some()).count() > 15);
}

#[tokio::test]
async fn promises_that_do_not_hold_are_refuted_one_by_one() {
    for (answer, refuted) in [
        (Answer::PolicyIgnored, vec!["narrowed-push", "bearer-narrowed"]),
        (Answer::TokenEndsWithSession, vec!["session-end"]),
        (Answer::RevocationIgnored, vec!["revocation"]),
        (Answer::NoFips, vec!["endpoint-fips", "endpoint-fips-dual-stack"]),
        (Answer::NoDualStack, vec!["endpoint-dual-stack", "endpoint-fips-dual-stack"]),
        (Answer::BearerRefused, vec!["bearer-token"]),
    ] {
        let (outcomes, cleanup, _) = outcomes(vec![answer], all()).await;
        assert_eq!(with(Verdict::Refuted, &outcomes), refuted, "{answer}: {outcomes:#?}");
        assert!(cleanup.left.is_empty());
    }
}

#[tokio::test]
async fn run_without_a_sandbox_creates_nothing() {
    let (outcomes, cleanup, _) = outcomes(Vec::new(), Request { sandbox: false, ..all() }).await;
    let skipped = ["narrowed-push", "session-end", "revocation", "bearer-token", "bearer-narrowed"];
    assert_eq!(with(Verdict::Skipped, &outcomes), skipped);
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

#[tokio::test]
async fn bearer_token_that_aws_does_not_make_proves_nothing() {
    let (outcomes, _, _) = outcomes(vec![Answer::NoBearer], all()).await;
    assert_eq!(with(Verdict::Skipped, &outcomes), ["bearer-token", "bearer-narrowed"], "{outcomes:#?}");
    let bearer = outcomes.iter().find(|one| one.check == "bearer-token").unwrap();
    assert_eq!(bearer.steps.last().unwrap().answer, "ValidationException");
}

const REGION: &str = "eu-west-1";
const SECRET: &str = "secret-key-of-the-operator-0123456789abcd";
/// Longest wait for a state of the simulated AWS.
const WAIT: Duration = Duration::from_mins(1);

/// Waits until the simulated AWS is in a state.
async fn until(state: impl Fn() -> bool) {
    let reached = async {
        while !state() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, reached).await.expect("the simulated AWS does not reach the state");
}

/// A stop in the middle of a creation must not leave a repository that appears after the deletions. It is shown by a deletion that
/// is refused: the repository that is left must be there.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_run_waits_for_the_creation_in_flight() {
    let (controls, url) = simulate(vec![Answer::DeleteDenied]).await;
    let (kit, stop) = (kit(&controls, &url, all()).await, CancellationToken::new());
    let before = Mutex::new(None);
    let emit = |outcome: &Outcome| {
        if outcome.check == "endpoint-fips-dual-stack" {
            *before.lock().unwrap() = Some(controls.calls_to(Service::Ecr, REGION));
            controls.set_latency(Duration::from_millis(500));
        }
        Ok(())
    };
    let is_creating = || before.lock().unwrap().is_some_and(|before| controls.calls_to(Service::Ecr, REGION) > before);
    let stopping = async {
        until(is_creating).await;
        assert!(controls.repositories().is_empty(), "the creation is in flight");
        stop.cancel();
    };
    let ((cleanup, result), ()) = tokio::join!(prove::run(&kit, stop.clone(), emit), stopping);
    assert!(result.is_err());
    let left: Vec<_> = cleanup.left.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!((left.len(), left), (1, controls.repositories()));
}

/// The whole program against a simulated AWS.
fn command(url: &str, arguments: &[&str]) -> Command {
    let environment = [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let mut command = program(&environment);
    command.args(["prove", "--registry-url", url]).args(arguments);
    command
}

async fn ended(mut command: Command) -> Ended {
    tokio::task::spawn_blocking(move || Ended::of(&mut command)).await.unwrap()
}

/// Returns the objects that the program printed, and checks that it printed no secret: tokens and keys of sessions are long.
fn objects(ended: &Ended) -> Vec<Value> {
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.split([' ', '"', '\n']).all(|word| word.len() < 100), "{text}");
    }
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn checks<'a>(objects: &'a [Value], result: &str) -> Vec<&'a str> {
    objects.iter().filter(|object| object["result"] == result).map(|object| object["check"].as_str().unwrap()).collect()
}

const SANDBOX: [&str; 5] = ["-o", "json", "--account-sandbox", "--role", ROLE];

#[tokio::test(flavor = "multi_thread")]
async fn program_prints_each_answer_of_a_switch_as_json() {
    let endpoints = ["endpoint-plain", "endpoint-fips", "endpoint-dual-stack", "endpoint-fips-dual-stack"];
    for (answers, refuted, code) in [
        (vec![], &[][..], 0),
        (vec![Answer::PolicyIgnored], &["narrowed-push", "bearer-narrowed"][..], 1),
        (vec![Answer::NoFips], &["endpoint-fips", "endpoint-fips-dual-stack"][..], 1),
    ] {
        let (controls, url) = simulate(answers).await;
        let ended = ended(command(&url, &SANDBOX)).await;
        let objects = objects(&ended);
        assert_eq!((ended.code, checks(&objects, "refuted")), (code, refuted.to_vec()), "{ended:?}");
        let all = endpoints.into_iter().chain(["narrowed-push", "revocation", "bearer-token", "bearer-narrowed"]);
        let proven: Vec<_> = all.filter(|check| !refuted.contains(check)).collect();
        assert_eq!(checks(&objects, "proven"), proven, "{ended:?}");
        assert_eq!(checks(&objects, "skipped"), ["session-end"]);
        let (cleanup, outcomes) = objects.split_last().unwrap();
        assert!(outcomes.iter().all(|outcome| outcome["proves"].is_string() && outcome["reason"].is_string()));
        assert_eq!((cleanup["removed"].as_array().unwrap().len(), &cleanup["left"]), (4, &serde_json::json!([])));
        assert!(controls.repositories().is_empty());
    }
}

/// Starts the program, and waits until it is in the check that waits for the end of a session.
async fn waiting(controls: &Controls, url: &str) -> Child {
    let mut command = command(url, &[&SANDBOX[..], &["--session-end"]].concat());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(|| controls.repositories().len() == 2).await;
    child
}

async fn signalled(child: Child, name: &str) -> Ended {
    signal(child.id(), name);
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn program_removes_its_sandbox_after_a_signal() {
    for name in ["INT", "TERM"] {
        let (controls, url) = simulate(Vec::new()).await;
        let child = waiting(&controls, &url).await;
        let ended = signalled(child, name).await;
        let objects = objects(&ended);
        assert_eq!(ended.code, 1, "{name}: {ended:?}");
        assert!(ended.error().ends_with("stopped by a signal; the other checks did not run"), "{ended:?}");
        assert_eq!(objects.last().unwrap()["removed"].as_array().unwrap().len(), 2, "{name}: {ended:?}");
        assert!(controls.repositories().is_empty(), "{name}");
        assert_eq!(checks(&objects, "proven").last(), Some(&"narrowed-push"), "later checks did not run");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn program_lists_what_it_cannot_remove_after_a_signal() {
    let (controls, url) = simulate(vec![Answer::DeleteDenied]).await;
    let child = waiting(&controls, &url).await;
    let ended = signalled(child, "TERM").await;
    let objects = objects(&ended);
    let left = objects.last().unwrap()["left"].as_array().unwrap();
    let mut names: Vec<_> = left.iter().map(|pair| pair[0].as_str().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!((ended.code, names), (1, controls.repositories()), "{ended:?}");
    assert!(left.iter().all(|pair| pair[1] == "AccessDeniedException"), "{left:?}");
}
