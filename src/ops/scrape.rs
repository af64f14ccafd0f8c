//! Scrapes of the metrics. Peers that wait for the same scrape share it.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::time::Instant;

use super::turns::Turns;
use crate::metrics::{Exposition, Format};
use crate::sync::lock;

/// Scrapes the metrics. A clone is a handle of the same.
#[derive(Clone)]
pub(super) struct Scrapes {
    encode: Arc<dyn Fn(Format) -> String + Send + Sync>,
    turns: Turns,
    last: Arc<Mutex<Option<Scrape>>>,
}

#[derive(Debug, Clone)]
struct Scrape {
    format: Format,
    started: Instant,
    text: Bytes,
}

impl fmt::Debug for Scrapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrapes").finish_non_exhaustive()
    }
}

impl Scrapes {
    pub(super) fn of(exposition: Exposition) -> Self {
        Self::by(move |format| exposition.encode(format))
    }

    fn by(encode: impl Fn(Format) -> String + Send + Sync + 'static) -> Self {
        Self { encode: Arc::new(encode), turns: Turns::default(), last: Arc::default() }
    }

    /// Returns the metrics as of now or later. `None` if a metric panicked, or if the runtime ends.
    pub(super) async fn text(&self, format: Format) -> Option<Bytes> {
        let asked = Instant::now();
        let mut turn = self.turns.take().await;
        let is_shared = |last: &&Scrape| last.format == format && last.started >= asked;
        if let Some(last) = lock(&self.last).as_ref().filter(is_shared) {
            return Some(last.text.clone());
        }
        turn.begin().await;
        let (encode, last) = (Arc::clone(&self.encode), Arc::clone(&self.last));
        // The thread has the turn, so that a peer that disconnects lets no other scrape begin meanwhile.
        let scrape = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let text = Bytes::from(encode(format));
            *lock(&last) = Some(Scrape { format, started, text: text.clone() });
            drop(turn);
            text
        });
        scrape.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn waiting_peers_share_the_next_scrape_of_their_format() {
        let (count, (permit, permits)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
        let (counter, permits) = (Arc::clone(&count), StdMutex::new(permits));
        let scrapes = Scrapes::by(move |format| {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            permits.lock().unwrap().recv().unwrap();
            format!("{format:?} {number}")
        });
        let first = tokio::spawn({
            let scrapes = scrapes.clone();
            async move { scrapes.text(Format::Prometheus).await.unwrap() }
        });
        while count.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let others = join_all((0..50).map(|_| scrapes.text(Format::Prometheus)));
        (0..3).for_each(|_| permit.send(()).unwrap());
        let others = others.await;
        assert_eq!(first.await.unwrap(), "Prometheus 0");
        assert!(others.iter().all(|text| text.as_deref() == Some(b"Prometheus 1")), "{others:?}");
        assert_eq!(scrapes.text(Format::OpenMetrics).await.as_deref(), Some(&b"OpenMetrics 2"[..]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn scrape_that_panics_answers_nothing_and_the_next_is_made() {
        let is_first = AtomicUsize::new(0);
        let scrapes = Scrapes::by(move |_| {
            assert_ne!(is_first.fetch_add(1, Ordering::Relaxed), 0, "the first");
            "text".to_owned()
        });
        assert_eq!(scrapes.text(Format::Prometheus).await, None);
        assert_eq!(scrapes.text(Format::Prometheus).await.as_deref(), Some(&b"text"[..]));
    }
}
