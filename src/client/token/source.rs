//! A token source: asks the platform for a token.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use tokio::time::{Instant, timeout_at};

use super::command_line::CommandLine;
use super::source_name::SourceName;
use super::{aws, buildkite, exec, file, github, gitlab, kubernetes, spiffe};
use crate::bearer_token::BearerToken;
use crate::client::failure::Failure;
use crate::client::workload_api;

/// Where a client gets its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, read at each call.
    File(PathBuf),
    /// A program that prints a token.
    Exec(CommandLine),
    /// The token endpoint of a GitHub Actions job.
    GitHub,
    /// The variable of a GitLab job that has this name.
    GitLab(String),
    /// `buildkite-agent oidc request-token`.
    Buildkite,
    /// The projected service account token at this path.
    Kubernetes(PathBuf),
    /// `GetWebIdentityToken` of AWS STS, by the AWS CLI.
    Aws,
    /// A JWT-SVID from the SPIFFE Workload API.
    Spiffe,
    /// The first of these that is there.
    Auto(Vec<TokenSource>),
}

impl TokenSource {
    /// Returns the source itself, or the one that `auto` finds now.
    #[must_use]
    pub fn present(&self) -> Option<&Self> {
        match self {
            Self::Auto(all) => all.iter().find(|source| source.is_present()),
            one => Some(one),
        }
    }

    /// Returns the file that the source reads.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) | Self::Kubernetes(path) => Some(path),
            _ => None,
        }
    }

    /// Returns whether a token is cheap to read again, so that it is not cached.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::File(_) | Self::Kubernetes(_) | Self::GitLab(_))
    }

    /// Asks for a token until the deadline.
    pub(super) async fn request(
        &self,
        audience: &str,
        now: SystemTime,
        deadline: Instant,
    ) -> Result<BearerToken, Failure> {
        match self {
            Self::File(path) => file::read(path).map_err(Failure::without_token),
            Self::Kubernetes(path) => kubernetes::read(path, audience).map_err(Failure::without_token),
            Self::GitLab(variable) => gitlab::read(variable, audience, now),
            remote => {
                let requested = timeout_at(deadline, Box::pin(remote.request_remote(audience))).await;
                let slow =
                    |_| Err(format!("{remote}: no answer within the timeout; raise --timeout or ECR_BROKER_TIMEOUT"));
                requested.unwrap_or_else(slow).map_err(Failure::without_token)
            }
        }
    }

    async fn request_remote(&self, audience: &str) -> Result<BearerToken, String> {
        match self {
            Self::Exec(command) => exec::run(command, audience).await,
            Self::GitHub => github::request(audience).await,
            Self::Buildkite => buildkite::request(audience).await,
            Self::Aws => aws::request(audience).await,
            Self::Spiffe => spiffe::request(audience).await,
            Self::File(_) | Self::Kubernetes(_) | Self::GitLab(_) | Self::Auto(_) => {
                Err("the token source has no request; name another token_source".to_owned())
            }
        }
    }

    /// Returns whether `auto` takes the source: it is configured, or the platform announces it.
    fn is_present(&self) -> bool {
        match self {
            Self::File(_) | Self::Exec(_) => true,
            Self::GitHub => github::is_present(),
            Self::GitLab(variable) => gitlab::is_present(variable),
            Self::Buildkite => buildkite::is_present(),
            Self::Kubernetes(path) => path.exists(),
            Self::Aws => aws::is_present(),
            Self::Spiffe => workload_api::is_present(),
            Self::Auto(_) => false,
        }
    }

    fn name(&self) -> SourceName {
        match self {
            Self::File(_) => SourceName::File,
            Self::Exec(_) => SourceName::Exec,
            Self::GitHub => SourceName::GitHub,
            Self::GitLab(_) => SourceName::GitLab,
            Self::Buildkite => SourceName::Buildkite,
            Self::Kubernetes(_) => SourceName::Kubernetes,
            Self::Aws => SourceName::Aws,
            Self::Spiffe => SourceName::Spiffe,
            Self::Auto(_) => SourceName::Auto,
        }
    }
}

/// Writes the source as errors name it.
impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the token file {}", path.display()),
            Self::Exec(command) => write!(f, "token_exec {}", command.program()),
            other => write!(f, "token_source {}", other.name()),
        }
    }
}
