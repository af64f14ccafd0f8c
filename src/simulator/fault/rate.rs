//! Kinds of faults and their rates.

use std::fmt;
use std::str::FromStr;

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 400 with `ThrottlingException` (STS: `Throttling`), which SDKs retry.
    Throttle,
    /// 400 with ECR's own `ThrottleException`, which SDKs do not retry.
    ThrottleException,
    /// A bare HTTP 429 that names no error, which SDKs do not retry.
    Http429,
    /// 400 with `AccessDeniedException` (STS: 403 with `AccessDenied`).
    Denied,
    /// 500 with `ServerException` (STS: `InternalFailure`).
    ServerError,
    /// The request is read, and no response ever comes.
    Hang,
    /// 200 with a malformed body, of several kinds.
    Garbage,
}

/// A fault and its rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultRate {
    /// The fault.
    pub fault: Fault,
    /// The share of calls that it strikes, 0 to 1.
    pub rate: f64,
}

/// The error for a text that does not name a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a fault; use one of {}", names())]
pub struct UnknownFault {
    name: String,
}

/// The error for a text that is not a fault with its rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultRateError {
    /// The text does not have the form `KIND=RATE`.
    #[error("{text:?} is not KIND=RATE; use one of {} and a rate from 0 to 1, such as throttle=0.2", names())]
    Form {
        /// The text.
        text: String,
    },
    /// The left side does not name a fault.
    #[error(transparent)]
    Kind(#[from] UnknownFault),
    /// The right side is not a share.
    #[error("{text:?} is not a rate; use a number from 0 to 1, such as 0.2")]
    Rate {
        /// The text.
        text: String,
    },
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 7] = [
        Self::Throttle,
        Self::ThrottleException,
        Self::Http429,
        Self::Denied,
        Self::ServerError,
        Self::Hang,
        Self::Garbage,
    ];

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::ThrottleException => "throttle-exception",
            Self::Http429 => "http-429",
            Self::Denied => "denied",
            Self::ServerError => "server-error",
            Self::Hang => "hang",
            Self::Garbage => "garbage",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let fault = Self::ALL.into_iter().find(|fault| fault.name() == name);
        fault.ok_or_else(|| UnknownFault { name: name.to_owned() })
    }
}

impl fmt::Display for FaultRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.fault, self.rate)
    }
}

impl FromStr for FaultRate {
    type Err = FaultRateError;

    fn from_str(text: &str) -> Result<Self, FaultRateError> {
        let (fault, rate) = text.split_once('=').ok_or_else(|| FaultRateError::Form { text: text.to_owned() })?;
        Ok(Self { fault: fault.parse()?, rate: share(rate)? })
    }
}

fn share(text: &str) -> Result<f64, FaultRateError> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
    rate.ok_or_else(|| FaultRateError::Rate { text: text.to_owned() })
}

fn names() -> String {
    Fault::ALL.map(Fault::name).join(", ")
}
