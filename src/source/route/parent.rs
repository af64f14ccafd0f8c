//! A parent broker and what AWS serves in its place.
//!
//! AWS is asked instead of a parent only where that is configured, and only while the parent does not answer at all. A parent that
//! hangs would hold a call for the whole queue before it and for its timeout, and the caller's deadline would pass before AWS is asked.
//! So a parent that is known to be unreachable gets one call at a time, which finds out when it answers again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tracing::info;

use crate::credential::Credential;
use crate::source::broker::{Fallback, Settings};
use crate::source::{CredentialSource, FetchError, FetchProgress, FetchRequest};

/// Longest wait for a parent that is known to be unreachable, before AWS is asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// A parent and what it serves.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) settings: Settings,
    pub(super) source: Arc<dyn CredentialSource>,
    reachability: Arc<Reachability>,
    /// Locked by the call that an unreachable parent gets.
    probe: Arc<Mutex<()>>,
}

/// Whether the last call found the parent unreachable.
#[derive(Debug, Default)]
struct Reachability {
    is_unreachable: watch::Sender<bool>,
}

type Fetched = Result<Credential, FetchError>;

impl Parent {
    pub(super) fn new(settings: Settings, source: Arc<dyn CredentialSource>) -> Self {
        Self { settings, source, reachability: Arc::default(), probe: Arc::default() }
    }

    pub(super) async fn fetch(&self, request: &FetchRequest, aws: Option<&Arc<dyn CredentialSource>>) -> Fetched {
        let Some(aws) = aws.filter(|_| self.settings.fallback == Fallback::Aws) else {
            return self.source.fetch(request).await;
        };
        let answer =
            if self.reachability.is_unreachable() { self.probe(request).await } else { self.ask(request).await };
        if let Some(answer) = answer {
            return answer;
        }
        let (parent, registry) = (&self.settings.name, request.key.registry.host());
        info!(%parent, registry, request_id = %request.request_id, "parent unreachable, AWS asked instead");
        aws.fetch(request).await
    }

    /// Asks the parent; `None`: it is unreachable, as this call or another one found out meanwhile.
    async fn ask(&self, request: &FetchRequest) -> Option<Fetched> {
        let found = tokio::select! {
            biased;
            fetched = self.source.fetch(request) => Some(fetched),
            () = self.reachability.lost() => None,
        };
        // The call may have been in the queue to the parent.
        request.progress.leave_queue();
        self.reachability.answer(found?)
    }

    /// Asks the parent if no other call does; `None`: it is still unreachable. The call goes on when AWS is asked: a parent that is
    /// slower than [`PATIENCE`] is found reachable, too.
    async fn probe(&self, request: &FetchRequest) -> Option<Fetched> {
        let turn = Arc::clone(&self.probe).try_lock_owned().ok()?;
        let (source, reachability) = (Arc::clone(&self.source), Arc::clone(&self.reachability));
        // The caller's wait for AWS has its own progress.
        let request = FetchRequest { progress: FetchProgress::default(), ..request.clone() };
        let call = tokio::spawn(async move {
            let _turn = turn;
            reachability.answer(source.fetch(&request).await)
        });
        timeout(PATIENCE, call).await.ok()?.ok()?
    }

    /// Returns the longest time of a fetch, with that of AWS after it.
    pub(super) fn fetch_budget(&self, aws: Duration) -> Duration {
        let fallback = if self.settings.fallback == Fallback::Aws { aws } else { Duration::ZERO };
        self.source.fetch_budget() + fallback
    }
}

impl Reachability {
    fn is_unreachable(&self) -> bool {
        *self.is_unreachable.borrow()
    }

    /// Returns the parent's answer; `None`: the parent is unreachable. The queue to a parent that hangs is soon full: then the parent is
    /// not asked, and what the last call found still counts.
    fn answer(&self, fetched: Fetched) -> Option<Fetched> {
        let is_unreachable = match &fetched {
            Err(FetchError::QueueFull { .. }) => self.is_unreachable(),
            Err(FetchError::Upstream(failure)) => failure.is_unreachable_parent(),
            _ => false,
        };
        self.is_unreachable.send_if_modified(|known| std::mem::replace(known, is_unreachable) != is_unreachable);
        (!is_unreachable).then_some(fetched)
    }

    /// Waits until the parent has been unreachable for [`PATIENCE`].
    async fn lost(&self) {
        let mut state = self.is_unreachable.subscribe();
        loop {
            // The sender lives as long as this.
            _ = state.wait_for(|is_unreachable| *is_unreachable).await;
            if timeout(PATIENCE, state.wait_for(|is_unreachable| !is_unreachable)).await.is_err() {
                return;
            }
        }
    }
}
