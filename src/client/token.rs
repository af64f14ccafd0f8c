//! Token sources: where a client gets its bearer token, for as long as it runs.
//!
//! Tokens of CI jobs live minutes, and jobs run for hours. So a client asks its source again before each token ends, and once more
//! if the broker refuses a cached one. Tokens are cached in memory only.

mod audience;
mod aws;
mod buildkite;
mod claims;
mod command_line;
mod exec;
mod file;
mod github;
mod gitlab;
mod http;
mod kubernetes;
mod program;
mod redact;
mod renewal;
mod source;
mod source_name;
mod spiffe;
mod token_settings;
mod tokens;

pub use self::claims::Claims;
pub use self::command_line::CommandLine;
pub use self::source::TokenSource;
pub use self::source_name::SourceName;
pub use self::token_settings::{DEFAULT_AUDIENCE, SourceError, TokenSettings};
pub(super) use self::tokens::Issued;
pub use self::tokens::Tokens;
