//! Front ends: the gRPC services, the JSON API in front of them and the ECR-compatible API. Every request enters through `request`.

pub mod calls;
pub mod ecr;
pub mod grpc;
pub(crate) mod host;
pub(crate) mod json;
pub(crate) mod request;
pub mod trace;
