//! Settings of a token source, as flags, variables and `client.toml` have them.

use std::path::PathBuf;

use super::command_line::CommandLine;
use super::source::TokenSource;
use super::source_name::SourceName;
use crate::environment::ID_TOKEN;

/// Audience of the tokens, as the examples configure it in `[[authentication.jwt]]`.
pub const DEFAULT_AUDIENCE: &str = "ecr-broker";
/// Projected token of a pod.
const PROJECTED_TOKEN: &str = "/var/run/secrets/ecr-broker/token";

/// The settings of a token source; the fields are keys of `client.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSettings {
    /// Name of the source. Without one it is `token_file` or `token_exec`, if that is set.
    pub token_source: Option<SourceName>,
    /// File with a token.
    pub token_file: Option<PathBuf>,
    /// Program that prints a token.
    pub token_exec: Option<CommandLine>,
    /// Variable of GitLab's ID token.
    pub token_variable: Option<String>,
}

/// Error of settings that name no usable source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A source without the setting that it needs.
    #[error("token_source {source_name} needs {missing}; set {missing}")]
    Incomplete {
        /// Name of the source.
        source_name: SourceName,
        /// Setting that it needs.
        missing: &'static str,
    },
    /// Two sources, and no name.
    #[error("token_file and token_exec are both set; remove one, or set token_source to file, exec or auto")]
    Ambiguous,
}

impl TokenSettings {
    /// Fills the gaps from `other`. Name, file and program come from the same place: a flag for one source must not meet a file
    /// that names another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let is_set = self.token_source.is_some() || self.token_file.is_some() || self.token_exec.is_some();
        let token_variable = self.token_variable.clone().or_else(|| other.token_variable.clone());
        Self { token_variable, ..if is_set { self } else { other } }
    }

    /// Returns the source that the settings name.
    ///
    /// # Errors
    /// Returns an error if the source lacks a setting, or two are set and none is named.
    pub fn source(&self) -> Result<Option<TokenSource>, SourceError> {
        let name = match (self.token_source, &self.token_file, &self.token_exec) {
            (Some(name), ..) => name,
            (None, Some(_), Some(_)) => return Err(SourceError::Ambiguous),
            (None, Some(_), None) => SourceName::File,
            (None, None, Some(_)) => SourceName::Exec,
            (None, None, None) => return Ok(None),
        };
        let incomplete = |missing| SourceError::Incomplete { source_name: name, missing };
        Ok(Some(match name {
            SourceName::File => TokenSource::File(self.token_file.clone().ok_or_else(|| incomplete("token_file"))?),
            SourceName::Exec => TokenSource::Exec(self.program().ok_or_else(|| incomplete("token_exec"))?),
            SourceName::GitHub => TokenSource::GitHub,
            SourceName::GitLab => TokenSource::GitLab(self.variable()),
            SourceName::Buildkite => TokenSource::Buildkite,
            SourceName::Kubernetes => TokenSource::Kubernetes(self.projected()),
            SourceName::Aws => TokenSource::Aws,
            SourceName::Spiffe => TokenSource::Spiffe,
            SourceName::Auto => TokenSource::Auto(self.candidates()),
        }))
    }

    /// Returns the sources that `auto` looks for, in order.
    fn candidates(&self) -> Vec<TokenSource> {
        let configured = [self.token_file.clone().map(TokenSource::File), self.program().map(TokenSource::Exec)];
        let found = [
            TokenSource::GitHub,
            TokenSource::GitLab(self.variable()),
            TokenSource::Buildkite,
            TokenSource::Kubernetes(PROJECTED_TOKEN.into()),
            TokenSource::Spiffe,
            TokenSource::Aws,
        ];
        configured.into_iter().flatten().chain(found).collect()
    }

    fn program(&self) -> Option<CommandLine> {
        self.token_exec.clone().filter(|CommandLine(words)| !words.is_empty())
    }

    fn variable(&self) -> String {
        self.token_variable.clone().unwrap_or_else(|| ID_TOKEN.to_owned())
    }

    fn projected(&self) -> PathBuf {
        self.token_file.clone().unwrap_or_else(|| PROJECTED_TOKEN.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> TokenSettings {
        TokenSettings { token_file: Some("/t".into()), ..TokenSettings::default() }
    }

    fn program() -> TokenSettings {
        TokenSettings { token_exec: Some("p -x".parse().unwrap()), ..TokenSettings::default() }
    }

    fn named(name: SourceName) -> TokenSettings {
        TokenSettings { token_source: Some(name), ..TokenSettings::default() }
    }

    #[test]
    fn source_without_a_name_is_the_file_or_the_program() {
        assert_eq!(TokenSettings::default().source(), Ok(None));
        assert_eq!(file().source(), Ok(Some(TokenSource::File("/t".into()))));
        let words = CommandLine(vec!["p".to_owned(), "-x".to_owned()]);
        assert_eq!(program().source(), Ok(Some(TokenSource::Exec(words))));
        let both = TokenSettings { token_exec: program().token_exec, ..file() };
        assert_eq!(both.source(), Err(SourceError::Ambiguous));
        for (name, missing) in [(SourceName::File, "token_file"), (SourceName::Exec, "token_exec")] {
            assert_eq!(named(name).source(), Err(SourceError::Incomplete { source_name: name, missing }));
        }
        let empty = TokenSettings { token_exec: Some(" ".parse().unwrap()), ..TokenSettings::default() };
        assert!(empty.source().is_err());
    }

    #[test]
    fn kubernetes_and_gitlab_have_defaults_that_settings_replace() {
        let source = |settings: TokenSettings| settings.source().unwrap().unwrap();
        assert_eq!(source(named(SourceName::Kubernetes)), TokenSource::Kubernetes(PROJECTED_TOKEN.into()));
        let other = TokenSettings { token_file: Some("/p".into()), ..named(SourceName::Kubernetes) };
        assert_eq!(source(other), TokenSource::Kubernetes("/p".into()));
        assert_eq!(source(named(SourceName::GitLab)), TokenSource::GitLab("ECR_BROKER_ID_TOKEN".to_owned()));
        let other = TokenSettings { token_variable: Some("T".to_owned()), ..named(SourceName::GitLab) };
        assert_eq!(source(other), TokenSource::GitLab("T".to_owned()));
    }

    #[test]
    fn source_of_a_flag_is_not_mixed_with_one_of_a_file() {
        let flag = named(SourceName::GitHub);
        assert_eq!(flag.clone().or(file()), flag);
        assert_eq!(program().or(file()), program());
        let variable = TokenSettings { token_variable: Some("T".to_owned()), ..TokenSettings::default() };
        assert_eq!(variable.clone().or(file()), TokenSettings { token_variable: Some("T".to_owned()), ..file() });
        assert_eq!(flag.or(variable).token_variable.as_deref(), Some("T"));
    }
}
