//! Permissions of a profile beside its access: pull-through caches, mounted layers, managed signing, single actions.

use std::fmt;
use std::str::FromStr;

use super::access::Access;
use super::repository::RepositoryPattern;
use crate::quoted::Quoted;

/// Lengths of the names that AWS Signer accepts.
const SIGNING_PROFILE: std::ops::RangeInclusive<usize> = 2..=64;
/// The actions that `actions` can add, by service. They are those that AWS checks for a registry's own operations, without those that
/// change permissions or settings of a repository.
const ACTIONS: [&str; 11] = [
    "ecr:BatchDeleteImage",
    "ecr:CreateRepository",
    "ecr:DescribeImageReplicationStatus",
    "ecr:DescribeImages",
    "ecr:DescribeRepositories",
    "ecr:TagResource",
    "ecr-public:BatchDeleteImage",
    "ecr-public:CreateRepository",
    "ecr-public:DescribeImages",
    "ecr-public:DescribeRepositories",
    "ecr-public:TagResource",
];

/// All permissions of a profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permissions<'a> {
    pub(super) access: Access,
    pub(super) repositories: &'a [RepositoryPattern],
    pub(super) extra: &'a ExtraPermissions,
}

/// Permissions that a profile adds to those of its access. The default adds none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraPermissions {
    /// Repositories of pull-through caches: the credential reads them, imports images into them, and creates them.
    pub pull_through: Vec<RepositoryPattern>,
    /// Repositories whose layers a push may mount.
    pub mount_from: Vec<RepositoryPattern>,
    /// Signing profiles with which ECR signs pushed images.
    pub signing_profiles: Vec<SigningProfile>,
    /// Actions on the repositories of the access.
    pub actions: Vec<Action>,
}

/// The name of a signing profile of AWS Signer, in the registry's account and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningProfile(Box<str>);

/// An IAM action of a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action(&'static str);

/// The error for a text that is not the name of a signing profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a signing profile; write its name: 2 to 64 letters, digits and \"_\"", Quoted(text))]
pub struct SigningProfileError {
    text: String,
}

/// The error for an action that is not in the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be added; use one of: {}", Quoted(text), ACTIONS.join(", "))]
pub struct ActionError {
    text: String,
}

impl ExtraPermissions {
    /// Returns whether it adds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Action {
    /// Returns the actions that a profile can add.
    pub fn all() -> impl Iterator<Item = Self> {
        ACTIONS.into_iter().map(Self)
    }

    /// Returns the action as IAM writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Returns whether it is an action of ECR Public.
    pub(super) fn is_public(self) -> bool {
        self.0.starts_with("ecr-public:")
    }
}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        Self::all().find(|action| action.0 == text).ok_or_else(|| ActionError { text: text.to_owned() })
    }
}

impl FromStr for SigningProfile {
    type Err = SigningProfileError;

    fn from_str(text: &str) -> Result<Self, SigningProfileError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let fits = SIGNING_PROFILE.contains(&text.len()) && text.bytes().all(is_allowed);
        fits.then(|| Self(text.into())).ok_or_else(|| SigningProfileError { text: text.to_owned() })
    }
}

impl fmt::Display for SigningProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_actions_and_valid_signing_profiles_are_accepted() {
        assert!(Action::all().all(|action| action.as_str().parse() == Ok(action)));
        for wrong in ["ecr:*", "ecr:SetRepositoryPolicy", "ecr:batchdeleteimage", "iam:PassRole", "*", ""] {
            assert!(wrong.parse::<Action>().is_err(), "{wrong}");
        }
        assert_eq!("release_1".parse::<SigningProfile>().unwrap().to_string(), "release_1");
        for wrong in ["", "a", "a-b", "a/b", "*", "a\"b", &"a".repeat(65)] {
            assert!(wrong.parse::<SigningProfile>().is_err(), "{wrong}");
        }
    }
}
