//! The closed set of errors that a request can end with. No type of tonic or of the AWS SDK is part of it.

use std::time::Duration;

pub use self::authn_cause::AuthnCause;
pub use self::clock_skew::ClockSkew;
pub use crate::credential::{ParentName, SourceName};
use crate::hops::ChainProblem;
use crate::quoted::Quoted;
use crate::registry::RegistryError;

mod authn_cause;
mod clock_skew;
mod upstream_text;

/// Retry delay if no better one is known.
const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why the broker released no credential.
///
/// The text of each variant is what the caller reads. The source's own message may hold ARNs, so it goes only into the log, under
/// the request ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// A field of the request is missing or invalid.
    #[error("{field}: {problem}")]
    RequestInvalid {
        /// The field's name in the request.
        field: &'static str,
        /// Why it is invalid, and what is valid.
        problem: String,
    },
    /// A well-formed host that is not an ECR registry.
    #[error("{problem}")]
    RegistryNotEcr {
        /// The field's name in the request.
        field: &'static str,
        /// Why it is invalid, and what is valid.
        problem: String,
    },
    /// Text that is not a registry.
    #[error("{problem}")]
    RegistryInvalid {
        /// The field's name in the request.
        field: &'static str,
        /// Why it is invalid, and what is valid.
        problem: String,
    },
    /// A profile that is not configured.
    #[error("unknown profile {}; leave profile empty, or use one of: {known}", Quoted(profile))]
    ProfileUnknown {
        /// The requested profile.
        profile: String,
        /// The configured profiles.
        known: String,
    },
    /// The caller is not authenticated.
    #[error("authentication failed: {problem}")]
    CallerUnauthenticated {
        /// Why, and how to fix it.
        problem: &'static str,
        /// The machine-readable cause, if clients print a specific fix for it.
        cause: Option<AuthnCause>,
        /// Delay after which a retry may succeed; `None`: a retry does not help.
        retry_after: Option<Duration>,
    },
    /// The caller exceeds its rate limit, or its origin failed authentication too often.
    #[error("rate limit exceeded: {what}; retry later or raise [limits] on the broker")]
    CallerRateLimited {
        /// The limit that was exceeded.
        what: &'static str,
        /// Delay after which the limit may have room.
        retry_after: Duration,
    },
    /// No grant allows the request. The text does not say whether the registry exists.
    #[error("access denied: no grant allows this request; ask the operator to look up the request id")]
    CallerNotAllowed,
    /// No credential lasts as long as the caller needs.
    #[error("min_validity {asked} cannot be met: {limit}")]
    ValidityUnsatisfiable {
        /// The requested validity.
        asked: humantime::Duration,
        /// The limit, and how to stay within it.
        limit: String,
    },
    /// The source returned no credential.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    /// The call queue of the region is full, so the source was not called.
    #[error("too many AWS calls queued for this region; retry shortly")]
    QueueFull {
        /// Delay after which the queue may have room.
        retry_after: Duration,
    },
    /// The audit record of the release could not be written.
    #[error("audit log not writable: no credential is released without a record; retry, or tell the operator")]
    AuditUnavailable,
    /// A limit of the broker is reached.
    #[error("overloaded: too many {resource}; retry shortly")]
    Overloaded {
        /// The resource that is used up, in the plural.
        resource: &'static str,
        /// Delay after which there may be room.
        retry_after: Duration,
    },
    /// The broker is shutting down.
    #[error("broker is shutting down; use another broker, or retry shortly")]
    ShuttingDown,
    /// The deadline of the caller or of the broker passed.
    #[error("deadline exceeded before a credential arrived; retry: the fetch continues and its result is cached")]
    Deadline,
    /// Brokers ask each other in a way that cannot end. It concerns this request alone: another way may lead to the credential.
    #[error("{0}")]
    Chain(ChainProblem),
    /// A bug in the broker.
    #[error("internal error; please report it with the request id")]
    Internal,
}

/// Why a source returned no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamError {
    /// The kind of failure.
    pub class: FailureClass,
    /// The source that failed.
    pub source: SourceName,
    /// The call that failed.
    pub stage: Stage,
    /// The error code of AWS, or the reason or cause of a parent broker that failed or refused the request.
    pub code: Option<Box<str>>,
    /// The region of the failed call.
    pub region: Option<Box<str>>,
    /// The difference between the broker's clock and the source's, if it may explain the failure.
    pub clock_skew: Option<ClockSkew>,
    /// The source's ID of the failed call.
    pub request_id: Option<Box<str>>,
    /// Delay until the next attempt, if waiting helps.
    pub retry_after: Option<Duration>,
    /// Why AWS refused a role or a short-lived token, if an operator can end it.
    pub refusal: Option<AwsRefusal>,
}

