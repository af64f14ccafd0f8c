//! Another program of the same protocol, asked where the broker cannot be: an image of the broker's own cannot be pulled through itself.

use tonic::Code;

use super::delegate::run;
use super::{Reply, Setup};
use crate::client::Failure;

/// The program and its arguments, with spaces between them.
#[derive(Debug)]
pub(super) struct Fallback(pub(super) String);

/// Not where a broker has answered: one that says "later" would have every node ask AWS itself.
fn is_for(failure: &Failure) -> bool {
    match failure.reason.as_deref() {
        None => matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded),
        Some(reason) => reason == "SHUTTING_DOWN",
    }
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
    /// What it says; or the failure, and why there is nothing else.
    fn run(&self, more: &[&str], question: &str, failure: &Failure) -> Result<Reply, String> {
        let Self(command) = self;
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let arguments: Vec<_> = words.chain(more.iter().copied()).collect();
        match run(program, &arguments, question) {
            Ok(reply) if reply.well => Ok(reply.noting(failure.to_string())),
            // What it printed may be a secret all the same.
            Ok(_) => Err(format!("{failure}; and the fallback {program} failed")),
            Err(error) => Err(format!("{failure}; nor can the fallback {program} be run: {error}")),
        }
    }
}
