//! The answer of `policy tighten` as text, which is TOML with comments, and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::answer::{Answer, Events};
use crate::policy::grants_as_toml;
use crate::policy::tighten::{Replay, SessionUse, TightProfile};
use crate::profile::Access;
use crate::quoted::Visible;
use crate::time_text::rfc3339_seconds;

/// Maximum number of lines about denied use.
const MAX_DENIED: usize = 20;
const WITHOUT_CLOUDTRAIL: &str =
    "the audit log tells registries, not repositories and actions: only CloudTrail has them, --cloudtrail FILE";
const UNKNOWN: [&str; 3] = [
    "use that is older than these logs, and rare use such as a yearly build",
    "ECR writes calls to CloudTrail of the registry's own account: name the files of each account and region",
    "the callers of a grant: their patterns stay as they are",
];

pub(super) fn as_text(answer: &Answer<'_>) -> String {
    let mut lines = vec![format!("# Read {}.", answer.read.in_words())];
    lines.extend(events_in_words(&answer.used.events));
    lines.extend(answer.used.unknown_grants.iter().map(|(grant, count)| {
        format!(
            "# Not counted: {count} releases by {:?}, which is not a grant of the configuration.",
            Visible(grant).to_string()
        )
    }));
    lines.push(String::new());
    lines.push("# The grants with the registries that were used. Review them, and replace yours.".to_owned());
    lines.push(grants_as_toml(&answer.proposal.grants).trim_end().to_owned());
    lines.extend(answer.proposal.unused.iter().map(|id| format!("# Unused and left out: grant {id:?}.")));
    lines.extend(sessions(answer));
    lines.extend(profiles(answer));
    lines.push(String::new());
    lines.push(format!("# Replay of all records: {}", replay_in_words(&answer.replay)));
    lines.extend(denied(&answer.replay));
    match &answer.back_test {
        Some((split, replay)) => {
            let head = format!("# A proposal made at {}, replayed with the use since: ", time(*split));
            lines.push(head + &replay_in_words(replay));
            lines.extend(denied(replay));
        }
        None => {
            lines.push("# Less than five hours of use: too short for a proposal to be tried on later use.".to_owned());
        }
    }
    lines.extend(unknown(answer).into_iter().map(|text| format!("# Not known: {text}.")));
    lines.join("\n")
}

fn events_in_words(events: &Events) -> Option<String> {
    let Events { files, matched, other_sessions, failed } = events;
    (*files > 0).then(|| {
        format!(
            "# Read {files} files of CloudTrail: {matched} calls of sessions in the audit log, {other_sessions} of \
             others, {failed} failed."
        )
    })
}

/// Returns the calls of each session's grants, as comments.
fn sessions(answer: &Answer<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (session, calls) in answer.used.usage.calls() {
        let grants: Vec<_> = session.grants.iter().map(|grant| format!("{grant:?}")).collect();
        let repositories: BTreeSet<_> = calls.keys().map(|(_, name)| Visible(name).to_string()).collect();
        let repositories: Vec<_> = repositories.into_iter().collect();
        let names = if grants.len() == 1 { "Grant" } else { "Grants" };
        lines.push(String::new());
        lines.push(format!("# {names} {}, profile {:?}:", grants.join(", "), Visible(&session.profile).to_string()));
        let actions: Vec<_> = by_action(&calls).iter().map(|(action, count)| format!("{action} {count}")).collect();
        lines.push(format!("#   actions: {}", actions.join(", ")));
        lines.push(format!("#   repositories: {}", repositories.join(", ")));
    }
    lines
}

fn by_action(calls: &BTreeMap<(&str, &str), u64>) -> BTreeMap<String, u64> {
    let mut actions = BTreeMap::new();
    for ((action, _), count) in calls {
        *actions.entry(Visible(action).to_string()).or_default() += count;
    }
    actions
}

fn profiles(answer: &Answer<'_>) -> Vec<String> {
    let profile = |profile: &TightProfile| {
        let repositories: Vec<_> = profile.repositories.iter().map(|one| format!("{:?}", one.to_string())).collect();
        let others: Vec<_> = profile.other_actions.iter().map(|action| Visible(action).to_string()).collect();
        let others = (!others.is_empty())
            .then(|| format!("# Neither a pull nor a push, so that the access stays: {}.", others.join(", ")));
        let keys = format!(
            "# Of [[profiles]] {:?}:\n# access = {:?}\n# repositories = [{}]",
            profile.name.as_str(),
            access(profile.access),
            repositories.join(", ")
        );
        [Some(String::new()), Some(keys), others]
    };
    answer.proposal.profiles.iter().flat_map(profile).flatten().collect()
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Pull => "pull",
        Access::Push => "push",
        Access::Full => "full",
    }
}

