//! One place where a parent may answer: its channel, and whether it is left aside.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tracing::{debug, info, warn};

use super::files::Files;
use crate::client::Address;
use crate::client::direct::{self, Target};
use crate::credential::ParentName;
use crate::jitter;
use crate::sync::lock;

/// Time limit of TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for which a node is left aside after its first failure. Each further failure in a row doubles it.
const FIRST_ASIDE: Duration = Duration::from_secs(1);
const LONGEST_ASIDE: Duration = Duration::from_secs(30);

/// A node of a parent.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: ParentName,
    pub(super) address: Address,
    pub(super) target: Target,
    files: Arc<Files>,
    state: Mutex<State>,
    /// Held while connecting, so that concurrent calls share one attempt.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    channel: Option<Link>,
    failures_in_a_row: u32,
    aside_until: Option<Instant>,
    /// The end of the last failed attempt to connect, and why it failed.
    unconnected: Option<(Instant, String)>,
}

/// A channel to a node. A clone shares the connection.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) channel: Channel,
    opened: Instant,
}

impl Node {
    pub(super) fn new(parent: ParentName, address: Address, target: Target, files: Arc<Files>) -> Self {
        let (state, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { parent, address, target, files, state, connecting }
    }

    /// Returns whether this is the place where an address leads.
    pub(super) fn is_at(&self, address: &Address, target: &Target) -> bool {
        self.address == *address && self.target == *target
    }

    /// Returns the time until which the node is left aside, if it is.
    pub(super) fn aside_until(&self) -> Option<Instant> {
        lock(&self.state).aside_until.filter(|until| *until > Instant::now())
    }

    /// Returns a link, and whether it was opened for this call. Calls that come meanwhile share the attempt and its failure.
    pub(super) async fn link(&self) -> Result<(Link, bool), String> {
        if let Some(link) = self.open_link() {
            return Ok((link, false));
        }
        let asked = Instant::now();
        let _turn = self.connecting.lock().await;
        if let Some(link) = self.open_link() {
            return Ok((link, true));
        }
        if let Some((_, why)) = lock(&self.state).unconnected.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(why.clone());
        }
        let connected = timeout(CONNECT_TIMEOUT, self.connect()).await;
        let connected = connected.unwrap_or_else(|_| Err("connection timed out".to_owned()));
        let (mut state, now) = (lock(&self.state), Instant::now());
        match connected {
            Ok(channel) => {
                let link = Link { channel, opened: now };
                state.channel = Some(link.clone());
                Ok((link, true))
            }
            Err(why) => {
                state.unconnected = Some((now, why.clone()));
                Err(why)
            }
        }
    }

    fn open_link(&self) -> Option<Link> {
        lock(&self.state).channel.clone()
    }

    async fn connect(&self) -> Result<Channel, String> {
        let endpoint = self.files.endpoint(&self.address).await?;
        direct::open(&endpoint, self.target.clone()).await
    }

    /// Drops a link whose connection was lost, so that the next call opens one with the certificates of that time.
    pub(super) fn drop_link(&self, lost: &Link) {
        let mut state = lock(&self.state);
        if state.channel.as_ref().is_some_and(|link| link.opened == lost.opened) {
            state.channel = None;
        }
    }

    /// Records that the node does not answer, and leaves it aside for a while.
    pub(super) fn failed(&self, why: &str) {
        let mut state = lock(&self.state);
        let aside = FIRST_ASIDE.saturating_mul(2_u32.saturating_pow(state.failures_in_a_row)).min(LONGEST_ASIDE);
        state.aside_until = Some(Instant::now() + jitter::around(aside));
        state.failures_in_a_row += 1;
        let (parent, target) = (&self.parent, &self.target);
        if state.failures_in_a_row == 1 {
            warn!(%parent, address = %self.address, %target, why, "parent address left aside");
        } else {
            debug!(%parent, address = %self.address, %target, why, "parent address left aside");
        }
    }

    /// Records an answer.
    pub(super) fn answered(&self) {
        let mut state = lock(&self.state);
        if state.failures_in_a_row > 0 {
            (state.failures_in_a_row, state.aside_until) = (0, None);
            info!(parent = %self.parent, address = %self.address, target = %self.target, "parent address answers again");
        }
    }
}
