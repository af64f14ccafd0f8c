//! Fault injection: AWS's failures at configured rates.

mod inject;
mod rate;

pub(super) use self::inject::inject;
pub use self::rate::{Fault, FaultRate, FaultRateError, UnknownFault};
