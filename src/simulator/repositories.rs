//! Repositories and the tokens that open them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::principal::Principal;
use crate::aws_wire::{AwsError, ecr};
use crate::registry::{AccountId, PrivateRegistry, Region};

/// The most repositories in memory.
const MAX_REPOSITORIES: usize = 1_000;
/// The most tokens in memory. An older token opens nothing.
const MAX_TOKENS: usize = 10_000;
const MAX_NAME: usize = 256;

/// Repositories with their policies, and tokens with the identities that requested them.
#[derive(Debug, Default)]
pub(super) struct Repositories {
    policies: BTreeMap<String, Option<Value>>,
    tokens: HashMap<[u8; 32], Issued>,
    oldest_first: VecDeque<[u8; 32]>,
}

/// The identity behind a token.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) principal: Principal,
    pub(super) region: Region,
    /// The account whose registry accepts the token; `None`: that of every account.
    pub(super) account: Option<AccountId>,
    pub(super) ends: SystemTime,
    /// Whether it is a short-lived token of AWS Sign-In.
    pub(super) is_bearer: bool,
}

impl Issued {
    pub(super) fn opens(&self, registry: &PrivateRegistry) -> bool {
        let is_account = self.account.is_none() || self.account == registry.account();
        is_account && self.region == *registry.region()
    }
}

impl Repositories {
    pub(super) fn create(&mut self, name: &str) -> Result<(), AwsError> {
        let is_valid = (2..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(&byte));
        if !is_valid || self.policies.len() >= MAX_REPOSITORIES {
            return Err(ecr::invalid("Invalid parameter at 'repositoryName'"));
        }
        if self.policies.contains_key(name) {
            let problem = format!("The repository with name '{name}' already exists");
            return Err(AwsError::bad_request("RepositoryAlreadyExistsException", problem));
        }
        self.policies.insert(name.to_owned(), None);
        Ok(())
    }

    /// Creates a repository unless it exists: each of several pushes at a time is the first.
    pub(super) fn create_if_absent(&mut self, name: &str) -> Result<(), AwsError> {
        if self.policies.contains_key(name) { Ok(()) } else { self.create(name) }
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), AwsError> {
        self.policies.remove(name).map(drop).ok_or_else(|| not_found(name))
    }

    pub(super) fn set_policy(&mut self, name: &str, policy: Value) -> Result<(), AwsError> {
        *self.policies.get_mut(name).ok_or_else(|| not_found(name))? = Some(policy);
        Ok(())
    }

    /// Returns the names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.policies.keys().cloned().collect()
    }

    /// Returns the policy of a repository, if it has one.
    ///
    /// # Errors
    /// The repository does not exist.
    pub(super) fn policy(&self, name: &str) -> Result<Option<Value>, AwsError> {
        self.policies.get(name).cloned().ok_or_else(|| not_found(name))
    }

    /// Remembers a token by its hash.
    pub(super) fn issue(&mut self, token: &str, issued: Issued) {
        if self.oldest_first.len() >= MAX_TOKENS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.tokens.remove(&oldest);
        }
        let hash = Sha256::digest(token).into();
        self.oldest_first.push_back(hash);
        self.tokens.insert(hash, issued);
    }

    pub(super) fn issued(&self, token: &str) -> Option<Issued> {
        self.tokens.get::<[u8; 32]>(&Sha256::digest(token).into()).cloned()
    }
}

fn not_found(name: &str) -> AwsError {
    let problem = format!("The repository with name '{name}' does not exist");
    AwsError::new(StatusCode::BAD_REQUEST, "RepositoryNotFoundException", problem)
}
