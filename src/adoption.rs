//! Switch-over from another credential helper: which hosts ask the broker, and a local report of what it answered.
//!
//! In shadow and canary mode each helper leaves one record of a request. The report has no secrets: it names registries, callers,
//! reasons and times.

mod file;
mod host;
mod record;
mod summary;

pub use self::file::{ReportFile, read_records};
pub use self::host::{canary_from, is_canary};
pub use self::record::{Answer, NOT_RUN, Observation, Record, reason_of};
pub use self::summary::{Failing, Latency, Summary};
