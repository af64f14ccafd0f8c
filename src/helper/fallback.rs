//! Another program of the same protocol, asked where the broker cannot be: an image of the broker's own cannot be pulled through itself.

use std::path::PathBuf;
use std::process::Command;

use tonic::Code;

use super::next::run;
use super::{Reply, Setup};
use crate::client::Failure;

/// The program.
#[derive(Debug)]
pub(super) struct Fallback(pub(super) PathBuf);

/// Whether another program may know better: not where the broker has said no.
fn is_for(failure: &Failure) -> bool {
    matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
}

impl Setup {
    /// What the fallback says, where there is one and the failure is one for it; else why there is nothing.
    pub(super) fn fall_back(&self, failure: &Failure, arguments: &[&str], question: &str) -> Result<Reply, String> {
        match &self.fallback {
            Some(fallback) if is_for(failure) => fallback.run(arguments, question, failure),
            _ => Err(failure.to_string()),
        }
    }
}

impl Fallback {
    /// What it says; or the failure, and why it cannot be asked.
    fn run(&self, arguments: &[&str], question: &str, failure: &Failure) -> Result<Reply, String> {
        match run(Command::new(&self.0).args(arguments), question) {
            Ok(reply) => Ok(reply.noting(failure.to_string())),
            Err(error) => Err(format!("{failure}; nor can the fallback {} be run: {error}", self.0.display())),
        }
    }
}
