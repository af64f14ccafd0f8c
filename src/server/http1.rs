//! HTTP/1.1 connections: the ECR API, as AWS SDKs call it, and the ops listener, as probes and Prometheus do.

mod connection;
mod ecr_api;
mod ops;
mod write_timeout;

pub(crate) use self::ecr_api::EcrApiProtocol;
pub(crate) use self::ops::OpsProtocol;
