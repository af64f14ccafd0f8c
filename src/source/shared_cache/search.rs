//! Search for a credential in the tier: its value, the lease to fetch it, or the result of the broker that has the lease.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::entry::Entry;
use super::note::Note;
use super::tier::{Tier, TierAnswer, TierError, etag};
use super::values::{Unusable, Values};
use crate::credential::Credential;
use crate::jitter;
use crate::source::FetchRequest;

/// Shortest and longest time between two questions while another broker has the lease.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Values that a search may refuse before it gives up: a tier that returns what was named as known would keep it busy.
const MAX_REFUSED: usize = 4;

/// The search of one fetch.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) tier: &'a dyn Tier,
    pub(super) values: &'a Values,
    pub(super) entry: &'a Entry,
    pub(super) request: &'a FetchRequest,
}

/// The result of a search.
#[derive(Debug)]
pub(super) enum Turn {
    /// Another broker's credential.
    Found(Box<Credential>),
    /// The fetch has the lease.
    Leased,
    /// The broker that had the lease failed a moment ago.
    PeerFailed(Note),
    /// The tier failed, or another broker took too long. The fetch works as without a tier, and stores nothing.
    Alone,
}

impl Search<'_> {
    pub(super) async fn run(&self) -> Turn {
        self.ask().await.unwrap_or(Turn::Alone)
    }

    async fn ask(&self) -> Result<Turn, TierError> {
        let give_up = give_up(self.request.deadline);
        let (mut known, mut pause, mut refused) = (None, FIRST_PAUSE, 0);
        while refused < MAX_REFUSED {
            match self.tier.get_or_lease(&self.entry.name, &self.entry.owner, known.as_deref()).await? {
                TierAnswer::Value { sealed, ttl } => match self.values.open(self.entry, &sealed, ttl, self.request) {
                    Ok(credential) => return Ok(Turn::Found(Box::new(credential))),
                    Err(unusable) => {
                        refused += 1;
                        known = self.pass_over(&sealed, &unusable).await?;
                        continue;
                    }
                },
                TierAnswer::Leased => return Ok(Turn::Leased),
                TierAnswer::Failed { note, .. } => {
                    if let Some(note) = Note::parse(&note) {
                        return Ok(Turn::PeerFailed(note));
                    }
                }
                TierAnswer::Held { .. } => {}
            }
            let next = Instant::now() + jitter::around(pause);
            if next >= give_up {
                break;
            }
            sleep_until(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(Turn::Alone)
    }

    /// Returns the `ETag` that the next question names, so that the tier does not return the value again. A value without one is deleted,
    /// and so is one that the registry rejected, or that outlived a denial.
    async fn pass_over(&self, sealed: &[u8], unusable: &Unusable) -> Result<Option<Vec<u8>>, TierError> {
        let etag = etag(sealed);
        if etag.is_none() || matches!(unusable, Unusable::Rejected | Unusable::Denied) {
            self.tier.invalidate(&self.entry.name, etag).await?;
            return Ok(None);
        }
        Ok(etag.map(<[u8]>::to_vec))
    }
}

/// Returns when three quarters of the time to the deadline have passed. The rest is for a call to the source.
fn give_up(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) * 3 / 4
}
