//! The releases that a question is about.

use std::str::FromStr;
use std::time::SystemTime;

use crate::audit::stored::StoredRecord;
use crate::caller::{Caller, CallerError};
use crate::registry::Registry;

/// The releases to look for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Callers; `None`: all.
    pub caller: Option<CallerQuery>,
    /// The registry; `None`: all. Its FIPS and dual-stack hosts are the same registry.
    pub registry: Option<Registry>,
    /// The alias that `registry` was named by: requests by this name count, too.
    pub alias: Option<String>,
    /// Time of the last release; `None`: all releases count, also those of a broker whose clock is ahead.
    pub until: Option<SystemTime>,
}

/// Callers by name: one, or all whose names begin with the text before a `*`. `uid:1001` is the user with any group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerQuery {
    name: String,
    is_prefix: bool,
}

impl Selection {
    pub(super) fn includes(&self, record: &StoredRecord, registry: &str, time: SystemTime) -> bool {
        self.until.is_none_or(|until| time <= until)
            && self.caller.as_ref().is_none_or(|query| query.includes(record))
            && self.registry.as_ref().is_none_or(|wanted| self.matches_registry(wanted, record, registry))
    }

    fn matches_registry(&self, wanted: &Registry, record: &StoredRecord, registry: &str) -> bool {
        let place = |registry: &Registry| (registry.account(), registry.region().cloned());
        (self.alias.is_some() && self.alias == record.alias)
            || registry.parse().is_ok_and(|registry| place(&registry) == place(wanted))
    }
}

impl CallerQuery {
    /// Returns whether a caller is one of these, by its own name or with the brokers that forwarded it.
    fn includes(&self, record: &StoredRecord) -> bool {
        self.matches(&record.caller) || (!record.via.is_empty() && self.matches(&record.caller_name()))
    }

    fn matches(&self, caller: &str) -> bool {
        let matches = |name: &str| if self.is_prefix { name.starts_with(&self.name) } else { name == self.name };
        matches(caller) || caller.parse::<Caller>().is_ok_and(|caller| matches(&caller.principal().to_string()))
    }
}

/// A name that no caller can have is an error: it would match none.
impl FromStr for CallerQuery {
    type Err = CallerError;

    fn from_str(text: &str) -> Result<Self, CallerError> {
        if let Some(prefix) = text.strip_suffix('*') {
            return Ok(Self { name: prefix.to_owned(), is_prefix: true });
        }
        let is_uid = text.strip_prefix("uid:").is_some_and(|uid| uid.parse::<u32>().is_ok());
        if !is_uid {
            text.parse::<Caller>()?;
        }
        Ok(Self { name: text.to_owned(), is_prefix: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caller_is_named_whole_by_its_user_or_by_the_start_of_its_name() {
        let subject = "jwt:github:repo:example/app:ref:refs/heads/main";
        for (query, caller, matches) in [
            ("uid:7,gid:7", "uid:7,gid:7", true),
            ("uid:7", "uid:7,gid:8", true),
            ("uid:7", "uid:70,gid:8", false),
            ("uid:7*", "uid:70,gid:8", true),
            ("jwt:github:repo:example/app:*", subject, true),
            ("jwt:github:repo:example/app", subject, false),
            ("spiffe://prod.example/ci/*", "spiffe://prod.example/ci/runner", true),
            ("*", "loopback", true),
            ("loopback", "aws-api", false),
        ] {
            assert_eq!(query.parse::<CallerQuery>().unwrap().matches(caller), matches, "{query} {caller}");
        }
        assert!("runner".parse::<CallerQuery>().is_err());
    }

    #[test]
    fn forwarded_caller_is_found_by_its_own_name_and_by_its_broker() {
        let (caller, via) = ("uid:7,gid:7".to_owned(), vec!["spiffe://prod.example/node/a".to_owned()]);
        let record = StoredRecord { caller, via, ..StoredRecord::default() };
        for (query, includes) in [
            ("uid:7", true),
            ("uid:8", false),
            ("via spiffe://prod.example/node/a uid:7,gid:7", true),
            ("via spiffe://prod.example/node/a *", true),
            ("via spiffe://prod.example/node/b *", false),
        ] {
            assert_eq!(query.parse::<CallerQuery>().unwrap().includes(&record), includes, "{query}");
        }
    }
}
