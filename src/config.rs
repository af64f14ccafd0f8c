//! The configuration: read from its sources, typed and checked.
//!
//! A value comes from a flag, else from `ECR_BROKER_<SECTION>_<KEY>`, else from the file, else it is the default. One run reports
//! every problem with its place, so that an operator edits a file once.

pub use self::aws_files::AwsFiles;
pub use self::diagnostic::Diagnostic;
pub use self::diff::{Change, ChangeKind, SettingChange, diff, restart_settings};
pub use self::example::example;
pub use self::files::{DEFAULT_FILE, Disk, Files, Settled, file_to_read};
pub use self::model::{AwsApi, Config, Json, Log, LogFormat, Ops, Server};
pub use self::print::{effective, effective_json, fingerprint};
pub use self::sources::Sources;

use self::reader::Reader;
use self::sections::grants::{Context, Lifetimes};
use self::sections::{aliases, aws, limits, parents, policy, profiles, server, shared_cache};
use self::settings::{Audit, Cache};
use crate::audit::{self, OnFailure};
use crate::cache;
use crate::source::broker::profiles_of;

mod aws_files;
mod check;
mod diagnostic;
mod diff;
mod example;
mod files;
mod list;
mod model;
mod print;
mod reader;
pub mod restart;
mod sections;
mod setting;
mod settings;
mod size;
mod sources;
mod unknown;
mod url;
mod value_type;
mod values;

impl Config {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub fn load(sources: &Sources) -> Result<Self, Vec<Diagnostic>> {
        let (config, diagnostics) = Self::load_valid_parts(sources);
        if diagnostics.is_empty() { Ok(config) } else { Err(diagnostics) }
    }

    /// Reads and checks every setting, and returns all problems. A setting with a problem has its default, and a grant or profile with
    /// one is left out. A denial that another file makes invalid stays, as far as it is within its file's limits.
    #[must_use]
    pub fn load_valid_parts(sources: &Sources) -> (Self, Vec<Diagnostic>) {
        let mut reader = Reader::new(sources);
        unknown::report(&mut reader);
        let config = Self::read(&mut reader);
        check::check(&config, &mut reader);
        (config, reader.into_diagnostics())
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let profiles = profiles::read(reader);
        let parents = parents::read(reader);
        let known: Vec<_> =
            profiles.iter().map(|profile| &profile.name).cloned().chain(profiles_of(&parents)).collect();
        let Cache {
            refresh_after,
            safety_margin,
            max_min_validity,
            capacity,
            max_waiters,
            token_scope,
            restart_memory,
            keep_warm,
        } = Cache::read(reader);
        let aws = aws::read(reader, profiles.clone(), max_waiters);
        let settings::Log { filter, format } = settings::Log::read(reader);
        let settings::Metrics { per_key } = settings::Metrics::read(reader);
        let server = server::read(reader);
        let max_exposed_keys = if per_key { server.ops_max_keys } else { 0 };
        let settings::General { experimental } = settings::General::read(reader);
        let are_enabled = experimental.contains(&model::Experiment::BearerTokens);
        let lifetimes = Lifetimes { are_enabled, safety_margin, parents: &parents };
        let (policy, grant_files) = policy::read(reader, &Context { profiles: &known, lifetimes });
        let audit = audit_settings(reader);
        let (limits, denials_recorded_per_second) = limits::read(reader);
        Self {
            server,
            cache: cache::Settings { refresh_after, safety_margin, capacity, max_waiters, max_exposed_keys },
            token_scope,
            restart_memory,
            keep_warm,
            shared_cache: shared_cache::read(reader, &aws),
            aliases: aliases::read(reader),
            max_min_validity,
            policy,
            grant_files,
            limits,
            denials_recorded_per_second,
            audit,
            log: Log { filter, format },
            aws,
            parents,
        }
    }
}

/// Returns the settings of the audit log, if there is one.
fn audit_settings(reader: &mut Reader<'_>) -> Option<audit::Settings> {
    let Audit { output, reserve, on_failure, failure_buffer } = Audit::read(reader);
    let on_failure = if on_failure { OnFailure::Release { buffer: failure_buffer } } else { OnFailure::Refuse };
    output.map(|output| audit::Settings { output, reserve, on_failure })
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
