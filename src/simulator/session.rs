//! Who calls: the one user there is, or the session of a role that was assumed here.

use std::collections::{HashMap, VecDeque};

use data_encoding::BASE32_NOPAD;
use sha2::{Digest as _, Sha256};

use super::role::Role;
use super::token::random_text;
use crate::registry::{AccountId, Partition};

/// How many sessions are remembered; who holds an older one's credentials is the user again.
const REMEMBERED: usize = 10_000;
/// Ids of users and roles are a prefix and 17 letters and digits.
const UNIQUE_ID: usize = 17;
const USER: &str = "simulated";

/// An identity in IAM.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) account: AccountId,
    pub(super) arn: String,
    /// Of a session the role's, which stays the same from one to the next; of a user its own.
    pub(super) role_arn: String,
    pub(super) id: String,
    pub(super) is_session: bool,
    /// What was set by the first of the roles that set one; it stays.
    pub(super) source_identity: Option<String>,
}

/// The sessions of assumed roles, by the access keys they were given.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    principals: HashMap<String, Principal>,
    oldest_first: VecDeque<String>,
}

/// The credentials of a session.
pub(super) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) session_token: String,
}

impl Principal {
    pub(super) fn user(partition: Partition, account: AccountId) -> Self {
        let arn = format!("arn:{}:iam::{account}:user/{USER}", partition.name());
        Self {
            account,
            id: unique_id("AIDA", &arn),
            role_arn: arn.clone(),
            arn,
            is_session: false,
            source_identity: None,
        }
    }

    pub(super) fn session(role: &Role, session_name: &str, source_identity: Option<String>) -> Self {
        let Role { partition, account, name } = role;
        let partition = partition.name();
        let role_arn = format!("arn:{partition}:iam::{account}:role/{name}");
        let role_id = unique_id("AROA", &role_arn);
        Self {
            account: *account,
            arn: format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session_name}"),
            role_arn,
            id: format!("{role_id}:{session_name}"),
            is_session: true,
            source_identity,
        }
    }
}

/// The same ARN has the same id in every run.
fn unique_id(prefix: &str, arn: &str) -> String {
    let mut id = BASE32_NOPAD.encode(&Sha256::digest(arn));
    id.truncate(UNIQUE_ID);
    format!("{prefix}{id}")
}

impl Sessions {
    pub(super) fn principal(&self, access_key: &str) -> Option<Principal> {
        self.principals.get(access_key).cloned()
    }

    /// All that are remembered, the oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Principal> {
        self.oldest_first.iter().filter_map(|key| self.principals.get(key))
    }

    /// Remembers a session by its new credentials, and forgets the oldest where there are too many.
    pub(super) fn open(&mut self, principal: Principal) -> Credentials {
        if self.oldest_first.len() >= REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.principals.remove(&oldest);
        }
        let credentials = Credentials::new();
        self.oldest_first.push_back(credentials.access_key.clone());
        self.principals.insert(credentials.access_key.clone(), principal);
        credentials
    }
}

impl Credentials {
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

    #[test]
    fn the_oldest_sessions_are_forgotten() {
        let principal = Principal::user(Partition::Aws, "123456789012".parse().unwrap());
        let mut sessions = Sessions::default();
        let keys: Vec<_> = (0..REMEMBERED + 2).map(|_| sessions.open(principal.clone()).access_key).collect();
        let known: Vec<_> = keys.iter().map(|key| sessions.principal(key).is_some()).collect();
        assert_eq!(known[..3], [false, false, true]);
        assert!(known[3..].iter().all(|known| *known));
        assert_eq!(sessions.principals.len(), REMEMBERED);
    }
}
