//! The target that is a set of Kubernetes Secrets.
//!
//! It reads each Secret again at an interval, and needs neither `list` nor `watch` of Secrets, which would show it all others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;

use self::names::{Names, unlisted};
use self::reconcile::{Due, Outcome};
use self::slot::{Backoff, Slot, left_behind};
use self::template::Layout;
use self::wanted::{KnownIds, Wanted};
use super::auth_entries::AuthEntries;
use super::target::{INTERVAL, Problem, Target, Update};
use crate::jitter;
use crate::kubernetes::{Api, ApiError, Scope, SecretName};
use crate::moment::Moment;

pub(super) use self::args::{SecretsArgs, run};
pub(super) use self::names::SecretArg;

mod args;
mod held;
mod memory;
mod names;
mod reconcile;
mod remove;
mod slot;
mod template;
#[cfg(test)]
mod tests;
mod wanted;

/// Calls at the same time.
const PARALLEL: usize = 8;
/// Share of each Secret in the interval of checks: many Secrets cause at most two reads a second.
const CHECK_SHARE: Duration = Duration::from_millis(500);
/// The subject of problems with the API server.
const SERVER: &str = "Kubernetes API";

/// A set of Secrets with the same credentials.
struct SecretsTarget {
    api: Api,
    layout: Layout,
    names: Names,
    /// Requested hosts; empty: all registries that the caller's grants name.
    requested: BTreeSet<String>,
    slots: BTreeMap<SecretName, Slot>,
    known: KnownIds,
    /// Time of the next list of namespaces.
    list_due: Moment,
    list_problem: Option<Problem>,
    server: Server,
}

/// The API server's state.
#[derive(Debug, Default)]
struct Server {
    /// Its failure, and the time of the next attempt.
    failure: Option<(Problem, Moment)>,
    backoff: Backoff,
}

impl Server {
    fn is_waiting(&self, now: Moment) -> Option<Duration> {
        self.failure.as_ref().map(|(_, until)| now.until(*until)).filter(|left| !left.is_zero())
    }

    fn failed(&mut self, server: &str, error: &ApiError, now: Moment) {
        let text = format!("Kubernetes API at {server}: {error}; Secrets stay as they are until it answers");
        let problem = Problem { subject: SERVER.to_owned(), text, exit: error.exit };
        self.failure = Some((problem, now.after(self.backoff.next(error.retry_after))));
    }

    /// Returns whether it had failed.
    fn answered(&mut self) -> bool {
        self.backoff = Backoff::default();
        self.failure.take().is_some()
    }
}

impl SecretsTarget {
    fn new(api: Api, layout: Layout, names: Names, requested: BTreeSet<String>, now: Moment) -> Self {
        let slots = names.fixed().map(|name| (name.clone(), Slot::new(now))).collect();
        Self {
            api,
            layout,
            names,
            requested,
            slots,
            known: KnownIds::default(),
            list_due: now,
            list_problem: None,
            server: Server::default(),
        }
    }

    /// Looks at the Secrets that are due. Stops if the API server does not answer: then all stay due.
    async fn round(&mut self, entries: &AuthEntries, now: Moment, update: &mut Update) -> Result<(), ApiError> {
        self.list_namespaces(now).await?;
        let (results, stopped) = self.reconciled(entries, now).await;
        let check = INTERVAL.max(CHECK_SHARE.saturating_mul(self.slots.len().try_into().unwrap_or(u32::MAX)));
        for (name, result) in results {
            if let Ok(Outcome::Fresh(Some(line), _)) = &result {
                update.changes.push(line.clone());
            }
            update.notes.extend(self.settle(&name, result, now, check));
        }
        stopped.map_or(Ok(()), Err)
    }

    async fn reconciled(
        &mut self,
        entries: &AuthEntries,
        now: Moment,
    ) -> (Vec<(SecretName, Result<Outcome, ApiError>)>, Option<ApiError>) {
        let Self { api, layout, slots, known, requested, .. } = self;
        let (api, layout, wanted) = (&*api, &*layout, Wanted { entries, known, requested, now });
        let calls = due(slots, now).into_iter().map(|(name, slot)| {
            let wanted = Some(&wanted).filter(|_| !slot.is_leaving);
            let due = Due { api, name, layout, wanted, memory: &mut slot.memory };
            async move { (name.clone(), due.reconcile().await) }
        });
        let mut calls = stream::iter(calls).buffer_unordered(PARALLEL);
        let mut results = Vec::new();
        while let Some((name, result)) = calls.next().await {
            match result {
                Err(error) if error.scope == Scope::Server => return (results, Some(error)),
                result => results.push((name, result)),
            }
        }
        (results, None)
    }

