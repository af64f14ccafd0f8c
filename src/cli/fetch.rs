//! Fetches credentials once, with an error line for each failure.

use tokio::time::timeout;

use crate::client::{CacheStatus, Client, Failure, Query, RegistryCredentials, Settings, Watch, WatchEvent, block_on};
use crate::exit_code::Exit;
use crate::terminal::print_error;

/// The result of a fetch.
pub(super) struct Fetched {
    /// The credentials of the registries that did not fail.
    pub(super) credentials: Vec<RegistryCredentials>,
    /// The exit code of the first failure.
    pub(super) exit: Exit,
}

/// Fetches the credentials of all queries in one call, and prints each failure.
pub(super) fn fetch(settings: &Settings, queries: &[Query]) -> anyhow::Result<Fetched> {
    Ok(block_on(fetch_queries(settings, queries))?)
}

/// Fetches credentials that are not older than this call: those from the cache are reported as rejected, and others requested.
pub(super) fn fetch_fresh(settings: &Settings, mut queries: Vec<Query>) -> anyhow::Result<Fetched> {
    let results = block_on(async {
        let mut client = Client::connect(settings).await?;
        let mut results = client.credentials(&queries).await?;
        let is_cached = |result: &Result<RegistryCredentials, Failure>| {
            let cached = result.as_ref().ok()?;
            let is_new = matches!(cached.cache_status(), CacheStatus::Miss | CacheStatus::Coalesced);
            (!is_new).then(|| cached.credential_id.clone())
        };
        let cached: Vec<_> =
            results.iter().enumerate().filter_map(|(at, result)| Some((at, is_cached(result)?))).collect();
        if cached.is_empty() {
            return Ok(results);
        }
        for (at, id) in &cached {
            queries[*at].rejected.clone_from(id);
        }
        let again: Vec<_> = cached.iter().map(|(at, _)| queries[*at].clone()).collect();
        for ((at, _), result) in cached.iter().zip(client.credentials(&again).await?) {
            results[*at] = result;
        }
        Ok(results)
    })?;
    Ok(report(&queries, results))
}

/// Fetches the credentials of all queries in one call; without queries, those of all registries that the caller's grants name. Prints
/// each failure.
pub(super) async fn fetch_all(settings: &Settings, queries: &[Query]) -> Fetched {
    if queries.is_empty() { fetch_granted(settings).await } else { fetch_queries(settings, queries).await }
}

async fn fetch_queries(settings: &Settings, queries: &[Query]) -> Fetched {
    let results = async { Client::connect(settings).await?.credentials(queries).await };
    report(queries, results.await)
}

/// Fetches the snapshot of a watch.
async fn fetch_granted(settings: &Settings) -> Fetched {
    let mut fetched = Fetched { credentials: Vec::new(), exit: Exit::Success };
    let mut watch = Watch::new(settings, &[]);
    let snapshot = timeout(settings.timeout, fetched.collect(&mut watch)).await;
    if let Some(failure) = snapshot.unwrap_or_else(|_| Some(Failure::timed_out())) {
        print_error(&failure);
        fetched.exit = Exit::from(&failure);
    }
    fetched
}

impl Fetched {
    /// Collects the snapshot of a watch; returns a failure of the watch itself.
    async fn collect(&mut self, watch: &mut Watch<'_>) -> Option<Failure> {
        loop {
            match watch.next().await {
                WatchEvent::Credentials(credentials) => self.credentials.push(*credentials),
                WatchEvent::RegistryFailed(registry, failure) => self.note(&registry, &failure),
                WatchEvent::SnapshotComplete => return None,
                WatchEvent::WatchFailed(failure) => return Some(failure),
                WatchEvent::Unchanged(..) | WatchEvent::Ended | WatchEvent::Unknown => {}
            }
        }
    }

    fn note(&mut self, registry: &str, failure: &Failure) {
        print_error(format_args!("{registry}: {failure}"));
        if self.exit == Exit::Success {
            self.exit = Exit::from(failure);
        }
    }
}

/// Prints each failure.
fn report(queries: &[Query], results: Result<Vec<Result<RegistryCredentials, Failure>>, Failure>) -> Fetched {
    let mut fetched = Fetched { credentials: Vec::new(), exit: Exit::Success };
    let results = match results {
        Ok(results) => results,
        Err(failure) => {
            print_error(&failure);
            return Fetched { exit: Exit::from(&failure), ..fetched };
        }
    };
    for (query, result) in queries.iter().zip(results) {
        match result {
            Ok(credentials) => fetched.credentials.push(credentials),
            Err(failure) => fetched.note(&query.registry, &failure),
        }
    }
    fetched
}
