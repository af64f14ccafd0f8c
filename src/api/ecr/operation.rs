//! The operations, as telemetry names them.

use crate::aws_wire::ecr;

/// What a request asks for. Names of other operations are the client's choice, so telemetry does not have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Tokens of private registries.
    Private,
    /// The token of the public registry.
    Public,
    /// Everything else.
    Other,
}

impl Operation {
    /// The operations that have a name.
    pub(crate) const NAMED: [Self; 2] = [Self::Private, Self::Public];

    /// Returns the operation that a request's target names.
    pub(super) fn of(target: Option<&str>) -> Self {
        match target {
            Some(ecr::PRIVATE_TOKEN) => Self::Private,
            Some(ecr::PUBLIC_TOKEN) => Self::Public,
            _ => Self::Other,
        }
    }

    /// Returns the service and the operation, as spans of calls to AWS have them.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Private => "ECR/GetAuthorizationToken",
            Self::Public => "ECR Public/GetAuthorizationToken",
            Self::Other => "_OTHER",
        }
    }
}
