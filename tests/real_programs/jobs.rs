//! Jobs that push images for longer than their tokens live, on the CI systems' own programs where they can be had.
//!
//! The broker tolerates 30 s of clock difference. In CI a token ended 27 s ago when it is issued, so the broker accepts it for 3 s.
//! `JOB_SECONDS=120` runs each job that long, with tokens and certificates that live 20 s.

use super::program;

mod buildkite;
mod github;
mod gitlab;
mod issuer;
mod jenkins;
mod recipe;
mod report;
mod runner;
mod site;
mod spiffe;
