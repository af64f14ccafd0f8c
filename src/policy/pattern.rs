//! Patterns of callers and registries. There are no regular expressions, so that a reviewer sees what a grant matches.

mod caller;
mod claim;
mod hosts;
mod label;
mod principal;
mod registry;
mod spiffe;
mod via;

pub use self::caller::{CallerPattern, TokenPattern};
pub use self::claim::{ClaimPattern, ClaimPatternError};
pub use self::label::{LabelPattern, LabelPatternError};
pub use self::registry::{Accounts, RegistryPattern};
pub use self::spiffe::{SpiffePattern, SpiffePatternError};
pub use self::via::{BrokerPattern, BrokerPatternError, ViaPattern};
