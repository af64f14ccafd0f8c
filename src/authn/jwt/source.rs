//! Where an issuer's keys come from, and how they are kept up to date.
//!
//! Nobody's token makes the broker ask an issuer more than once in ten seconds, and what was fetched last stays good for a day when
//! the issuer cannot be reached.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Deserialize;
use tokio::sync::{Notify, Semaphore, watch};
use tracing::{info, warn};

use super::keys::{Key, KeyMark, KeySet, KeySetError};
use super::{Refusal, Settings};
use crate::clock::Clock;
use crate::follow_file::{FileFollower, Found};
use crate::moment::Moment;
use crate::quoted::Quoted;
use crate::sync::lock;
use crate::{jitter, trusted_file};

/// How often keys are fetched; a tenth more or less.
const FETCH_INTERVAL: Duration = Duration::from_mins(10);
/// A key that is not known may be new, but not more often than so.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// Keys that could not be fetched again are good for so long.
const LONGEST_USE: Duration = Duration::from_hours(24);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the document and the keys together.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: usize = 256 * 1024;
/// Calls that wait for an issuer's keys.
const MOST_WAITING: usize = 1024;

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// Where the issuer's own discovery document says (`OpenID` Connect Discovery 1.0).
    Discovery,
    /// In a file, which is read again when it changes.
    File(PathBuf),
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    issuer: String,
    from: Keys,
    /// For [`Keys::Discovery`].
    client: reqwest::Client,
    held: ArcSwap<Held>,
    /// The file as it was at the start.
    text: Vec<u8>,
    round: Mutex<Round>,
    rounds: watch::Sender<u64>,
    wanted: Notify,
    waiting: Semaphore,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Held {
    keys: KeySet,
    /// None: they do not age.
    fetched: Option<Moment>,
}

