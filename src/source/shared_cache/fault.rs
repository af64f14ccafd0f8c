//! Faults of values, for which they are replaced.

use super::envelope::EnvelopeError;

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("value of the shared cache is not a credential; upgrade all brokers to one version")]
    Malformed,
    #[error("value of the shared cache has expired; check the clocks of the brokers' hosts")]
    Expired,
    #[error("value of the shared cache was issued in the future; check the clocks of the brokers' hosts")]
    Clock,
    #[error(
        "value of the shared cache was minted by another role of the same name; none, if the role was created again"
    )]
    Minter,
}