/// Refusals that an operator can end: to assume a role, or to issue a short-lived token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwsRefusal {
    /// Session tags are not allowed.
    TagSession,
    /// A source identity is not allowed.
    SetSourceIdentity,
    /// The session policy and tags are too large.
    PackedPolicyTooLarge,
    /// Requests for short-lived tokens are not allowed.
    CreateBearerToken,
    /// Short-lived tokens are not issued for the registry.
    ShortLivedToken,
}

/// The calls of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The calls for the identity that requests the credential, such as those that assume a role.
    Identity,
    /// The request for the credential itself.
    Credential,
}

/// The kinds of upstream failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The source limits the rate of the broker's calls.
    Throttled,
    /// The source denies the broker's identity access.
    Denied,
    /// The broker has no identity, or the source does not accept it.
    NoCredentials,
    /// The source's client refused the call before it sent anything: a setting of the broker is missing or wrong.
    Misconfigured,
    /// The broker's clock is wrong, so that its signatures or the source's certificate are not valid.
    ClockSkewed,
    /// No answer, or a server error.
    Unavailable,
    /// An answer without a usable credential.
    InvalidResponse,
    /// The parent broker does not allow the request to this broker, or does not accept its identity.
    ParentDenied,
    /// The parent broker is unreachable or fails.
    ParentUnavailable,
    /// The parent broker is at a limit, its general one or that of this broker; or this broker's budget of STS calls is used up.
    Overloaded,
}

impl FailureClass {
    /// Returns whether the failure lasts until an operator changes permissions or settings, so that a retry does not help.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Denied | Self::ParentDenied | Self::Misconfigured)
    }

    /// Returns whether a cached credential must not outlive the failure. After a wrong setting it may: AWS revoked nothing.
    #[must_use]
    pub fn revokes_credentials(self) -> bool {
        matches!(self, Self::Denied | Self::ParentDenied)
    }

    /// Returns whether it is a failure of AWS or of a call to it. A parent broker may have made the call.
    #[must_use]
    pub fn is_of_aws(self) -> bool {
        !matches!(self, Self::Misconfigured | Self::ParentDenied | Self::ParentUnavailable | Self::Overloaded)
    }

    /// Returns the class of a source that does not answer.
    #[must_use]
    pub fn unavailable(source: &SourceName) -> Self {
        match source {
            SourceName::Aws | SourceName::SharedCache => Self::Unavailable,
            SourceName::Parent(_) => Self::ParentUnavailable,
        }
    }
}

impl UpstreamError {
    /// Returns a failure of which only the class is known.
    #[must_use]
    pub fn new(source: SourceName, class: FailureClass) -> Self {
        Self {
            class,
            source,
            stage: Stage::Credential,
            code: None,
            region: None,
            clock_skew: None,
            request_id: None,
            retry_after: None,
            refusal: None,
        }
    }

    /// Returns a failure of AWS of which only the class is known.
    #[must_use]
    pub fn aws(class: FailureClass) -> Self {
        Self::new(SourceName::Aws, class)
    }

    /// Returns the failure of a source that does not answer.
    #[must_use]
    pub fn unanswered(source: SourceName) -> Self {
        let class = FailureClass::unavailable(&source);
        Self::new(source, class)
    }
}

impl UpstreamError {
    /// Returns why the brokers behind a parent cannot serve the registry, if that is why.
    #[must_use]
    pub fn chain_problem(&self) -> Option<ChainProblem> {
        let code = self.code.as_deref().filter(|_| self.class == FailureClass::Misconfigured)?;
        ChainProblem::of_cause(code)
    }

    /// Returns the error code of AWS, if it gave one.
    #[must_use]
    pub fn aws_code(&self) -> Option<&str> {
        let is_own = self.class == FailureClass::Misconfigured && self.source == SourceName::Aws;
        self.code.as_deref().filter(|_| self.class.is_of_aws() || is_own)
    }

    /// Returns whether a parent broker did not answer at all. Only then another source may be asked instead.
    #[must_use]
    pub fn is_unreachable_parent(&self) -> bool {
        self.class == FailureClass::ParentUnavailable && self.code.is_none()
    }
}

impl std::error::Error for UpstreamError {}

impl BrokerError {
    /// Returns an authentication failure that a retry does not cure.
    #[must_use]
    pub fn unauthenticated(problem: &'static str) -> Self {
        Self::CallerUnauthenticated { problem, cause: None, retry_after: None }
    }

