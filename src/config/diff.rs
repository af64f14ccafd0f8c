//! Differences between two configurations: what changes for whom, what is dropped, and what needs a restart.

use std::collections::BTreeSet;

pub use self::change::{Change, ChangeKind, SettingChange};

use self::tables::{Kind, Tables, redacted};
use super::model::Config;
use super::reader::Reader;
use super::restart::{Refusal, Running, StartFacts};
use super::setting::SettingMeta;
use super::settings::SECTIONS;
use super::sources::Sources;
use crate::policy::{CallerPattern, Effect, Grant};

mod change;
mod tables;

/// The settings of sections that a reload puts into effect.
const RELOADED: [&str; 3] = ["cache.keep_warm", "experimental", "policy.mode"];
/// The callers of a configuration without grants.
const EVERY_CALLER: &str = "every caller";

/// A configuration and its texts.
struct Side<'a> {
    config: &'a Config,
    tables: Tables,
    reader: Reader<'a>,
}

/// Returns the names of settings that differ and take effect at the next start only.
#[must_use]
pub fn restart_settings(old: &Sources, new: &Sources) -> Vec<String> {
    let (old, new) = (Reader::new(old), Reader::new(new));
    let settings = settings(&old, &new).filter(|change| !RELOADED.contains(&change.setting.as_str()));
    let lists = Tables::read(&old).restart_lists_beside(&Tables::read(&new));
    settings.map(|change| change.setting).chain(lists).collect()
}

/// Returns the differences between two valid configurations. Secrets are hidden.
#[must_use]
pub fn diff(old: (&Sources, &Config), new: (&Sources, &Config)) -> Vec<Change> {
    let side = |(sources, config)| {
        let reader = Reader::new(sources);
        Side { config, tables: Tables::read(&reader), reader }
    };
    let both = Both { old: side(old), new: side(new) };
    let lists = tables::KINDS.iter().flat_map(|kind| both.of_list(kind));
    let mut changes: Vec<_> = lists.chain(both.of_settings()).collect();
    let start = StartFacts::of(old.1);
    for profile in start.unverified(new.1) {
        change_of(&mut changes, "profile", profile.name.as_str()).needs_restart = true;
    }
    let refusals = Running::started_with(old.1, &start).refusals(old.1, new.1, &new.0.files.name());
    for Refusal { subjects, diagnostic } in refusals {
        for (kind, name) in subjects {
            let change = change_of(&mut changes, kind, &name);
            change.needs_restart = true;
            change.refused = Some(diagnostic.to_string());
        }
    }
    changes
}

/// Returns the change of something, which another change may cause.
fn change_of<'a>(changes: &'a mut Vec<Change>, kind: &'static str, name: &str) -> &'a mut Change {
    let found = changes.iter().position(|change| change.kind == kind && change.name == name);
    let index = found.unwrap_or_else(|| {
        changes.push(Change::new(kind, name, ChangeKind::Changed));
        changes.len() - 1
    });
    &mut changes[index]
}

/// Both configurations.
struct Both<'a> {
    old: Side<'a>,
    new: Side<'a>,
}

