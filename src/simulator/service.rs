//! The simulated services.

use std::fmt;

/// A simulated AWS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Amazon ECR, the private registries.
    Ecr,
    /// Amazon ECR Public.
    EcrPublic,
    /// The Security Token Service.
    Sts,
    /// AWS Sign-In.
    Signin,
}

impl Service {
    /// Returns the name that requests are signed for.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ecr => "ecr",
            Self::EcrPublic => "ecr-public",
            Self::Sts => "sts",
            Self::Signin => "signin",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
