//! The error of every parser here.

/// The error for a text that is not a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// A well-formed host that does not belong to ECR.
    #[error("{host:?} is not an ECR registry; use ACCOUNT.dkr.ecr.REGION.amazonaws.com or public.ecr.aws")]
    NotEcr {
        /// The normalised host, with its port unless that is 443.
        host: String,
    },
    /// A malformed host, or one that resembles an ECR host but is wrong.
    #[error("{0}")]
    Invalid(String),
}

impl RegistryError {
    pub(super) fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid(problem.into())
    }
}