#[derive(Debug)]
struct Round {
    in_flight: bool,
    /// When the last one ended, by the steady clock.
    ended: Option<Duration>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    pub(super) fn load(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, KeySetError> {
        let (held, text) = match &settings.keys {
            Keys::Discovery => (Held::default(), Vec::new()),
            Keys::File(path) => {
                let (keys, text) = read_file(path)?;
                (Held { keys, ..Held::default() }, text)
            }
        };
        Ok(Self {
            name: settings.name.clone(),
            issuer: settings.issuer.clone(),
            from: settings.keys.clone(),
            client: client(settings)?,
            held: ArcSwap::from_pointee(held),
            text,
            // The first fetch is on its way.
            round: Mutex::new(Round { in_flight: true, ended: None }),
            rounds: watch::Sender::new(0),
            wanted: Notify::new(),
            waiting: Semaphore::new(MOST_WAITING),
            clock,
        })
    }

    /// A key by its id; one that is not known is fetched for, but not often.
    pub(super) async fn key(&self, id: &str) -> Result<Key, Refusal> {
        if let Some(key) = self.held_key(id) {
            return Ok(key);
        }
        let mut rounds = self.rounds.subscribe();
        if self.from == Keys::Discovery && self.ask() {
            let _place = self.waiting.try_acquire().map_err(|_| Refusal::KeysUnavailable)?;
            // It ends in time, for the fetch does.
            _ = rounds.changed().await;
        }
        self.held_key(id).ok_or_else(|| if self.is_stale() { Refusal::KeysUnavailable } else { Refusal::KeyUnknown })
    }

    /// Whether a key is the issuer's still.
    pub(super) fn has(&self, mark: &KeyMark) -> bool {
        !self.is_stale() && self.held.load().keys.has(mark)
    }

    fn held_key(&self, id: &str) -> Option<Key> {
        if self.is_stale() { None } else { self.held.load().keys.get(id).cloned() }
    }

    fn hold(&self, keys: KeySet, fetched: Option<Moment>) {
        self.held.store(Arc::new(Held { keys, fetched }));
    }

    /// Whether what is held is too old, or nothing was ever fetched.
    fn is_stale(&self) -> bool {
        match (&self.from, self.held.load().fetched) {
            (Keys::File(_), _) => false,
            (Keys::Discovery, None) => true,
            (Keys::Discovery, Some(fetched)) => self.clock.now().until(fetched.after(LONGEST_USE)).is_zero(),
        }
    }

    /// Whether a fetch is on its way.
    fn ask(&self) -> bool {
        let mut round = lock(&self.round);
        let cooling = round.ended.is_some_and(|ended| self.clock.now().steady.saturating_sub(ended) < COOL_DOWN);
        if !round.in_flight && !cooling {
            round.in_flight = true;
            self.wanted.notify_one();
        }
        round.in_flight
    }

    pub(super) async fn follow(self: Arc<Self>) {
        match &self.from {
            Keys::File(path) => self.follow_file(path).await,
            Keys::Discovery => self.follow_issuer().await,
        }
    }

    async fn follow_file(&self, path: &Path) {
        let path = path.to_owned();
        // A file that becomes unreadable settles like any other contents, so that a swap of files is not reported.
        let read = move || Ok::<_, Infallible>(trusted_file::read(&path));
        let mut follower = FileFollower::new("keys of an issuer", Ok(self.text.clone()), read);
        loop {
            let Found::Settled { contents, changed: true } = follower.next().await.found else { continue };
            let contents = contents.map_err(|error| error.to_string());
            match contents.and_then(|text| KeySet::read(&text).map_err(|error| error.to_string())) {
                Ok(keys) => {
                    self.hold(keys, None);
                    info!(issuer = self.name, "the issuer's keys were read again");
                }
                Err(error) => {
                    warn!(
                        issuer = self.name,
                        error, "the issuer's file of keys cannot be used; the old keys stay in force"
                    );
                }
            }
        }
    }

    async fn follow_issuer(&self) {
        loop {
            lock(&self.round).in_flight = true;
            let outcome = tokio::time::timeout(ANSWER_TIMEOUT, self.fetch(&self.client)).await;
            self.put_in_force(outcome.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_TIMEOUT:?}"))));
            self.until_due().await;
        }
    }

    /// Until the interval is over, or somebody asks. What was asked for while the last fetch began is done.
    async fn until_due(&self) {
        let interval = tokio::time::sleep(jitter::around(FETCH_INTERVAL));
        tokio::pin!(interval);
        loop {
            tokio::select! {
                () = &mut interval => return,
                () = self.wanted.notified() => if lock(&self.round).in_flight { return },
            }
        }
    }

    fn put_in_force(&self, outcome: Result<KeySet, String>) {
        let now = self.clock.now();
        match outcome {
            Ok(keys) => {
                let first = self.held.load().fetched.is_none();
                self.hold(keys, Some(now));
                if self.held.load().keys.is_empty() {
                    warn!(
                        issuer = self.name,
                        "the issuer has no key that can be used, and so none of its tokens is taken"
                    );
                } else if first {
                    info!(issuer = self.name, "the issuer's keys are there");
                }
            }
            Err(problem) => warn!(
                issuer = self.name,
                problem, "the issuer's keys cannot be fetched; those that are held stay in force"
            ),
        }
        *lock(&self.round) = Round { in_flight: false, ended: Some(now.steady) };
        self.rounds.send_modify(|round| *round += 1);
    }

    async fn fetch(&self, client: &reqwest::Client) -> Result<KeySet, String> {
        let place = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = get(client, &place).await?;
        let document: Discovery =
            serde_json::from_slice(&document).map_err(|_| format!("{place} is no discovery document"))?;
        if document.issuer != self.issuer {
            return Err(format!("{place} is the document of another issuer"));
        }
        if !is_safe_url(&document.jwks_uri) {
            return Err(format!("{place} names keys that are not to be had over https"));
        }
        let keys = get(client, &document.jwks_uri).await?;
        KeySet::read(&keys).map_err(|error| format!("the keys: {error}"))
    }
}

/// Whether what is got there comes from whom it says: over https, or from this host.
#[must_use]
pub fn is_safe_url(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let here = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    plain && (url.scheme() == "https" || url.scheme() == "http" && here)
}

fn read_file(path: &Path) -> Result<(KeySet, Vec<u8>), KeySetError> {
    let unreadable = |problem: String| KeySetError::Unreadable { path: path.to_owned(), problem };
    let text = trusted_file::read(path).map_err(|error| unreadable(error.to_string()))?;
    let keys = KeySet::read(&text).map_err(|error| unreadable(format!("cannot be used: {error}")))?;
    if keys.is_empty() {
        Err(unreadable(format!("cannot be used: {}", KeySetError::NoneUsable)))
    } else {
        Ok((keys, text))
    }
}

/// No redirect is followed: it could lead anywhere.
fn client(settings: &Settings) -> Result<reqwest::Client, KeySetError> {
    let mut builder =
        reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(reqwest::redirect::Policy::none());
    if settings.issuer.starts_with("http://") {
        // In the clear it stays on this host.
        builder = builder.no_proxy();
    }
    let Some(path) = &settings.ca_bundle else { return builder.build().map_err(|_| KeySetError::Malformed) };
    let unusable = |problem| KeySetError::CaBundle { path: path.clone(), problem };
    let pem = trusted_file::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(unusable("holds no certificates in PEM form".to_owned()));
    }
    builder.tls_certs_only(certificates).build().map_err(|error| unusable(format!("cannot be used: {error}")))
}

async fn get(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| format!("{}: {}", Quoted(url), error.without_url());
    let mut answer = client.get(url).send().await.map_err(failed)?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(format!("{}: {}", Quoted(url), answer.status()));
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&piece);
        if body.len() > LARGEST_ANSWER {
            return Err(format!("{}: more than {LARGEST_ANSWER} bytes", Quoted(url)));
        }
    }
    Ok(body)
}
