//! Sessions of assumed roles, and their credentials.

use std::collections::{HashMap, VecDeque};

use data_encoding::BASE32_NOPAD;

use super::principal::Principal;
use super::token::random_text;

/// The most sessions in memory. A caller with an older session's credentials is the user again.
const MAX_SESSIONS: usize = 10_000;

/// The sessions of assumed roles, by their access keys.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    principals: HashMap<String, Principal>,
    oldest_first: VecDeque<String>,
}

/// The credentials of a session.
pub(super) struct SessionCredentials {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) session_token: String,
}

impl Sessions {
    pub(super) fn principal(&self, access_key: &str) -> Option<Principal> {
        self.principals.get(access_key).cloned()
    }

    /// Returns the sessions in memory, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Principal> {
        self.oldest_first.iter().filter_map(|key| self.principals.get(key))
    }

    /// Adds a session with new credentials, and evicts the oldest session at the limit.
    pub(super) fn open(&mut self, principal: Principal) -> SessionCredentials {
        if self.oldest_first.len() >= MAX_SESSIONS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.principals.remove(&oldest);
        }
        let credentials = SessionCredentials::new();
        self.oldest_first.push_back(credentials.access_key.clone());
        self.principals.insert(credentials.access_key.clone(), principal);
        credentials
    }
}

impl SessionCredentials {
    fn new() -> Self {
        let access_key = BASE32_NOPAD.encode(&fastrand::u128(..).to_be_bytes()[..10]);
        Self {
            access_key: format!("ASIA{access_key}"),
            secret_key: random_text(30),
            session_token: random_text(fastrand::usize(300..=700)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Partition;

    #[test]
    fn oldest_sessions_are_evicted_at_the_limit() {
        let principal = Principal::user(Partition::Aws, "123456789012".parse().unwrap());
        let mut sessions = Sessions::default();
        let keys: Vec<_> = (0..MAX_SESSIONS + 2).map(|_| sessions.open(principal.clone()).access_key).collect();
        let known: Vec<_> = keys.iter().map(|key| sessions.principal(key).is_some()).collect();
        assert_eq!(known[..3], [false, false, true]);
        assert!(known[3..].iter().all(|known| *known));
        assert_eq!(sessions.principals.len(), MAX_SESSIONS);
    }
}
