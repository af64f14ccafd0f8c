//! The part of the Kubernetes API that `sync` needs: Secrets, and the names of namespaces.
//!
//! kube-rs has the connection and the authentication. Secrets have types of our own, because those of k8s-openapi print their contents.

pub use self::api::Api;
pub use self::error::{ApiError, Scope};
pub use self::field_managers::FIELD_MANAGER;
pub use self::name::{SecretName, Selector};
pub use self::secret::{Manifest, Secret};
pub use self::sensitive::Sensitive;

mod api;
mod applied;
mod config;
mod error;
mod field_managers;
mod name;
mod secret;
mod sensitive;
