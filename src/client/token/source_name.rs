//! Names of token sources.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Name of a token source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceName {
    /// The file `token_file`.
    File,
    /// The program `token_exec`.
    Exec,
    /// The token endpoint of a GitHub Actions job.
    GitHub,
    /// The `id_tokens` variable of a GitLab job.
    GitLab,
    /// `buildkite-agent oidc request-token`.
    Buildkite,
    /// A projected service account token.
    Kubernetes,
    /// `GetWebIdentityToken` of AWS STS, by the AWS CLI.
    Aws,
    /// A JWT-SVID from the SPIFFE Workload API.
    Spiffe,
    /// The first of them that is there.
    Auto,
}

impl SourceName {
    /// All sources, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::File,
        Self::Exec,
        Self::GitHub,
        Self::GitLab,
        Self::Buildkite,
        Self::Kubernetes,
        Self::Spiffe,
        Self::Aws,
        Self::Auto,
    ];

    /// Returns the name as it is written in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Exec => "exec",
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Buildkite => "buildkite",
            Self::Kubernetes => "kubernetes",
            Self::Aws => "aws",
            Self::Spiffe => "spiffe",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SourceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|name| name.as_str()).collect();
            format!("{text:?} is not a token source; use one of {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_they_are_written() {
        for name in SourceName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
            let read: SourceName = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            assert_eq!(read, name);
        }
        let error = "GitHub".parse::<SourceName>().unwrap_err();
        assert!(error.contains("use one of file, exec, github, gitlab"), "{error}");
    }
}
