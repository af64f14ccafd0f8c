//! HTTP/1.1 connections: the ECR API, as AWS SDKs call it, the JSON API, and the ops listener, as probes and Prometheus call it.

mod connection;
mod ecr_api;
mod json;
mod late_body;
mod ops;
mod write_timeout;

pub(crate) use self::ecr_api::EcrApiProtocol;
pub(crate) use self::json::JsonProtocol;
pub(crate) use self::ops::OpsProtocol;
