//! Simulated AWS on loopback: Amazon ECR, ECR Public, STS and AWS Sign-In's tokens over plain HTTP/1.1, as AWS's SDKs see them.
//!
//! It serves demos and tests. It speaks the real wire protocols (JSON 1.1 and the query protocol), and its tokens have the real
//! shape and size but open nothing. It injects AWS's failures at configured rates.
//!
//! A request must be signed and scoped to its service, but the signature's value is not checked. A request signed with the
//! credentials of a role assumed here comes from that role's session. Every other request comes from one user of account
//! 123456789012.
//!
//! Below `/v2/` it is a registry that keeps images in memory: its tokens pull and push. [`Answer`]s break what the broker assumes of
//! AWS.
//!
//! Nothing here prints or logs a token.

mod answer;
mod assume_role;
mod call;
mod controls;
mod ecr;
mod fault;
mod images;
mod issuer_keys;
mod parameter;
mod permission;
mod principal;
mod query;
mod registry_api;
mod repositories;
mod role;
mod route;
mod server;
mod service;
mod session;
mod settings;
mod signin;
mod simulated_aws;
mod sts;
mod tags;
mod target;
mod token;
mod web_identity;

pub use self::answer::{Answer, UnknownAnswer};
pub use self::controls::Controls;
pub use self::fault::{Fault, FaultRate, FaultRateError, UnknownFault};
pub use self::server::Simulator;
pub use self::service::Service;
pub use self::settings::Settings;
