//! The sections and lists of a configuration file, each read into the settings of its module.

pub(super) mod aliases;
pub(super) mod aws;
mod aws_endpoints;
mod aws_sdk;
pub(super) mod grants;
pub(super) mod issuers;
pub(super) mod limits;
pub(super) mod parents;
pub(super) mod policy;
pub(super) mod profiles;
pub(super) mod server;
pub(super) mod shared_cache;
mod system_roots;
