//! What only a restart puts into effect: the one list, by which the broker reloads and `config diff` reports.
//!
//! Settings of sections and whole lists wait for the restart, and the rest of their file takes effect: see `restart_settings`. A change
//! that the running broker cannot follow is refused: the file that has it keeps its last contents.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::model::Config;
use super::sections::grants::LIFETIME_MARGINS;
use crate::credential::ProfileName;
use crate::policy::{Effect, Grant};
use crate::profile::Profile;
use crate::source::aws::NO_REGION;
use crate::source::broker::profiles_of;

/// What a broker keeps from its start to its end.
#[derive(Debug, Clone)]
pub struct StartFacts {
    /// The profiles that only parents know.
    pub parent_profiles: Vec<ProfileName>,
    /// Whether it asks AWS for anything.
    needs_aws: bool,
    /// Whether its listeners accept bearer tokens.
    has_issuers: bool,
    /// Whether new credentials may be tried at their registries.
    verifies: bool,
    /// `cache.safety_margin`.
    safety_margin: Duration,
}

/// The running broker, as far as it limits what it can be reloaded to.
#[derive(Debug)]
pub struct Running<'a> {
    /// What it started with.
    pub start: &'a StartFacts,
    /// Whether every caller is allowed everything.
    pub is_open: bool,
    /// Whether denials are recorded only.
    pub is_observing: bool,
    /// Whether it knows the region of requests to STS.
    pub has_region: bool,
}

/// A change that a reload refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What must be as it was, by the kind and name of the [`Change`](super::Change).
    pub subjects: Vec<(&'static str, String)>,
    /// The reason, with its place and the fix.
    pub diagnostic: Diagnostic,
}

impl StartFacts {
    /// Returns what a broker keeps that starts with a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            parent_profiles: profiles_of(&config.parents).collect(),
            needs_aws: config.needs_aws(),
            has_issuers: !config.server.issuers.is_empty(),
            verifies: !config.aws.verified_keys().is_empty(),
            safety_margin: config.cache.safety_margin,
        }
    }

    /// Returns the profiles whose credentials are tried at their registries from the next start on.
    pub fn unverified<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a Profile> {
        config.aws.profiles.iter().filter(|profile| !self.verifies && profile.verify == Some(true))
    }

    fn knows(&self, profile: &ProfileName, config: &Config) -> bool {
        let is_own = config.aws.profiles.iter().any(|own| own.name == *profile);
        is_own || *profile == ProfileName::default_profile() || self.parent_profiles.contains(profile)
    }
}

impl<'a> Running<'a> {
    /// Returns a broker that started with a configuration. Only the environment may name its region.
    pub(super) fn started_with(config: &Config, start: &'a StartFacts) -> Self {
        Self {
            start,
            is_open: config.policy.is_open(),
            is_observing: config.policy.is_observed(),
            has_region: config.aws.region.is_some() || !config.aws.imds_disabled,
        }
    }

    /// Returns why the broker cannot go from its active configuration to another valid one, whose main file is `file`.
    #[must_use]
    pub fn refusals(&self, active: &Config, new: &Config, file: &str) -> Vec<Refusal> {
        let opened = (new.policy.is_open() && !self.is_open).then(|| {
            let problem = "the configuration no longer has grants; restart the broker to open it to every caller, or set grants = [] to close it";
            Refusal::of_setting("grants", file, problem)
        });
        let observed = (new.policy.is_observed() && !self.is_observing).then(|| {
            let problem =
                "policy.mode: \"observe\" allows every authenticated caller everything; restart the broker to apply it";
            Refusal::of_setting("policy.mode", file, problem)
        });
        let grants = self.allows_of_new_parents(active, new).map(|grant| {
            let place = new.grant_files.get(&grant.id).map_or(file, String::as_str);
            let problem =
                format!("grant {:?}: its profile belongs to a new parent; restart the broker to apply it", grant.id);
            Refusal::new([("grant", grant.id.clone())], place, &problem)
        });
        let found = opened.into_iter().chain(observed).chain(grants).chain(self.short_lived(new, file));
        found.chain(self.refused_profiles(active, new)).chain(self.refused_issuers(active, new)).collect()
    }

