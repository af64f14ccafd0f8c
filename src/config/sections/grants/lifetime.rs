//! `max_lifetime` of a grant: an experimental feature with conditions.

use std::time::Duration;

use crate::config::list::Item;
use crate::config::value_type::Expected;
use crate::credential::{Lifetime, ProfileName};
use crate::policy::{Effect, RegistryPattern};
use crate::source::broker;

const KEY: &str = "max_lifetime";
/// Number of safety margins that the shortest limit has.
pub(in crate::config) const LIFETIME_MARGINS: u32 = 2;

/// Settings on which `max_lifetime` depends.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::config) struct Lifetimes<'a> {
    /// Whether `experimental` lists the feature.
    pub(in crate::config) are_enabled: bool,
    /// `cache.safety_margin`.
    pub(in crate::config) safety_margin: Duration,
    pub(in crate::config) parents: &'a [broker::Settings],
}

/// What a grant is about.
pub(super) struct Subject<'a> {
    pub(super) effect: Effect,
    pub(super) registries: &'a [RegistryPattern],
    pub(super) profile: Option<&'a ProfileName>,
}

/// Reads the limit. Fails for a value that is not one, which is reported.
pub(super) fn read(
    item: &mut Item<'_>,
    subject: &Subject<'_>,
    settings: Lifetimes<'_>,
) -> Result<Option<Lifetime>, ()> {
    let Some(value) = item.get(KEY) else { return Ok(None) };
    let expected = Expected::Duration { least: Lifetime::LEAST, most: Lifetime::MOST };
    let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    let Some(lifetime) = duration.and_then(Lifetime::new) else {
        let problem = format!("{KEY}: {}, in whole minutes", expected.but_got(value));
        item.report(problem);
        return Err(());
    };
    if subject.effect != Effect::Allow {
        item.report(format!("{KEY}: a denial releases nothing; remove it"));
    }
    if subject.registries.contains(&RegistryPattern::Public) {
        item.report(format!("{KEY}: ECR Public takes no such tokens; write a second grant for public = true"));
    }
    for problem in settings.problems(subject, lifetime) {
        item.report_conflict(format!("{KEY}: {problem}"));
    }
    Ok(Some(lifetime))
}

impl Lifetimes<'_> {
    /// Returns the problems that other settings cause.
    fn problems(self, subject: &Subject<'_>, lifetime: Lifetime) -> impl Iterator<Item = String> {
        let disabled = (!self.are_enabled)
            .then(|| "is experimental; add experimental = [\"bearer-tokens\"] above every section".to_owned());
        let is_short = lifetime.duration() < self.safety_margin.saturating_mul(LIFETIME_MARGINS);
        let margin = humantime::format_duration(self.safety_margin);
        let short =
            is_short.then(|| format!("is below twice cache.safety_margin, {margin}; raise it, or lower the margin"));
        let parent = self.parents.iter().find(|parent| serves(parent, subject));
        let of_parent = parent.map(|parent| {
            let name = parent.name.as_str();
            format!("the parent {name:?} serves these registries and limits lifetimes itself; set it in its grants")
        });
        [disabled, short, of_parent].into_iter().flatten()
    }
}

/// Returns whether a parent serves registries that a grant names by its profile.
fn serves(parent: &broker::Settings, subject: &Subject<'_>) -> bool {
    let touches = |own: &RegistryPattern| subject.registries.iter().any(|other| own.intersects(other));
    subject.profile.is_some_and(|profile| parent.profiles.contains(profile)) && parent.registries.iter().any(touches)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{load, problems};

    const REGISTRIES: &str = "{ accounts = [\"123456789012\"], regions = [\"eu-west-1\"] }";

    fn text(before: &str, registries: &str, rest: &str) -> String {
        format!("{before}\n[[grants]]\nid = \"ci\"\ncallers = [{{ uid = 1 }}]\nregistries = [{registries}]\n{rest}\n")
    }

    #[test]
    fn lifetime_is_read_where_the_feature_is_enabled() {
        let text = text("experimental = [\"bearer-tokens\"]", REGISTRIES, "max_lifetime = \"15m\"");
        let config = load(&text).unwrap();
        let lifetime = config.policy.grants()[0].max_lifetime.unwrap();
        assert_eq!((lifetime.minutes(), lifetime.to_string().as_str()), (15, "15m"));
        let written = crate::policy::grants_as_toml(config.policy.grants());
        assert!(written.contains("max_lifetime = \"15m\""), "{written}");
        let read_back = load(&format!("experimental = [\"bearer-tokens\"]\n{written}")).unwrap();
        assert_eq!(read_back.policy, config.policy);
    }

    #[test]
    fn lifetime_that_cannot_be_enforced_is_a_problem() {
        let parent = format!(
            "experimental = [\"bearer-tokens\"]\n[[parents]]\nname = \"central\"\naddresses = [\"https://a\"]\n\
             registries = [{REGISTRIES}]\n"
        );
        let enabled = "experimental = [\"bearer-tokens\"]";
        let margin = format!("{enabled}\n[cache]\nsafety_margin = \"8m\"");
        let everywhere = "{ accounts = [\"*\"], regions = [\"*\"] }";
        // Neither has all of the other.
        let across = "{ accounts = [\"123456789012\", \"210987654321\"], regions = [\"us-east-1\", \"eu-west-*\"] }";
        let public = format!("{REGISTRIES}, {{ public = true }}");
        for (before, registries, rest, hint) in [
            ("", REGISTRIES, "max_lifetime = \"15m\"", "add experimental = [\"bearer-tokens\"]"),
            (enabled, REGISTRIES, "max_lifetime = \"15m\"\neffect = \"deny\"", "a denial releases nothing"),
            (enabled, &public, "max_lifetime = \"15m\"", "ECR Public takes no such tokens"),
            (enabled, REGISTRIES, "max_lifetime = \"5m\"", "a duration from 10m to 12h, got \"5m\""),
            (enabled, REGISTRIES, "max_lifetime = \"13h\"", "a duration from 10m to 12h, got \"13h\""),
            (enabled, REGISTRIES, "max_lifetime = \"15m 30s\"", "in whole minutes"),
            (enabled, REGISTRIES, "max_lifetime = 15", "got 15"),
            (&margin, REGISTRIES, "max_lifetime = \"15m\"", "is below twice cache.safety_margin, 8m"),
            (&parent, REGISTRIES, "max_lifetime = \"15m\"", "the parent \"central\" serves these registries"),
            (&parent, everywhere, "max_lifetime = \"15m\"", "the parent \"central\" serves these registries"),
            (&parent, across, "max_lifetime = \"15m\"", "the parent \"central\" serves these registries"),
        ] {
            let problems = problems(&text(before, registries, rest));
            assert!(problems.len() == 1 && problems[0].contains(hint), "{hint}: {problems:?}");
            assert!(problems[0].contains("grant \"ci\": max_lifetime: "), "{problems:?}");
        }
        let operator = format!("{enabled}\n[[grants]]\nid = \"ops\"\ncallers = [{{ uid = 1 }}]\noperator = true\n");
        let problems = problems(&format!("{operator}max_lifetime = \"15m\"\n"));
        assert!(problems[0].contains("max_lifetime: a grant with operator = true has none"), "{problems:?}");
    }

    #[test]
    fn unknown_feature_is_a_problem_that_names_the_known_ones() {
        let problems = problems("experimental = [\"bearer-token\"]");
        let expected = "experimental: unknown feature \"bearer-token\"; the features are \"bearer-tokens\"";
        assert!(problems.len() == 1 && problems[0].ends_with(expected), "{problems:?}");
    }
}
