//! The broker among programs that no one here wrote: gRPC clients, AWS's tools, emulators of AWS, a registry.
//!
//! They are ignored by `cargo test`, for a newcomer's machine has none of these programs. `.ci/tools` installs them, and
//! `cargo test --test real_programs -- --ignored` runs them, as CI does; a program that is missing then is a failure.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

#[path = "../tokens/mod.rs"]
mod cases;
#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../token_sources/endpoint.rs"]
mod endpoint;
#[path = "../program/mod.rs"]
mod program;
#[path = "../registry_over_tls/mod.rs"]
mod registry_over_tls;
#[path = "../scraped/mod.rs"]
mod scraped;
#[path = "../systemd/mod.rs"]
mod service_manager;
#[path = "../token_sources/workload_api.rs"]
mod workload_api;

mod apiserver;
mod auth_files;
mod aws;
mod aws_api;
mod demo;
mod docker_cli;
mod engines;
mod examples;
mod grpc_clients;
mod haproxy;
mod jobs;
mod kubelet;
mod load_balancing;
mod network;
mod ops;
mod otel;
mod other;
mod overload;
mod policies;
mod prove;
mod pull;
mod registry;
mod restart;
mod secrets;
mod shells;
mod status_page;
mod systemd;
mod tls;
mod tokens;
mod users;
mod verified;
mod volumes;

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
