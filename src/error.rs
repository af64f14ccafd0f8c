//! What can go wrong, as a closed set: neither tonic nor the AWS SDK has a word in it.

use std::time::Duration;

use crate::quoted::Quoted;
use crate::registry::RegistryError;

/// How long to wait where nothing better is known.
const WAIT: Duration = Duration::from_secs(1);

/// Why a request has no credential.
///
/// The text of each is what the caller reads; what AWS said is in the log under the request's id, for it may hold ARNs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// A field of the request is missing or wrong.
    #[error("{field}: {problem}")]
    RequestInvalid {
        /// The field's name in the request.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A well-formed host that is not ECR's.
    #[error("{problem}")]
    RegistryNotEcr {
        /// The field's name in the request.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Not a registry.
    #[error("{problem}")]
    RegistryInvalid {
        /// The field's name in the request.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// No such profile.
    #[error("the broker has no profile {}; leave profile empty, or name one of: {known}", Quoted(profile))]
    ProfileUnknown {
        /// What was asked for.
        profile: String,
        /// The profiles that there are.
        known: String,
    },
    /// It is not known who asks.
    #[error("it is not known who you are: {problem}")]
    CallerUnauthenticated {
        /// Why, and what would help.
        problem: &'static str,
        /// When asking again may help; none where it will not.
        retry_after: Option<Duration>,
    },
    /// The caller asks too much, or too many where it calls from failed to say who they are.
    #[error("{what}; ask again later, or have those who run the broker look at its [limits]")]
    CallerRateLimited {
        /// Of what it is too much.
        what: &'static str,
        /// When there may be room again.
        retry_after: Duration,
    },
    /// The caller may not have it; whether it exists is not said.
    #[error(
        "no grant of the broker's lets you have this; ask those who run it, who find the reason under the request id"
    )]
    CallerNotAllowed,
    /// No credential can last that long.
    #[error("min_validity is {asked}, but {limit}")]
    ValidityUnsatisfiable {
        /// What was asked for.
        asked: humantime::Duration,
        /// What can be had.
        limit: String,
    },
    /// AWS gave no credential.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    /// The audit record of the release could not be written.
    #[error(
        "the broker cannot write its audit log, and without that it gives nothing; try again, or tell those who run it"
    )]
    AuditUnavailable,
    /// There is no room for what is asked.
    #[error("the broker has as many {of_what} as it takes; try again shortly, or tell those who run it")]
    Overloaded {
        /// Of what there are too many.
        of_what: &'static str,
        /// When there may be room again.
        retry_after: Duration,
    },
    /// The broker ends.
    #[error("the broker is shutting down; ask another one, or try again shortly")]
    ShuttingDown,
    /// The caller's deadline, or the broker's, has passed.
    #[error("the deadline passed before AWS answered; the fetch goes on, so a later call may find its result")]
    Deadline,
    /// A mistake in the broker.
    #[error("the broker failed in a way that it should not; please report it with the request id")]
    Internal,
}

/// Why AWS, or whatever stands upstream, gave no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}")]
pub struct UpstreamError {
    /// What kind of failure it is.
    pub class: FailureClass,
    /// How long the caller should wait before the next try, where waiting helps.
    pub retry_after: Option<Duration>,
    /// The error code that AWS gave.
    pub aws_error_code: Option<String>,
    /// The id that AWS gave the request.
    pub aws_request_id: Option<String>,
}

/// The kinds of upstream failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FailureClass {
    /// Too many calls.
    #[error("AWS throttles the broker's calls")]
    Throttled,
    /// The broker's AWS identity may not do this.
    #[error(
        "AWS denied the broker access: its IAM policy must allow GetAuthorizationToken (for ECR Public also sts:GetServiceBearerToken)"
    )]
    Denied,
    /// The broker has no AWS identity, or AWS does not know it.
    #[error("the broker has no valid AWS credentials: give it an IAM role, or AWS_* variables or files")]
    NoCredentials,
    /// No answer, or a server's error.
    #[error("AWS cannot be reached or does not answer")]
    Unavailable,
    /// AWS was not asked: too many others wait for the same.
    #[error(
        "as many calls as the broker makes to AWS in that region are under way, and others wait; try again shortly"
    )]
    QueueFull,
    /// An answer that makes no sense.
    #[error("AWS answered with something that is no usable credential")]
    InvalidAnswer,
}

impl FailureClass {
    /// Whether AWS's refusal is final: an old credential must not outlive it.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        self == Self::Denied
    }
}

impl UpstreamError {
    /// A failure of which no more is known than its kind.
    #[must_use]
    pub fn new(class: FailureClass) -> Self {
        Self { class, retry_after: None, aws_error_code: None, aws_request_id: None }
    }
}

impl BrokerError {
    /// It is not known who asks, and asking again will not change that.
    #[must_use]
    pub fn unauthenticated(problem: &'static str) -> Self {
        Self::CallerUnauthenticated { problem, retry_after: None }
    }

    /// What is wrong with the registry, or the part of one, in a field of the request.
    #[must_use]
    pub fn registry(field: &'static str, error: &RegistryError) -> Self {
        let problem = error.to_string();
        match error {
            RegistryError::NotEcr { .. } => Self::RegistryNotEcr { field, problem },
            RegistryError::Invalid(_) => Self::RegistryInvalid { field, problem },
        }
    }

    /// The machine-readable cause.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::RequestInvalid { .. } => "REQUEST_INVALID",
            Self::RegistryNotEcr { .. } => "REGISTRY_NOT_ECR",
            Self::RegistryInvalid { .. } => "REGISTRY_INVALID",
            Self::ProfileUnknown { .. } => "PROFILE_UNKNOWN",
            Self::CallerUnauthenticated { .. } => "CALLER_UNAUTHENTICATED",
            Self::CallerRateLimited { .. } => "CALLER_RATE_LIMITED",
            Self::CallerNotAllowed => "CALLER_NOT_ALLOWED",
            Self::ValidityUnsatisfiable { .. } => "VALIDITY_UNSATISFIABLE",
            Self::Upstream(failure) => match failure.class {
                FailureClass::Throttled => "AWS_THROTTLED",
                FailureClass::Denied => "AWS_ACCESS_DENIED",
                FailureClass::NoCredentials => "AWS_CREDENTIALS_UNAVAILABLE",
                FailureClass::Unavailable => "AWS_UNAVAILABLE",
                FailureClass::InvalidAnswer => "AWS_RESPONSE_INVALID",
                FailureClass::QueueFull => "OVERLOADED",
            },
            Self::AuditUnavailable => "AUDIT_UNAVAILABLE",
            Self::Overloaded { .. } => "OVERLOADED",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Deadline => "DEADLINE",
            Self::Internal => "INTERNAL_ERROR",
        }
    }

    /// How long to wait, where waiting helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upstream(failure) => (!failure.class.is_permanent()).then_some(failure.retry_after.unwrap_or(WAIT)),
            Self::CallerRateLimited { retry_after, .. } | Self::Overloaded { retry_after, .. } => Some(*retry_after),
            Self::CallerUnauthenticated { retry_after, .. } => *retry_after,
            Self::AuditUnavailable | Self::ShuttingDown => Some(WAIT),
            Self::RequestInvalid { .. }
            | Self::RegistryNotEcr { .. }
            | Self::RegistryInvalid { .. }
            | Self::ProfileUnknown { .. }
            | Self::CallerNotAllowed
            | Self::ValidityUnsatisfiable { .. }
            | Self::Deadline
            | Self::Internal => None,
        }
    }
}