    /// Returns the error for a registry, or a part of one, in a field of the request.
    #[must_use]
    pub fn registry(field: &'static str, error: &RegistryError) -> Self {
        let problem = error.to_string();
        match error {
            RegistryError::NotEcr { .. } => Self::RegistryNotEcr { field, problem },
            RegistryError::Invalid(_) => Self::RegistryInvalid { field, problem },
        }
    }

    /// Returns the machine-readable reason.
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
                FailureClass::Misconfigured => "BROKER_MISCONFIGURED",
                FailureClass::ClockSkewed => "AWS_CLOCK_SKEWED",
                FailureClass::Unavailable => "AWS_UNAVAILABLE",
                FailureClass::InvalidResponse => "AWS_RESPONSE_INVALID",
                FailureClass::ParentDenied => "PARENT_DENIED",
                FailureClass::ParentUnavailable => "PARENT_UNAVAILABLE",
                FailureClass::Overloaded => "OVERLOADED",
            },
            Self::AuditUnavailable => "AUDIT_UNAVAILABLE",
            Self::Chain(_) => "BROKER_MISCONFIGURED",
            Self::QueueFull { .. } | Self::Overloaded { .. } => "OVERLOADED",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Deadline => "DEADLINE",
            Self::Internal => "INTERNAL_ERROR",
        }
    }

    /// Returns the delay before a retry, if a retry helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upstream(failure) if failure.class.is_permanent() => None,
            Self::Upstream(failure) => Some(failure.retry_after.unwrap_or(DEFAULT_RETRY_DELAY)),
            Self::CallerRateLimited { retry_after, .. }
            | Self::Overloaded { retry_after, .. }
            | Self::QueueFull { retry_after } => Some(*retry_after),
            Self::CallerUnauthenticated { retry_after, .. } => *retry_after,
            Self::AuditUnavailable | Self::ShuttingDown => Some(DEFAULT_RETRY_DELAY),
            Self::RequestInvalid { .. }
            | Self::RegistryNotEcr { .. }
            | Self::RegistryInvalid { .. }
            | Self::ProfileUnknown { .. }
            | Self::CallerNotAllowed
            | Self::ValidityUnsatisfiable { .. }
            | Self::Deadline
            | Self::Chain(_)
            | Self::Internal => None,
        }
    }

    /// Returns whether the error says nothing about the credential: another request for it may succeed at once.
    #[must_use]
    pub fn is_of_request(&self) -> bool {
        matches!(
            self,
            Self::QueueFull { .. }
                | Self::ValidityUnsatisfiable { .. }
                | Self::Chain(_)
                | Self::CallerUnauthenticated { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every error whose text is written here, without inserted values.
    fn errors() -> Vec<BrokerError> {
        let retry_after = Duration::ZERO;
        let classes = [
            FailureClass::Throttled,
            FailureClass::Denied,
            FailureClass::NoCredentials,
            FailureClass::Misconfigured,
            FailureClass::ClockSkewed,
            FailureClass::Unavailable,
            FailureClass::InvalidResponse,
            FailureClass::ParentDenied,
            FailureClass::ParentUnavailable,
            FailureClass::Overloaded,
        ];
        let parent = || SourceName::Parent("central".parse().unwrap());
        // What a parent relays of AWS has the text of AWS, and where it happened before it.
        let classes_of_parent = classes.into_iter().filter(|class| !class.is_of_aws());
        let of_parent = classes_of_parent.map(|class| BrokerError::Upstream(UpstreamError::new(parent(), class)));
        let upstream =
            classes.map(|class| BrokerError::Upstream(UpstreamError::aws(class))).into_iter().chain(of_parent);
        let own = [
            BrokerError::ProfileUnknown { profile: String::new(), known: String::new() },
            BrokerError::unauthenticated(""),
            BrokerError::CallerRateLimited { what: "", retry_after },
            BrokerError::CallerNotAllowed,
            BrokerError::ValidityUnsatisfiable { asked: Duration::ZERO.into(), limit: String::new() },
            BrokerError::QueueFull { retry_after },
            BrokerError::AuditUnavailable,
            BrokerError::Overloaded { resource: "", retry_after },
            BrokerError::ShuttingDown,
            BrokerError::Deadline,
            BrokerError::Chain(ChainProblem::Circle),
            BrokerError::Chain(ChainProblem::TooLong),
            BrokerError::Internal,
        ];
        upstream.chain(own).collect()
    }

    #[test]
    fn error_texts_are_short_lower_case_and_without_a_full_stop() {
        for error in errors() {
            let text = error.to_string();
            assert!(text.chars().count() <= 120, "{} characters: {text}", text.chars().count());
            assert!(!text.ends_with('.'), "{text}");
            assert!(text.starts_with(|first: char| first.is_lowercase()) || text.starts_with("AWS"), "{text}");
        }
    }
}
