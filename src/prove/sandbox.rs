//! The repositories of a run.

use std::time::Duration;

/// The prefix of every repository that the checks create.
pub const PREFIX: &str = "ecr-broker-prove/";
/// The shortest role session that STS makes.
pub(super) const SESSION: Duration = Duration::from_mins(15);

/// Repositories after the run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// Deleted repositories.
    pub removed: Vec<String>,
    /// Repositories that could not be deleted, each with AWS's code.
    pub left: Vec<(String, String)>,
}
