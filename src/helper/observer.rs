//! Observations of shadow and canary mode, by a detached process: the tool that runs the helper never waits for the broker or the
//! report.
//!
//! The process is the same program with the same arguments and request, so it finds the same broker and the same identity. A variable
//! makes it an observer. It has no output, leaves the tool's session, and ends after [`LIMIT`], whatever hangs.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::fetch::ask;
use super::setup::Setup;
use super::subprocess::is_nested;
use crate::adoption::{Answer, Observation, Record, ReportFile, reason_of};
use crate::client::adoption::Protocol;
use crate::client::{Client, Failure, Settings, block_on};
use crate::clock::{Clock as _, SystemClock};
use crate::environment::{OBSERVATION, same_command};
use crate::process_tree;
use crate::time_text::rfc3339_seconds;

/// Longest request that is passed on. It fits into the pipe, so that the helper does not wait for its reader.
const MAX_REQUEST: usize = 16 << 10;
/// Longest wait for the broker, however long the client's `timeout` is.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);
/// Time after which the process ends.
const LIMIT: Duration = Duration::from_secs(45);

/// A question to the broker, with everything that its thread needs.
struct Question {
    broker: Result<(Settings, String), Failure>,
    observation: Observation,
    protocol: Protocol,
    /// Registry as the tool named it, and its host.
    registry: (String, String),
}

/// Starts the process that completes an observation. A failure costs a record of the report, not an answer.
pub(super) fn start(observation: &Observation, request: &str) {
    if request.len() > MAX_REQUEST || is_nested() {
        return;
    }
    let Some((mut command, observation)) = same_command().ok().zip(serde_json::to_string(observation).ok()) else {
        return;
    };
    process_tree::detach(&mut command);
    // Not a descriptor of the tool: it reads stdout to its end.
    command.env(OBSERVATION, observation);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Not waited for: it outlives this process.
    if let Ok(child) = command.spawn()
        && let Some(mut stdin) = child.stdin
    {
        _ = stdin.write_all(request.as_bytes());
    }
}

/// Asks the broker if it was not asked yet, and writes the record.
pub(super) fn complete(setup: &Setup, observation: &Observation, protocol: Protocol, registry: (&str, String)) {
    process_tree::leave_session();
    let (server, host) = registry;
    let question = Question {
        broker: setup.broker().map(|broker| (broker.settings.clone(), broker.profile.clone())),
        observation: observation.clone(),
        protocol,
        registry: (server.to_owned(), host),
    };
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        question.answer();
        done.send(())
    });
    // The end of the process ends a thread that hangs, such as in a file of a lost mount.
    _ = ended.recv_timeout(LIMIT);
}

impl Question {
    fn answer(mut self) {
        let report = ReportFile::path().and_then(|path| ReportFile::open(&path).ok());
        let Some(report) = report else { return };
        let slot = report.question_slot();
        let caller = if slot.is_some() { self.complete() } else { None };
        let (_, registry) = self.registry;
        let record = Record {
            time: rfc3339_seconds(SystemClock::new().now().wall).unwrap_or_default(),
            protocol: self.protocol,
            registry,
            profile: self.broker.map(|(_, profile)| profile).unwrap_or_default(),
            caller,
            observation: self.observation,
        };
        _ = report.append(&record.line());
    }

    /// Asks the broker, unless the helper did. Returns the caller after a denial.
    fn complete(&mut self) -> Option<String> {
        let broker = match self.broker.as_mut() {
            Ok((settings, profile)) => {
                settings.timeout = settings.timeout.min(QUESTION_LIMIT);
                Ok((&*settings, &*profile))
            }
            Err(mistake) => Err(mistake.clone()),
        };
        if self.observation.broker.is_none() {
            let registry = &self.registry.0;
            let (answer, _) = timed(|| broker.clone().and_then(|(settings, profile)| ask(settings, profile, registry)));
            self.observation.broker = Some(answer);
        }
        let reason = self.observation.broker.as_ref()?.reason.as_deref();
        let is_denied = matches!(reason, Some("CALLER_NOT_ALLOWED" | "PARENT_DENIED" | "PROFILE_UNKNOWN"));
        let (settings, _) = broker.ok().filter(|_| is_denied)?;
        let identity = block_on(async { Client::connect(settings).await?.caller_identity().await });
        Some(identity.ok()?.ok()?.principal)
    }
}

/// Runs a question to the broker. Returns its answer without the credentials, and the result.
pub(super) fn timed<T>(question: impl FnOnce() -> Result<T, Failure>) -> (Answer, Result<T, Failure>) {
    let (result, ms) = measured(question);
    (Answer { ms, reason: result.as_ref().err().map(reason_of) }, result)
}

/// Runs something, and returns how many milliseconds it took.
pub(super) fn measured<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let clock = SystemClock::new();
    let start = clock.steady();
    let result = work();
    (result, u64::try_from(clock.steady().saturating_sub(start).as_millis()).unwrap_or(u64::MAX))
}
