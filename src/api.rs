//! Front ends: the gRPC services and the ECR-compatible API. Every request enters through `request`.

pub mod calls;
pub mod ecr;
pub mod grpc;
pub(crate) mod request;
pub mod trace;
