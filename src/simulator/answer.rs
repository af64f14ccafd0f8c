//! Answers in which AWS could differ from what the broker assumes of it.

use std::fmt;
use std::str::FromStr;

/// An answer that breaks an assumption. Without any, the simulated AWS answers as the broker assumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Tokens ignore the session policy of the session that requested them.
    PolicyIgnored,
    /// Tokens end with the session that requested them.
    TokenEndsWithSession,
    /// Registries ignore revocations by `aws:TokenIssueTime`.
    RevocationIgnored,
    /// FIPS hosts refuse tokens.
    NoFips,
    /// Dual-stack hosts refuse tokens.
    NoDualStack,
    /// ECR refuses to delete repositories.
    DeleteDenied,
    /// Registries refuse short-lived tokens of AWS Sign-In.
    BearerRefused,
    /// AWS Sign-In makes no tokens for ECR.
    NoBearer,
}

/// The error for a text that does not name an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not an answer; use one of {}", names())]
pub struct UnknownAnswer {
    name: String,
}

impl Answer {
    /// All answers.
    pub const ALL: [Self; 8] = [
        Self::PolicyIgnored,
        Self::TokenEndsWithSession,
        Self::RevocationIgnored,
        Self::NoFips,
        Self::NoDualStack,
        Self::DeleteDenied,
        Self::BearerRefused,
        Self::NoBearer,
    ];

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PolicyIgnored => "policy-ignored",
            Self::TokenEndsWithSession => "token-ends-with-session",
            Self::RevocationIgnored => "revocation-ignored",
            Self::NoFips => "no-fips",
            Self::NoDualStack => "no-dual-stack",
            Self::DeleteDenied => "delete-denied",
            Self::BearerRefused => "bearer-refused",
            Self::NoBearer => "no-bearer",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Answer {
    type Err = UnknownAnswer;

    fn from_str(name: &str) -> Result<Self, UnknownAnswer> {
        let found = Self::ALL.into_iter().find(|answer| answer.name() == name);
        found.ok_or_else(|| UnknownAnswer { name: name.to_owned() })
    }
}

fn names() -> String {
    Answer::ALL.map(Answer::name).join(", ")
}
