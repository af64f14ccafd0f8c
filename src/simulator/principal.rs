//! IAM identities: the one user, and the sessions of roles.

use std::time::SystemTime;

use data_encoding::BASE32_NOPAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::role::Role;
use crate::registry::{AccountId, Partition};

/// The letters and digits after the prefix in the ID of a user or role.
const UNIQUE_ID: usize = 17;
const USER: &str = "simulated";

/// An IAM identity.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) account: AccountId,
    pub(super) arn: String,
    /// The ARN of the session's role, which all its sessions share; of a user the user's own ARN.
    pub(super) role_arn: String,
    pub(super) id: String,
    pub(super) is_session: bool,
    /// The source identity that the first role of the chain set; later roles keep it.
    pub(super) source_identity: Option<String>,
    /// The session tags.
    pub(super) tags: Vec<Tag>,
    /// The terms of a role session; `None`: of the one user.
    pub(super) session: Option<SessionTerms>,
}

/// A tag of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
    /// Whether sessions that this one assumes inherit it.
    pub(super) is_transitive: bool,
}

/// Times and policy of a role session.
#[derive(Debug, Clone)]
pub(super) struct SessionTerms {
    pub(super) policy: Option<Value>,
    pub(super) issued: SystemTime,
    pub(super) ends: SystemTime,
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
            tags: Vec::new(),
            session: None,
        }
    }

    pub(super) fn session(role: &Role, session_name: &str, source_identity: Option<String>, tags: Vec<Tag>) -> Self {
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
            tags,
            session: None,
        }
    }
}

/// Returns an ID that depends on the ARN alone, so that it is the same in every run.
fn unique_id(prefix: &str, arn: &str) -> String {
    let mut id = BASE32_NOPAD.encode(&Sha256::digest(arn));
    id.truncate(UNIQUE_ID);
    format!("{prefix}{id}")
}