    /// Returns the allows that are not active and that name a profile which only a new parent has. A denial is never held up.
    fn allows_of_new_parents<'b>(&'b self, active: &'b Config, new: &'b Config) -> impl Iterator<Item = &'b Grant> {
        let allows = new.policy.grants().iter().filter(|grant| grant.effect != Effect::Deny);
        let beyond =
            allows.filter(|grant| grant.profile.as_ref().is_some_and(|profile| !self.start.knows(profile, new)));
        beyond.filter(|grant| !active.policy.grants().contains(grant))
    }

    /// Refuses limits that the safety margin of the running broker does not permit: each of their credentials would end too soon.
    fn short_lived<'b>(&'b self, new: &'b Config, file: &'b str) -> impl Iterator<Item = Refusal> + 'b {
        let least = self.start.safety_margin.saturating_mul(LIFETIME_MARGINS);
        let is_short = move |grant: &&Grant| grant.max_lifetime.is_some_and(|limit| limit.duration() < least);
        new.policy.grants().iter().filter(is_short).map(move |grant| {
            let place = new.grant_files.get(&grant.id).map_or(file, String::as_str);
            let problem = format!(
                "grant {:?}: max_lifetime is below twice the cache.safety_margin that the broker started with; restart it",
                grant.id
            );
            Refusal::new([("grant", grant.id.clone())], place, &problem)
        })
    }

    fn refused_profiles(&self, active: &Config, new: &Config) -> Option<Refusal> {
        let is_new = |profile: &&Profile| !active.aws.profiles.contains(profile);
        if new.aws.profiles == active.aws.profiles {
            return None;
        }
        if new.needs_aws() && !self.start.needs_aws {
            let problem = "the broker started without AWS, for parents serve everything; restart it to apply profiles";
            let subjects = new.aws.profiles.iter().filter(is_new).map(|one| ("profile", one.name.to_string()));
            return Some(Refusal::new(subjects, "profiles", problem));
        }
        (new.aws.needs_region && !self.has_region).then(|| Refusal::of_setting("aws.region", "aws.region", NO_REGION))
    }

    fn refused_issuers(&self, active: &Config, new: &Config) -> Option<Refusal> {
        let issuers = &new.server.issuers;
        if self.start.has_issuers || issuers.is_empty() || *issuers == active.server.issuers {
            return None;
        }
        let problem = "the broker started without issuers, and its listeners accept no bearer tokens; restart it";
        let subjects = issuers.iter().map(|issuer| ("issuer", issuer.name.clone()));
        Some(Refusal::new(subjects, "[[authentication.jwt]]", problem))
    }
}

impl Refusal {
    fn new(subjects: impl IntoIterator<Item = (&'static str, String)>, place: &str, problem: &str) -> Self {
        let diagnostic = Diagnostic { place: place.to_owned(), problem: problem.to_owned() };
        Self { subjects: subjects.into_iter().collect(), diagnostic }
    }

    fn of_setting(name: &str, place: &str, problem: &str) -> Self {
        Self::new([("setting", name.to_owned())], place, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::load;

    const LIMITED: &str = "experimental = [\"bearer-tokens\"]\n[cache]\nsafety_margin = \"5m\"\n[[grants]]\nid = \"ci\"\n\
                           callers = [{ uid = 1 }]\nregistries = [{ accounts = [\"123456789012\"], regions = [\"eu-west-1\"] }]\n";

    #[test]
    fn limit_below_twice_the_margin_of_the_start_is_refused() {
        let started = load("experimental = [\"bearer-tokens\"]\n[cache]\nsafety_margin = \"6m\"\n").unwrap();
        let facts = StartFacts::of(&started);
        for (limit, refused) in [("11m", true), ("12m", false)] {
            let new = load(&format!("{LIMITED}max_lifetime = \"{limit}\"\n")).unwrap();
            let refusals = Running::started_with(&started, &facts).refusals(&started, &new, "main.toml");
            let subjects: Vec<_> = refusals.into_iter().flat_map(|refusal| refusal.subjects).collect();
            let expected = refused.then(|| ("grant", "ci".to_owned())).into_iter().collect::<Vec<_>>();
            assert_eq!(subjects, expected, "{limit}");
        }
    }
}