fn replay_in_words(replay: &Replay) -> String {
    let releases: u64 = replay.denied_releases.values().sum();
    let head = format!("{releases} of {} releases denied", replay.releases);
    if replay.calls == 0 {
        return head + ".";
    }
    let (pulls, calls): (u64, u64) = (replay.denied_pulls.values().sum(), replay.denied_calls.values().sum());
    format!("{head}, {pulls} of {} pulls and {calls} of {} calls to ECR.", replay.pulls, replay.calls)
}

fn denied(replay: &Replay) -> Vec<String> {
    let releases = replay
        .denied_releases
        .iter()
        .map(|((grant, registry), count)| format!("#   {count} releases: grant {grant:?}, {}", Visible(registry)));
    let calls = replay.denied_calls.iter().map(|((profile, action, name), count)| {
        format!("#   {count} calls: profile {profile:?}, {} on {}", Visible(action), Visible(name))
    });
    let mut lines: Vec<_> = releases.chain(calls).collect();
    let more = lines.len().saturating_sub(MAX_DENIED);
    lines.truncate(MAX_DENIED);
    lines.extend((more > 0).then(|| format!("#   and {more} more")));
    lines
}

fn unknown(answer: &Answer<'_>) -> Vec<String> {
    let without = (answer.used.events.files == 0).then(|| WITHOUT_CLOUDTRAIL.to_owned());
    let profiles = answer.config.profiles();
    let mut own: Vec<_> =
        profiles.iter().filter(|one| !one.role_chain.is_empty()).map(|one| one.name.clone()).collect();
    own.retain(|name| answer.proposal.profiles.iter().all(|profile| profile.name != *name));
    let calls = (!own.is_empty() && without.is_none()).then(|| {
        let names: Vec<_> = own.iter().map(ToString::to_string).collect();
        format!("the calls of the profiles {}: the files of CloudTrail have none", names.join(", "))
    });
    without.into_iter().chain(calls).chain(UNKNOWN.map(str::to_owned)).collect()
}

pub(super) fn as_json(answer: &Answer<'_>) -> anyhow::Result<Value> {
    let grants: toml::Table = grants_as_toml(&answer.proposal.grants).parse()?;
    let (from, to) = &answer.read.times;
    let events = &answer.used.events;
    let session = |(session, calls): (&SessionUse, BTreeMap<(&str, &str), u64>)| {
        let calls: Vec<_> = calls
            .iter()
            .map(|((action, repository), count)| json!({ "action": action, "repository": repository, "count": count }))
            .collect();
        json!({ "profile": session.profile, "grants": session.grants, "calls": calls })
    };
    let profile = |profile: &TightProfile| {
        let repositories: Vec<_> = profile.repositories.iter().map(ToString::to_string).collect();
        json!({
            "name": profile.name.as_str(), "access": access(profile.access), "repositories": repositories,
            "other_actions": profile.other_actions,
        })
    };
    let back_test = answer.back_test.as_ref().map(|(split, replay)| {
        let mut value = replay_json(replay);
        value["from"] = time(*split).into();
        value
    });
    Ok(json!({
        "records": answer.read.records, "damaged": answer.read.damaged, "from": from, "to": to,
        "releases": answer.used.usage.releases(), "not_counted": answer.used.unknown_grants,
        "cloudtrail": {
            "files": events.files, "matched": events.matched,
            "other_sessions": events.other_sessions, "failed": events.failed,
        },
        "grants": grants.get("grants").map_or_else(|| json!([]), |grants| json!(grants)),
        "unused_grants": answer.proposal.unused,
        "sessions": answer.used.usage.calls().map(session).collect::<Vec<_>>(),
        "profiles": answer.proposal.profiles.iter().map(profile).collect::<Vec<_>>(),
        "replay": replay_json(&answer.replay), "back_test": back_test, "not_known": unknown(answer),
    }))
}

fn replay_json(replay: &Replay) -> Value {
    let releases = replay.denied_releases.iter();
    let releases =
        releases.map(|((grant, registry), count)| json!({ "grant": grant, "registry": registry, "count": count }));
    let calls = replay.denied_calls.iter().map(|((profile, action, name), count)| {
        json!({ "profile": profile, "action": action, "repository": name, "count": count })
    });
    let total = |numbers: &BTreeMap<(String, String), u64>| numbers.values().sum::<u64>();
    json!({
        "releases": replay.releases, "denied_releases": total(&replay.denied_releases),
        "pulls": replay.pulls, "denied_pulls": total(&replay.denied_pulls),
        "calls": replay.calls, "denied_calls": replay.denied_calls.values().sum::<u64>(),
        "denied": releases.chain(calls).collect::<Vec<_>>(),
    })
}

fn time(hour: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_hours(hour));
    time.and_then(rfc3339_seconds).unwrap_or_default()
}
