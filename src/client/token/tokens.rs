//! The tokens of a client: cached in memory, asked for again before each ends, by one request at a time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

use super::claims::Claims;
use super::renewal::Renewal;
use super::source::TokenSource;
use crate::bearer_token::BearerToken;
use crate::client::failure::Failure;
use crate::clock::{Clock, SystemClock};

/// Wait before a source that failed is asked again, while the last token serves.
const RETRY: Duration = Duration::from_secs(5);

/// A token for one call.
#[derive(Debug, Clone)]
pub(in crate::client) struct Issued {
    pub(in crate::client) token: BearerToken,
    /// Name of its source, for errors.
    pub(in crate::client) origin: String,
    /// Whether it was in the cache: another one may be accepted if the broker refuses it.
    pub(in crate::client) cached: bool,
}

/// A token source with its cache. Clones share it.
#[derive(Clone)]
pub struct Tokens(Arc<Shared>);

struct Shared {
    source: TokenSource,
    audience: String,
    clock: Box<dyn Clock>,
    /// Held during a request: calls that come meanwhile wait for its token.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failed: Option<(Instant, Failure)>,
}

struct Held {
    token: BearerToken,
    origin: String,
    renewal: Renewal,
}

impl Tokens {
    /// Asks a source for tokens with this audience.
    #[must_use]
    pub fn new(source: TokenSource, audience: String) -> Self {
        Self::with_clock(source, audience, Box::new(SystemClock::new()))
    }

    fn with_clock(source: TokenSource, audience: String, clock: Box<dyn Clock>) -> Self {
        Self(Arc::new(Shared { source, audience, clock, state: Mutex::default() }))
    }

    /// Returns the source.
    #[must_use]
    pub fn source(&self) -> &TokenSource {
        &self.0.source
    }

    /// Returns the audience that tokens are requested with.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.0.audience
    }

    /// Returns the cached token, or asks for one until the deadline; `None` if `auto` finds no source.
    ///
    /// Calls that wait for one request share its outcome, a failure too. A cached token serves until its end if the source fails.
    pub(in crate::client) async fn get(&self, deadline: Instant) -> Result<Option<Issued>, Failure> {
        let since = Instant::now();
        let mut state = self.0.state.lock().await;
        let now = self.0.clock.now().wall;
        if let Some(held) = state.held.as_ref().filter(|held| now < held.renewal.at) {
            return Ok(Some(held.issued()));
        }
        if let Some((_, failure)) = state.failed.as_ref().filter(|(at, _)| *at > since) {
            return Err(failure.clone());
        }
        let Some(source) = self.0.source.present() else {
            debug!("no token source found");
            return Ok(None);
        };
        match source.request(&self.0.audience, now, deadline).await {
            Ok(token) => Ok(Some(state.received(source, token, self.0.clock.now().wall))),
            Err(failure) => state.failed(failure, self.0.clock.now().wall).map(Some),
        }
    }

    /// Drops a token that the broker refused, unless another one has replaced it. Returns whether to try again.
    pub(in crate::client) async fn refused(&self, refused: &Issued) -> bool {
        let mut state = self.0.state.lock().await;
        state.held = state.held.take().filter(|held| held.token.expose() != refused.token.expose());
        debug!(origin = refused.origin, cached = refused.cached, "bearer token refused");
        refused.cached
    }
}

impl State {
    /// Keeps a token whose end is known, unless it is cheap to read again.
    fn received(&mut self, source: &TokenSource, token: BearerToken, now: SystemTime) -> Issued {
        let renewal = Renewal::of(Claims::of(token.expose().trim()).as_ref(), now).filter(|_| !source.is_local());
        let origin = source.to_string();
        let issued = Issued { token: token.clone(), origin: origin.clone(), cached: false };
        debug!(origin, is_kept = renewal.is_some(), "bearer token received");
        self.failed = None;
        self.held = renewal.map(|renewal| Held { token, origin, renewal });
        issued
    }

    /// Returns the last token if it has not ended. The source is asked again after a while.
    fn failed(&mut self, failure: Failure, now: SystemTime) -> Result<Issued, Failure> {
        if let Some(held) = self.held.as_mut().filter(|held| now < held.renewal.end) {
            debug!(%failure, "bearer token not renewed");
            held.renewal.at = (now + RETRY).min(held.renewal.end);
            return Ok(held.issued());
        }
        self.failed = Some((Instant::now(), failure.clone()));
        Err(failure)
    }
}

impl Held {
    fn issued(&self) -> Issued {
        Issued { token: self.token.clone(), origin: self.origin.clone(), cached: true }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({}, {:?})", self.0.source, self.0.audience)
    }
}

#[cfg(test)]
mod tests;
