//! What the checks share: AWS, the registry, the sandbox and the steps so far.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use tokio_util::task::TaskTracker;

use super::registry::Registries;
use super::report::{Outcome, Step, Verdict};
use super::sandbox::{Cleanup, PREFIX};
use crate::clock::Clock;
use crate::credential::Credential;
use crate::doctor::RegistryUrl;
use crate::error::{SourceName, UpstreamError};
use crate::registry::AccountId;
use crate::source::aws::Settings;
use crate::source::aws::account::{Account, Answered, Called};
use crate::sync::lock;

/// Waits. Tests move the clock instead.
pub type Pause = Box<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What the operator asked for.
#[derive(Debug, Default)]
pub struct Request {
    /// Whether repositories may be created in the account.
    pub sandbox: bool,
    /// A role that the operator may assume and that may pull and push.
    pub role: Option<String>,
    /// Whether to wait until a role session has ended.
    pub session_end: bool,
    /// The URL to use instead of the registries' own.
    pub registry_url: Option<RegistryUrl>,
}

/// The kit of the checks.
pub struct Kit {
    pub(super) aws: Arc<Account>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) request: Request,
    pub(super) pause: Pause,
    registries: Registries,
    created: Mutex<Vec<String>>,
    /// Creations in flight. A run that is stopped waits for them: a repository that appears after its deletion would stay.
    creations: TaskTracker,
}

/// The steps of a check. A step that fails ends it.
#[derive(Debug)]
pub(super) struct Steps {
    check: String,
    proves: &'static str,
    done: Vec<Step>,
}

/// A check's end.
pub(super) type End = Box<Outcome>;

impl Kit {
    /// Reads the SDK's environment and files. Makes no call.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub async fn new(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        mut request: Request,
        pause: Pause,
    ) -> anyhow::Result<Self> {
        let registries = Registries::new(settings, request.registry_url.take())?;
        let aws = Arc::new(Account::load(settings, Arc::clone(&clock)).await?);
        let (created, creations) = (Mutex::default(), TaskTracker::new());
        Ok(Self { aws, clock, request, pause, registries, created, creations })
    }

    /// Creates a repository. It is noted first, so that an answer that is lost leaves none.
    pub(super) async fn repository(&self, steps: &mut Steps) -> Result<String, End> {
        if !self.request.sandbox {
            return Err(steps.end(Verdict::Skipped, "needs --account-sandbox: it creates a repository"));
        }
        let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
        lock(&self.created).push(name.clone());
        let (aws, new) = (Arc::clone(&self.aws), name.clone());
        let creation = self.creations.spawn(async move { aws.create_repository(&new).await });
        // A task that panicked has no answer.
        let called = creation.await.unwrap_or_else(|_| Err(UpstreamError::unanswered(SourceName::Aws)));
        steps.call(format!("create repository {name}"), called)?;
        Ok(name)
    }

    /// Deletes the repositories.
    pub(super) async fn clean_up(&self) -> Cleanup {
        self.creations.close();
        self.creations.wait().await;
        let mut cleanup = Cleanup::default();
        let created = std::mem::take(&mut *lock(&self.created));
        for name in created {
            match self.aws.delete_repository(&name).await {
                Ok(_) => cleanup.removed.push(name),
                Err(error) if error.code.as_deref() == Some("RepositoryNotFoundException") => {
                    cleanup.removed.push(name);
                }
                Err(error) => cleanup.left.push((name, code(&error))),
            }
        }
        cleanup
    }

    /// Returns the registry's status for a request with a token.
    pub(super) async fn ask(
        &self,
        steps: &mut Steps,
        (host, what): (&str, &str),
        request: (Method, &str),
        token: &Credential,
    ) -> Result<u16, End> {
        let status = self.registries.ask(host, request, token).await;
        let answer = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        steps.add(what, answer, None);
        let status = status.map(|status| status.as_u16());
        status.ok_or_else(|| steps.end(Verdict::Skipped, "the registry did not answer"))
    }

    /// Returns the account of the operator.
    pub(super) async fn account(&self, steps: &mut Steps) -> Result<AccountId, End> {
        let called = self.aws.caller(None).await;
        steps.call("ask STS who calls", called)
    }
}

impl Steps {
    pub(super) fn new(check: impl Into<String>, proves: &'static str) -> Self {
        Self { check: check.into(), proves, done: Vec::new() }
    }

    pub(super) fn add(&mut self, did: impl Into<String>, answer: impl Into<String>, request_id: Option<Box<str>>) {
        self.done.push(Step { did: did.into(), answer: answer.into(), request_id });
    }

    /// Notes a call. A call that fails ends the check: it proves nothing.
    pub(super) fn call<T>(&mut self, did: impl Into<String>, called: Called<T>) -> Result<T, End> {
        match called {
            Ok(Answered { value, request_id }) => {
                self.add(did, "ok", request_id);
                Ok(value)
            }
            Err(error) => {
                self.add(did, code(&error), error.request_id.clone());
                Err(self.end(Verdict::Skipped, "AWS did not do what the check needs"))
            }
        }
    }

    /// Notes a token without its secret.
    pub(super) fn token(&mut self, did: &str, called: Result<Credential, UpstreamError>) -> Result<Credential, End> {
        let called = called.map(|token| {
            let request_id = token.upstream_request_id().map(Into::into);
            Answered { value: token, request_id }
        });
        self.call(did, called)
    }

    #[allow(clippy::unnecessary_box_returns, reason = "it is an error, and errors are small")]
    pub(super) fn end(&mut self, verdict: Verdict, reason: impl Into<String>) -> End {
        let steps = std::mem::take(&mut self.done);
        Box::new(Outcome { check: self.check.clone(), proves: self.proves, verdict, reason: reason.into(), steps })
    }
}

/// Returns AWS's code, or the class of the failure.
pub(super) fn code(error: &UpstreamError) -> String {
    error.code.as_deref().map_or_else(|| format!("{:?}", error.class), str::to_owned)
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("request", &self.request).finish_non_exhaustive()
    }
}