    /// Notes the result of a Secret. Returns lines about one that leaves with its credential.
    fn settle(
        &mut self,
        name: &SecretName,
        result: Result<Outcome, ApiError>,
        now: Moment,
        check: Duration,
    ) -> Vec<String> {
        let Some(slot) = self.slots.get_mut(name) else { return Vec::new() };
        let is_transient = result.as_ref().is_err_and(ApiError::is_transient);
        if slot.is_leaving && !is_transient {
            // The permission may have gone with the label: a later attempt would not help.
            self.slots.remove(name);
            return left_behind(name, result);
        }
        match result {
            Ok(Outcome::Fresh(_, left)) => {
                let next = jitter::around(check);
                slot.settled(None, now.after(left.map_or(next, |left| left.min(next))));
            }
            Ok(Outcome::Kept(problem)) => slot.settled(Some(problem), now.after(jitter::around(check))),
            Err(error) => slot.failed(name, &error, now),
        }
        Vec::new()
    }

    /// Lists the selected namespaces. A failure leaves the known ones.
    async fn list_namespaces(&mut self, now: Moment) -> Result<(), ApiError> {
        let Some(selector) = self.names.selector().filter(|_| now.until(self.list_due).is_zero()) else {
            return Ok(());
        };
        let listed = self.api.namespaces(selector).await;
        self.list_due = now.after(jitter::around(INTERVAL));
        match listed {
            Ok(namespaces) => {
                let fix = "label one, or correct --namespace-selector";
                self.list_problem = self.names.without_match(&namespaces, fix);
                self.select(&self.names.in_namespaces(&namespaces), now);
                Ok(())
            }
            Err(error) if error.scope == Scope::Server => {
                self.list_due = now;
                Err(error)
            }
            Err(error) => {
                self.list_problem = Some(unlisted(&error));
                Ok(())
            }
        }
    }

    /// Adds the Secrets of new namespaces, and lets those of namespaces without the label leave.
    fn select(&mut self, selected: &BTreeSet<SecretName>, now: Moment) {
        for (name, slot) in &mut self.slots {
            let is_leaving = !selected.contains(name);
            if slot.is_leaving != is_leaving {
                slot.is_leaving = is_leaving;
                slot.due = now;
            }
        }
        for name in selected {
            self.slots.entry(name.clone()).or_insert_with(|| Slot::new(now));
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let server = self.server.failure.iter().map(|(problem, _)| problem);
        let slots = self.slots.values().filter_map(|slot| slot.problem.as_ref());
        server.chain(&self.list_problem).chain(slots).cloned().collect()
    }
}

/// Returns the Secrets that are due: those that have not failed, then as many others as are called at the same time. So an admission
/// webhook that hangs for some namespaces delays the others by at most one call.
fn due(slots: &mut BTreeMap<SecretName, Slot>, now: Moment) -> Vec<(&SecretName, &mut Slot)> {
    let due = slots.iter_mut().filter(|(_, slot)| now.until(slot.due).is_zero());
    let (mut failing, mut due): (Vec<_>, Vec<_>) = due.partition(|(_, slot)| slot.is_failing());
    failing.sort_by_key(|(_, slot)| Reverse(now.since(slot.due)));
    due.extend(failing.into_iter().take(PARALLEL));
    due
}

impl Target for SecretsTarget {
    async fn update(&mut self, entries: &AuthEntries, now: Moment) -> Update {
        if self.known.observe(entries) {
            for slot in self.slots.values_mut() {
                slot.due = now;
            }
        }
        let mut update = Update::default();
        if self.server.is_waiting(now).is_none() {
            match self.round(entries, now, &mut update).await {
                Ok(()) if self.server.answered() => update.notes.push(format!("{SERVER} answers again")),
                Ok(()) => {}
                Err(error) => self.server.failed(self.api.server(), &error, now),
            }
        }
        update.problems = self.problems();
        update
    }

    fn pause(&self, now: Moment) -> Duration {
        if let Some(left) = self.server.is_waiting(now) {
            return left;
        }
        let list = self.names.selector().map(|_| self.list_due);
        let due = self.slots.values().map(|slot| slot.due).chain(list);
        due.map(|due| now.until(due)).min().unwrap_or(INTERVAL).min(INTERVAL)
    }

    fn name(&self) -> String {
        match (self.slots.len(), self.slots.keys().next()) {
            (1, Some(name)) => name.to_string(),
            (count, _) => format!("each of {count} Secrets"),
        }
    }
}