impl Both<'_> {
    fn of_list(&self, kind: &Kind) -> Vec<Change> {
        let (needs_restart, kind) = (kind.restart.is_some(), kind.name);
        let (old, new) = (self.old.tables.of(kind), self.new.tables.of(kind));
        let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let change = |name: &String| {
            let settings = tables::differences(old.get(name), new.get(name));
            let change = match (old.get(name), new.get(name)) {
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
                _ if settings.is_empty() || self.mean_the_same(kind, name) => return None,
                _ => ChangeKind::Changed,
            };
            Some(self.described(Change { settings, needs_restart, ..Change::new(kind, name, change) }))
        };
        names.into_iter().filter_map(change).collect()
    }

    /// Returns whether both texts are read as the same: one may spell out a default.
    fn mean_the_same(&self, kind: &str, name: &str) -> bool {
        let (old, new) = (self.old.config, self.new.config);
        match kind {
            "profile" => {
                let of = |config: &Config| config.aws.profiles.iter().find(|one| one.name.as_str() == name).cloned();
                of(old).is_some() && of(old) == of(new)
            }
            "issuer" => {
                let of = |config: &Config| config.server.issuers.iter().find(|one| one.name == name).cloned();
                of(old).is_some() && of(old) == of(new)
            }
            "grant" => {
                let of = |config: &Config| {
                    config.policy.grants().iter().filter(|one| one.id == name).cloned().collect::<Vec<_>>()
                };
                !of(old).is_empty() && of(old) == of(new)
            }
            _ => false,
        }
    }

    /// Adds for whom a change is, and what it costs.
    fn described(&self, mut change: Change) -> Change {
        let was_there = change.change != ChangeKind::Added;
        match change.kind {
            "profile" => change.drops = was_there.then_some("its cached sessions and credentials"),
            "issuer" => change.drops = was_there.then_some("its verified tokens; calls that last end"),
            _ => {}
        }
        for side in [&self.old, &self.new] {
            side.add_users(&mut change);
        }
        change
    }

    fn of_settings(&self) -> Vec<Change> {
        let mut changes: Vec<_> = settings(&self.old.reader, &self.new.reader)
            .map(|setting| {
                let name = setting.setting.clone();
                let needs_restart = !RELOADED.contains(&name.as_str());
                let settings = vec![SettingChange { setting: "value".to_owned(), ..setting }];
                Change { settings, needs_restart, ..Change::new("setting", &name, ChangeKind::Changed) }
            })
            .collect();
        let [was_open, is_open] = [&self.old, &self.new].map(|side| side.config.policy.is_open());
        if was_open != is_open {
            let change = if is_open { ChangeKind::Removed } else { ChangeKind::Added };
            let callers = BTreeSet::from([EVERY_CALLER.to_owned()]);
            changes.push(Change { callers, ..Change::new("setting", "grants", change) });
        }
        changes
    }
}

impl Side<'_> {
    /// Adds the grants that a change concerns, with their callers and registries.
    fn add_users(&self, change: &mut Change) {
        if self.config.policy.is_open() && matches!(change.kind, "alias" | "issuer") {
            change.callers.insert(EVERY_CALLER.to_owned());
        }
        let registry = (change.kind == "alias").then(|| self.registry_of(&change.name)).flatten();
        let is_user = |grant: &Grant| match change.kind {
            "profile" => {
                grant.effect == Effect::Allow && grant.profile.as_ref().is_some_and(|one| one.as_str() == change.name)
            }
            "issuer" => grant.callers.iter().filter_map(CallerPattern::token).any(|token| token.issuer == change.name),
            "grant" => grant.id == change.name,
            "alias" => {
                let covers = |registry| grant.registries.iter().any(|pattern| pattern.covers(registry));
                grant.effect == Effect::Allow && registry.as_ref().is_some_and(covers)
            }
            _ => false,
        };
        let ids: BTreeSet<_> =
            self.config.policy.grants().iter().filter(|grant| is_user(grant)).map(|grant| &grant.id).collect();
        for id in ids {
            let grant = self.tables.of("grant").get(id);
            let items = |key: &str| {
                let items = grant.and_then(|table| table.get(key)?.as_array()).into_iter().flatten();
                items.map(|item| redacted(key, item)).map(|item| tables::plain(&item)).collect::<Vec<_>>()
            };
            change.callers.extend(items("callers"));
            change.registries.extend(items("registries"));
            change.grants.insert(id.clone());
        }
    }

    fn registry_of(&self, alias: &str) -> Option<crate::registry::Registry> {
        let mut aliases = self.config.aliases.iter();
        aliases.find(|(host, _)| *host == alias).map(|(_, registry)| registry.clone())
    }
}

/// Returns the settings of sections that differ.
fn settings<'a>(old: &'a Reader<'_>, new: &'a Reader<'_>) -> impl Iterator<Item = SettingChange> + 'a {
    let all = SECTIONS.iter().flat_map(|section| section.settings);
    all.filter_map(move |setting| {
        let [old, new] = [old, new].map(|reader| value(reader, setting));
        let shown = |value: Option<toml::Value>| value.map(|value| redacted(setting.key, &value)).unwrap_or_default();
        (old != new).then(|| SettingChange { setting: setting.name(), old: shown(old), new: shown(new) })
    })
}

fn value(reader: &Reader<'_>, setting: &SettingMeta) -> Option<toml::Value> {
    let default = || {
        let text = setting.default;
        (!text.is_empty()).then(|| text.parse().unwrap_or_else(|_| toml::Value::String(text.to_owned())))
    };
    reader.find(setting).map(|(value, _)| value).or_else(default)
}

#[cfg(test)]
mod tests;
