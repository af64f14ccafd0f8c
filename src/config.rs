//! The configuration: read from its sources, typed and checked.
//!
//! A value comes from a flag, else from `ECR_BROKER_<SECTION>_<KEY>`, else from the file, else it is the default. One run reports
//! every problem with its place, so that an operator edits a file once.

pub use self::diagnostic::Diagnostic;
pub use self::files::Files;
pub use self::model::{AwsApi, Config, Log, LogFormat, Server};
pub use self::print::{effective, example};
pub use self::sources::{Sources, environment};

use self::reader::Reader;
use self::sections::{aliases, aws, cache, limits, policy, profiles, server};

mod check;
mod diagnostic;
mod files;
mod list;
mod model;
mod print;
mod reader;
mod sections;
mod settings;
mod sources;
mod unknown;
mod values;

impl Config {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub fn load(sources: &Sources) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader::new(sources);
        unknown::report(&mut reader);
        let config = Self::read(&mut reader);
        check::check(&config, &mut reader);
        let diagnostics = reader.into_diagnostics();
        if diagnostics.is_empty() { Ok(config) } else { Err(diagnostics) }
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let profiles = profiles::read(reader);
        let aws = aws::read(reader, profiles.clone());
        Self {
            server: server::read(reader),
            cache: cache::read(reader),
            keep_warm: reader.get(&settings::KEEP_WARM),
            aliases: aliases::read(reader),
            max_min_validity: reader.get(&settings::MAX_MIN_VALIDITY),
            policy: policy::read(reader, &profiles),
            limits: limits::read(reader),
            audit: reader.get(&settings::AUDIT_OUTPUT),
            log: Log { filter: reader.get(&settings::LOG_FILTER), format: reader.get(&settings::LOG_FORMAT) },
            aws,
        }
    }
}

#[cfg(test)]
mod tests;
