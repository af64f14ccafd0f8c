//! Exit codes, the same for every command.

#[cfg(feature = "client")]
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitCode;
#[cfg(feature = "client")]
use std::process::ExitStatus;

#[cfg(feature = "client")]
use crate::client::Failure;

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it should.
    Success = 0,
    /// Any other failure.
    Failure = 1,
    /// The flags or arguments are wrong; clap uses the same code.
    Usage = 2,
    /// The argument is not an ECR registry.
    NotRegistry = 3,
    /// The caller is not authenticated or not allowed.
    Denied = 4,
    /// The broker, AWS or the registry cannot be reached or is busy: a retry can help.
    Unavailable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What shells add to the number of the signal that ended a command.
#[cfg(feature = "client")]
const BY_SIGNAL: i32 = 128;

/// Returns the exit code of a command that has ended, as shells report it.
#[cfg(feature = "client")]
pub(crate) fn of_command(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| BY_SIGNAL + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX).into()
}

#[cfg(feature = "client")]
impl From<&Failure> for Exit {
    fn from(failure: &Failure) -> Self {
        use tonic::Code;
        match (failure.reason.as_deref(), failure.code) {
            (Some("REGISTRY_INVALID" | "REGISTRY_NOT_ECR"), _) => Self::NotRegistry,
            (_, Code::Unauthenticated | Code::PermissionDenied) => Self::Denied,
            (_, Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled) => {
                Self::Unavailable
            }
            _ => Self::Failure,
        }
    }
}
