//! The source of one broker. Both brokers' sources follow the same script, so that they return the same credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ecr_broker::clock::Clock as _;
use ecr_broker::credential::{Credential, USERNAME};
use ecr_broker::error::{FailureClass, SourceName, UpstreamError};
use ecr_broker::source::{
    CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use tokio::sync::watch;

use crate::support::{FETCH_BUDGET, ManualClock};

/// The result of every fetch, until the script changes.
#[derive(Debug, Clone, Copy)]
pub enum Script {
    /// A new token of this lifetime.
    Token(Duration),
    /// The same token again.
    SameToken(Duration),
    /// A new token that AWS issued a while ago.
    AgedToken(Duration, Duration),
    Fail(FailureClass),
    /// No call: the requester's queue is full.
    QueueFull,
}

#[derive(Debug)]
pub struct Source {
    clock: Arc<ManualClock>,
    state: Mutex<State>,
    is_open: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    script: Script,
    /// The tokens that each key has received.
    tokens: HashMap<String, u64>,
    calls: u64,
    /// The calls that nothing has read yet.
    unread: Vec<String>,
}

impl Source {
    pub fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        let script = Script::Token(Duration::from_hours(12));
        let state = State { script, tokens: HashMap::new(), calls: 0, unread: Vec::new() };
        Arc::new(Self { clock: Arc::clone(clock), state: Mutex::new(state), is_open: watch::Sender::new(true) })
    }

    pub fn follow(&self, script: Script) {
        self.state.lock().unwrap().script = script;
    }

    /// Fetches wait until [`Self::open`].
    pub fn shut(&self) {
        self.is_open.send_replace(false);
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().calls
    }

    /// Returns the calls since the last time, sorted: fetches of different keys do not wait for each other.
    pub fn take_calls(&self) -> Vec<String> {
        let mut calls = std::mem::take(&mut self.state.lock().unwrap().unread);
        calls.sort();
        calls
    }

    async fn answer(&self, request: &FetchRequest) -> Result<Credential, FetchError> {
        let (script, number) = self.note(request);
        self.is_open.subscribe().wait_for(|is_open| *is_open).await.unwrap();
        let password = |number| format!("password-{:?}-{number}", request.key);
        let minute = Duration::from_mins(1);
        match script {
            Script::Token(lifetime) => Ok(self.credential(&password(number), Duration::ZERO, lifetime)),
            Script::SameToken(lifetime) => Ok(self.credential(&password(0), Duration::ZERO, lifetime)),
            Script::AgedToken(age, left) => Ok(self.credential(&password(number), age, left)),
            Script::Fail(class) => Err(UpstreamError::aws(class).into()),
            Script::QueueFull => Err(FetchError::QueueFull { retry_after: minute }),
        }
    }

    /// Notes a call without what is random in it. Returns its result, and the number of its key's token.
    fn note(&self, request: &FetchRequest) -> (Script, u64) {
        let FetchRequest { key, min_validity, rejected, replaces, new_session, requester, proof, .. } = request;
        let replaces = replaces.as_ref().map(|credential| credential.id());
        let proof = proof.as_ref().map(|proof| &proof.caller);
        let call = format!("{key:?} {min_validity:?} {rejected:?} {replaces:?} {new_session} {requester:?} {proof:?}");
        let mut state = self.state.lock().unwrap();
        state.unread.push(call);
        state.calls += 1;
        let script = state.script;
        let number = state.tokens.entry(format!("{key:?}")).or_default();
        *number += 1;
        (script, *number)
    }

    fn credential(&self, password: &str, age: Duration, left: Duration) -> Credential {
        let now = self.clock.now();
        Credential::new(SourceName::Aws, USERNAME, password, now.wall - age, now.wall + left, now).unwrap()
    }
}

impl SourceIdentity for Source {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Ready
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(std::future::ready(self.status()))
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn expires(&self) -> Option<SystemTime> {
        None
    }
}

impl CredentialSource for Source {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(self.answer(request))
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        FETCH_BUDGET
    }
}
