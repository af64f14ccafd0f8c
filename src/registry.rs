//! ECR registries: accounts, regions, partitions and the grammar of their hosts.
//!
//! Every text from a caller is parsed here, once, into a [`Registry`] that is always valid. The grammar follows AWS's own
//! clients (amazon-ecr-credential-helper 0.12, cloud-provider-aws), but is stricter: a suffix takes only regions of its
//! partitions, and `dkr.ecr` and `dkr-ecr` take only their own suffixes.

mod account;
mod aliases;
mod api_host;
mod ecr;
mod error;
mod host;
mod partition;
mod private;
mod reference;
mod region;

pub use self::account::AccountId;
pub use self::aliases::{Aliases, DOCKER_HUB, ResolvedRegistry};
pub use self::ecr::Registry;
pub use self::error::RegistryError;
pub use self::host::resembles_ecr;
pub use self::partition::Partition;
pub use self::private::{EndpointVariant, PrivateRegistry};
pub use self::region::Region;

#[cfg(test)]
mod tests;
