//! The front doors: gRPC, and ECR's own API for programs that only know AWS.

pub mod ecr;
pub mod grpc;
