//! The ways in which the simulated AWS fails, and how often.

use std::fmt;
use std::str::FromStr;

/// One way to fail.
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
    /// The request is read and never answered.
    Hang,
    /// 200 with a body that is no answer, of several kinds.
    Garbage,
}

/// A fault and how often it strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultRate {
    /// What strikes.
    pub fault: Fault,
    /// Which share of the calls it strikes, 0 to 1.
    pub rate: f64,
}

/// A text that names no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no fault: there are {}", names())]
pub struct UnknownFault {
    name: String,
}

/// Why a text is no fault with its rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultRateError {
    /// The two sides of a fault's rate are not there.
    #[error("{text:?} is not of the form KIND=RATE, such as throttle=0.2: KIND is one of {}, RATE is 0 to 1", names())]
    Form {
        /// What was given.
        text: String,
    },
    /// The left side names no fault.
    #[error(transparent)]
    Kind(#[from] UnknownFault),
    /// The right side is no share.
    #[error("{text:?} is not a rate: those are numbers from 0 to 1, such as 0.2")]
    Rate {
        /// What was given.
        text: String,
    },
}

impl Fault {
    /// Every fault there is.
    pub const ALL: [Self; 7] = [
        Self::Throttle,
        Self::ThrottleException,
        Self::Http429,
        Self::Denied,
        Self::ServerError,
        Self::Hang,
        Self::Garbage,
    ];

    /// The name on the command line.
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

/// The first of the faults that strikes, each by a roll of its own.
pub(super) fn roll(faults: &[FaultRate]) -> Option<Fault> {
    faults.iter().find(|fault| fastrand::f64() < fault.rate).map(|fault| fault.fault)
}
