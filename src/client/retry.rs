//! Credentials with retry: the client repeats requests with transient failures until the deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Client;
use super::answer;
use super::connection::Connection;
use super::failure::Failure;
use super::query::Query;
use crate::jitter;
use crate::pb::batch_result::Result as BatchOutcome;
use crate::pb::{BatchGetRegistryCredentialsRequest, BatchResult, GetRegistryCredentialsRequest, RegistryCredentials};
use crate::protocol::MAX_REQUESTS;

/// Shortest wait before a retry, and the least time that must remain for the retry itself.
const MIN_WAIT: Duration = Duration::from_millis(100);

type CredentialsResult = Result<RegistryCredentials, Failure>;

impl Client<'_> {
    /// Requests the credentials of one registry host, URL or image reference, and repeats the request as [`credentials`] does.
    ///
    /// # Errors
    /// Returns the broker's last error, or why the call failed.
    ///
    /// [`credentials`]: Self::credentials
    pub async fn credentials_of(&mut self, registry: &str) -> CredentialsResult {
        let query = Query::new(registry);
        let results = self.credentials(std::slice::from_ref(&query)).await?;
        results.into_iter().next().unwrap_or_else(|| Err(Failure::empty_response()))
    }

    /// Requests credentials, several as a batch, and returns the results in the order of the queries.
    ///
    /// A result with a retry delay is requested again while time remains.
    ///
    /// # Errors
    /// Returns the failure of the call as a whole.
    pub async fn credentials(&mut self, queries: &[Query]) -> Result<Vec<CredentialsResult>, Failure> {
        let all: Vec<_> = (0..queries.len()).collect();
        let mut results = self.get_reconnecting(&all, queries).await?;
        loop {
            let waits = results.iter().enumerate().filter_map(|(at, result)| Some((at, self.retry_wait(result)?)));
            let (pending, waits): (Vec<_>, Vec<_>) = waits.unzip();
            let Some(wait) = waits.into_iter().max() else { return Ok(results) };
            debug!(?wait, registries = pending.len(), "request repeated after the broker's delay");
            sleep(wait).await;
            // A failed retry does not replace the results of the first call.
            let Ok(retried) = self.get_reconnecting(&pending, queries).await else { return Ok(results) };
            let mut without_answer = false;
            for (at, result) in pending.into_iter().zip(retried) {
                if result.as_ref().is_err_and(|failure| failure.reason.is_none()) {
                    without_answer = true;
                } else {
                    results[at] = result;
                }
            }
            if without_answer {
                return Ok(results);
            }
        }
    }

    /// Returns the wait before a retry, if a retry may help and time remains.
    ///
    /// The wait is the broker's delay plus up to 25 % jitter, so that clients do not retry at the same time.
    fn retry_wait(&self, result: &CredentialsResult) -> Option<Duration> {
        let wait = result.as_ref().err()?.retry_after?.max(MIN_WAIT);
        let wait = jitter::at_least(wait, 0.25);
        (Instant::now() + wait + MIN_WAIT < self.connection.deadline).then_some(wait)
    }

    async fn get_reconnecting(
        &mut self,
        positions: &[usize],
        queries: &[Query],
    ) -> Result<Vec<CredentialsResult>, Failure> {
        self.call(|connection| async move { connection.get(positions, queries).await }).await
    }
}

impl Connection<'_> {
    /// Requests the queries at these positions, in as many batches as they need.
    async fn get(&self, positions: &[usize], queries: &[Query]) -> Result<Vec<CredentialsResult>, Failure> {
        if let [position] = positions {
            return self.get_one(&queries[*position]).await.map(|result| vec![result]);
        }
        let mut results = Vec::with_capacity(positions.len());
        for positions in positions.chunks(MAX_REQUESTS) {
            let all: Vec<_> = positions.iter().map(|position| &queries[*position]).collect();
            let batch = self.get_batch(all.iter().map(|query| (*query).into()).collect()).await?;
            results.extend(all.into_iter().zip(batch).map(|(query, result)| answer::for_query(query, result?)));
        }
        Ok(results)
    }

    /// Requests one registry. Any failure of the call except a lost connection belongs to the registry.
    async fn get_one(&self, query: &Query) -> Result<CredentialsResult, Failure> {
        match self.get_credentials(query.into()).await {
            Err(failure) if failure.connection_lost => Err(failure),
            result => Ok(result.and_then(|credentials| answer::for_query(query, credentials))),
        }
    }

    /// Requests several registries. A failure of the call that may be retried belongs to each of them.
    async fn get_batch(&self, requests: Vec<GetRegistryCredentialsRequest>) -> Result<Vec<CredentialsResult>, Failure> {
        let count = requests.len();
        let message = BatchGetRegistryCredentialsRequest { requests };
        let call = |request| async move { self.service().batch_get_registry_credentials(request).await };
        let results = match self.unary(message, call).await {
            Ok(response) => response.results,
            Err(failure) if failure.retry_after.is_some() => return Ok(vec![Err(failure); count]),
            Err(failure) => return Err(failure),
        };
        if results.len() != count {
            return Err(Failure::invalid_response(
                "invalid answer: requests and results differ in number; check the address",
            ));
        }
        Ok(results.into_iter().map(outcome).collect())
    }
}

fn outcome(result: BatchResult) -> CredentialsResult {
    match result.result {
        Some(BatchOutcome::Credentials(credentials)) => Ok(credentials),
        Some(BatchOutcome::Error(error)) => Err(Failure::from(error)),
        None => Err(Failure::invalid_response("invalid answer: a result is empty; check the address")),
    }
}
