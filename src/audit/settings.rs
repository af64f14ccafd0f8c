//! Settings of the audit log.

use super::output::Output;

/// Settings of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the lines go.
    pub output: Output,
    /// Free bytes of the file's filesystem that only releases may use.
    pub reserve: u64,
    /// What becomes of a release whose record cannot be written.
    pub on_failure: OnFailure,
}

/// What becomes of a release whose record cannot be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused (P11).
    #[default]
    Refuse,
    /// The credential is released, and the record waits for the log to work again.
    Release {
        /// Bytes of waiting records. Further ones are lost.
        buffer: u64,
    },
}
