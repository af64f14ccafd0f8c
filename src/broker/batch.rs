//! Several requests of one call. Those that receive the same credential have one audit record, which counts them: else one call could
//! write a hundred equal lines.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::Broker;
use super::authorization::Authorization;
use super::released::Released;
use super::request::CredentialRequest;
use crate::cache::Found;
use crate::credential::CredentialId;
use crate::error::BrokerError;

/// A request that is allowed.
struct Item<'a> {
    /// Its place in the call.
    index: usize,
    request: &'a CredentialRequest,
    authorization: Authorization,
}

/// The result of the request at a place in the call.
type Indexed = (usize, Result<Released, BrokerError>);

impl Broker {
    /// Returns the results of several requests of one call, in their order. A request that waits delays only those that wait for the
    /// same credential, and ends at `deadline`.
    pub async fn registry_credentials_of_each(
        &self,
        requests: &[CredentialRequest],
        deadline: Instant,
    ) -> Vec<Result<Released, BrokerError>> {
        let attempts: Vec<_> = requests.iter().map(|_| self.metrics.begin()).collect();
        let policy = self.authorizer.active_policy();
        let authorize = |request| timeout_at(deadline, self.authorizer.authorize(request, Arc::clone(&policy)));
        let authorized = join_all(requests.iter().map(authorize)).await;
        let (mut results, mut groups) = (Vec::with_capacity(requests.len()), HashMap::<_, Vec<_>>::new());
        for (index, (request, authorized)) in requests.iter().zip(authorized).enumerate() {
            let authorization = authorized.unwrap_or(Err(BrokerError::Deadline));
            results.push(authorization.map(|authorization| {
                let same = (authorization.key.clone(), request.target.alias.clone(), authorization.grant.clone());
                groups.entry(same).or_default().push(Item { index, request, authorization });
            }));
        }
        let groups = join_all(groups.into_values().map(|items| self.release_group(items, deadline))).await;
        let mut released: HashMap<_, _> = groups.into_iter().flatten().collect();
        let missing = || Err(BrokerError::Internal);
        let result = |(index, allowed): (usize, Result<(), BrokerError>)| {
            allowed.and_then(|()| released.remove(&index).unwrap_or_else(missing))
        };
        let results: Vec<_> = results.into_iter().enumerate().map(result).collect();
        attempts.into_iter().zip(&results).for_each(|(attempt, result)| attempt.end(result));
        results
    }

    /// Releases the credentials of requests for the same key: nearly always one.
    async fn release_group(&self, items: Vec<Item<'_>>, deadline: Instant) -> Vec<Indexed> {
        let find = |item: &Item<'_>| timeout_at(deadline, self.cache.get(item.authorization.lookup(item.request)));
        let found = join_all(items.iter().map(find)).await;
        let (mut results, mut by_credential) = (Vec::new(), HashMap::<CredentialId, Vec<_>>::new());
        for (item, found) in items.iter().zip(found) {
            match found.unwrap_or(Err(BrokerError::Deadline)) {
                Ok(found) => by_credential.entry(found.credential.id()).or_default().push((item, found)),
                Err(error) => results.push((item.index, Err(error))),
            }
        }
        for same in by_credential.into_values() {
            results.extend(self.release_same(same, deadline).await);
        }
        results
    }

    /// Releases one credential to requests with the same key, alias and grant.
    async fn release_same(&self, same: Vec<(&Item<'_>, Found)>, deadline: Instant) -> Vec<Indexed> {
        let (items, found): (Vec<_>, Vec<_>) = same.into_iter().unzip();
        let Some(Item { request, authorization, .. }) = items.first() else { return Vec::new() };
        let released = timeout_at(deadline, self.releaser.release_each(request, authorization, found)).await;
        let indexes = items.iter().map(|item| item.index);
        match released.unwrap_or(Err(BrokerError::Deadline)) {
            Ok(released) => indexes.zip(released.into_iter().map(Ok)).collect(),
            Err(error) => indexes.map(|index| (index, Err(error.clone()))).collect(),
        }
    }
}
