//! ECR-compatible API: `GetAuthorizationToken` of ECR and ECR Public, for programs that only know AWS.
//!
//! `AWS_ENDPOINT_URL_ECR` leads them here. Their signatures cannot be verified, because they are made with keys that the broker
//! does not have. The secret in the path of that URL authenticates the caller instead.
//!
//! The listener is on loopback, so the secret stays on this host. A program with `HTTP_PROXY` sends it to the proxy all the same,
//! unless `NO_PROXY` names 127.0.0.1 and localhost.

mod error;
mod operation;
mod secret;
mod service;
mod tokens;
mod trace;

pub(crate) use self::operation::Operation;
pub use self::secret::Secret;
pub use self::service::{EcrApi, PREFIX, Telemetry};
