//! A program that prints a token (`token_exec`).

use super::command_line::CommandLine;
use super::program;
use crate::bearer_token::BearerToken;

/// Tells the program the audience.
const AUDIENCE: &str = "ECR_BROKER_AUDIENCE";

/// Runs the program and returns what it prints on stdout.
pub(super) async fn run(command: &CommandLine, audience: &str) -> Result<BearerToken, String> {
    let CommandLine(words) = command;
    let arguments = words.iter().skip(1).map(String::as_str);
    let outcome = program::run(command.program(), arguments, [(AUDIENCE, audience)]).await;
    outcome.map_err(|problem| format!("token_exec: {problem}; run it by hand"))
}
