//! Tighter grants and profiles: the narrowest ones that allow what was used, and a replay of the use against them.

use std::collections::{BTreeMap, BTreeSet};

use super::grant::{Effect, Grant, Policy};
use super::suggest::RequestedRegistries;
use crate::credential::ProfileName;
use crate::profile::{Access, Profile, RepositoryPattern};
use crate::registry::Registry;

/// Numbers of uses by hour since 1970: few for a log of any size.
type Hours = BTreeMap<u64, u64>;

/// Actions of a pull, and of what a push does besides.
const PULL: [&str; 3] = ["BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"];
const PUSH: [&str; 4] = ["CompleteLayerUpload", "InitiateLayerUpload", "PutImage", "UploadLayerPart"];

/// A profile, and the grants by which its sessions were used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionUse {
    /// The profile.
    pub profile: String,
    /// The grants; several share a session unless each caller has its own.
    pub grants: BTreeSet<String>,
}

/// What was used, by hour.
#[derive(Debug, Default)]
pub struct Usage {
    /// Releases by grant and registry.
    releases: BTreeMap<(String, Registry), Hours>,
    /// Calls to ECR by session, action and repository.
    calls: BTreeMap<SessionUse, BTreeMap<(String, String), Hours>>,
}

/// Tighter grants and profiles.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// All grants in their order, without the unused ones.
    pub grants: Vec<Grant>,
    /// The grants that allow and were not used.
    pub unused: Vec<String>,
    /// The profiles whose calls are known.
    pub profiles: Vec<TightProfile>,
}

/// A profile with the access and the repositories that were used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TightProfile {
    /// The name.
    pub name: ProfileName,
    /// The access.
    pub access: Access,
    /// The repositories; empty: all.
    pub repositories: Vec<RepositoryPattern>,
    /// Actions that neither a pull nor a push needs. The access stays as it is if there are any.
    pub other_actions: BTreeSet<String>,
}

/// The use that a proposal would have denied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Number of the releases.
    pub releases: u64,
    /// The denied ones, by grant and registry.
    pub denied_releases: BTreeMap<(String, String), u64>,
    /// Number of the pulls: calls of `BatchGetImage`.
    pub pulls: u64,
    /// The denied ones, by profile and repository.
    pub denied_pulls: BTreeMap<(String, String), u64>,
    /// Number of all calls.
    pub calls: u64,
    /// The denied ones, by profile, action and repository.
    pub denied_calls: BTreeMap<(String, String, String), u64>,
}

impl Usage {
    /// Adds releases by a grant.
    pub fn add_release(&mut self, grant: &str, registry: Registry, hour: u64, count: u64) {
        *self.releases.entry((grant.to_owned(), registry)).or_default().entry(hour).or_default() += count;
    }

    /// Adds a call to ECR.
    pub fn add_call(&mut self, session: &SessionUse, action: &str, repository: &str, hour: u64) {
        let calls = self.calls.entry(session.clone()).or_default();
        *calls.entry((action.to_owned(), repository.to_owned())).or_default().entry(hour).or_default() += 1;
    }

    /// Returns the hour after four fifths of the time of the use; `None`: there are fewer than five hours.
    #[must_use]
    pub fn split_hour(&self) -> Option<u64> {
        let hours = || self.releases.values().flat_map(BTreeMap::keys).copied();
        let (first, last) = (hours().min()?, hours().max()?);
        (last - first >= 4).then(|| first + (last + 1 - first) * 4 / 5)
    }

    /// Returns the numbers of calls by session, action and repository.
    pub fn calls(&self) -> impl Iterator<Item = (&SessionUse, BTreeMap<(&str, &str), u64>)> {
        self.calls.iter().map(|(session, calls)| {
            let numbers = calls.iter().map(|((action, name), hours)| ((&**action, &**name), hours.values().sum()));
            (session, numbers.collect())
        })
    }

    /// Returns the number of releases by each grant.
    #[must_use]
    pub fn releases(&self) -> BTreeMap<&str, u64> {
        let mut numbers = BTreeMap::new();
        for ((grant, _), hours) in &self.releases {
            *numbers.entry(grant.as_str()).or_default() += hours.values().sum::<u64>();
        }
        numbers
    }
}

/// Proposes grants and profiles for the use before an hour; `None`: for all.
#[must_use]
pub fn propose(policy: &Policy, profiles: &[Profile], usage: &Usage, before: Option<u64>) -> Proposal {
    let mut proposal = Proposal::default();
    for grant in policy.grants() {
        let registries = (grant.effect == Effect::Allow).then(|| used_registries(&grant.id, usage, before));
        match registries {
            None => proposal.grants.push(grant.clone()),
            Some(used) if used.patterns().is_empty() => proposal.unused.push(grant.id.clone()),
            Some(used) => proposal.grants.push(Grant { registries: used.patterns(), ..grant.clone() }),
        }
    }
    let tight = profiles.iter().filter_map(|profile| tight_profile(profile, usage, before));
    proposal.profiles.extend(tight);
    proposal
}

fn used_registries(grant: &str, usage: &Usage, before: Option<u64>) -> RequestedRegistries {
    let mut used = RequestedRegistries::default();
    for ((_, registry), _) in usage.releases.iter().filter(|((id, _), hours)| id == grant && is_used(hours, before)) {
        used.add(registry);
    }
    used
}

fn is_used(hours: &Hours, before: Option<u64>) -> bool {
    hours.keys().next().is_some_and(|first| before.is_none_or(|before| *first < before))
}

fn tight_profile(profile: &Profile, usage: &Usage, before: Option<u64>) -> Option<TightProfile> {
    let of_profile = usage.calls.iter().filter(|(session, _)| session.profile == profile.name.as_str());
    let used: BTreeSet<_> = of_profile
        .flat_map(|(_, calls)| calls)
        .filter(|(_, hours)| is_used(hours, before))
        .map(|(call, _)| call)
        .collect();
    if used.is_empty() || profile.role_chain.is_empty() {
        return None;
    }
    let is = |actions: &'static [&str]| move |action: &str| actions.contains(&action);
    let (is_pull, is_push) = (is(&PULL), is(&PUSH));
    let actions: BTreeSet<_> = used.iter().map(|(action, _)| action.as_str()).collect();
    let others = actions.iter().filter(|action| !is_pull(action) && !is_push(action));
    let other_actions: BTreeSet<_> = others.map(ToString::to_string).collect();
    let access = match actions.iter().any(|action| is_push(action)) {
        _ if !other_actions.is_empty() => profile.access,
        true => Access::Push,
        false => Access::Pull,
    };
    let names = used.iter().map(|(_, name)| name.as_str()).filter(|name| !name.is_empty()).collect();
    let repositories = fitting(&Profile { access, ..profile.clone() }, &names);
    Some(TightProfile { name: profile.name.clone(), access, repositories, other_actions })
}

/// Returns the narrowest patterns of repositories whose session policy STS accepts, and that are not wider than the
/// profile's own.
fn fitting(profile: &Profile, names: &BTreeSet<&str>) -> Vec<RepositoryPattern> {
    let own: Vec<_> = profile.repositories.iter().map(ToString::to_string).collect();
    for depth in [usize::MAX, 3, 2, 1] {
        let patterns: BTreeSet<_> = names.iter().map(|name| shortened(name, depth)).collect();
        let is_narrower = |pattern: &String| own.is_empty() || own.iter().any(|own| covers(own, pattern));
        let parsed: Result<Vec<RepositoryPattern>, _> = patterns.iter().map(|pattern| pattern.parse()).collect();
        let Ok(repositories) = parsed else { break };
        let proposed = Profile { repositories: repositories.clone(), ..profile.clone() };
        if patterns.iter().all(is_narrower) && proposed.session_policy_fits() {
            return repositories;
        }
    }
    profile.repositories.clone()
}

/// Returns a pattern of the first `depth` parts of a name, or the name if it has no more.
fn shortened(name: &str, depth: usize) -> String {
    match name.match_indices('/').nth(depth - 1) {
        Some((end, _)) => format!("{}*", &name[..=end]),
        None => name.to_owned(),
    }
}

/// Returns whether a pattern covers a name or each name of another pattern.
fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.strip_suffix('*').unwrap_or(name).starts_with(prefix),
        None => pattern == name,
    }
}

impl Proposal {
    /// Replays the use from an hour on, or all, against the proposal. A profile whose calls are not known keeps what it
    /// has.
    #[must_use]
    pub fn replay(&self, usage: &Usage, from: Option<u64>) -> Replay {
        let mut replay = Replay::default();
        let count = |hours: &Hours| hours.range(from.unwrap_or(0)..).map(|(_, count)| count).sum::<u64>();
        for ((id, registry), hours) in &usage.releases {
            let count = count(hours);
            let allows = |grant: &&Grant| grant.id == *id && grant.registries.iter().any(|one| one.covers(registry));
            replay.releases += count;
            if count > 0 && !self.grants.iter().any(|grant| allows(&grant)) {
                *replay.denied_releases.entry((id.clone(), host(registry))).or_default() += count;
            }
        }
        for (session, calls) in &usage.calls {
            let profile = self.profiles.iter().find(|profile| profile.name.as_str() == session.profile);
            for ((action, name), hours) in calls {
                let is_allowed = profile.is_none_or(|profile| profile.allows(action, name));
                replay.add_calls(&session.profile, (action, name), count(hours), is_allowed);
            }
        }
        replay
    }
}

fn host(registry: &Registry) -> String {
    registry.host_in(None).unwrap_or_default()
}

impl Replay {
    fn add_calls(&mut self, profile: &str, (action, name): (&str, &str), count: u64, is_allowed: bool) {
        let is_pull = action == "BatchGetImage";
        self.calls += count;
        self.pulls += if is_pull { count } else { 0 };
        if is_allowed || count == 0 {
            return;
        }
        let (profile, action, name) = (profile.to_owned(), action.to_owned(), name.to_owned());
        if is_pull {
            *self.denied_pulls.entry((profile.clone(), name.clone())).or_default() += count;
        }
        *self.denied_calls.entry((profile, action, name)).or_default() += count;
    }
}

impl TightProfile {
    /// Returns whether the profile's session policy allows a call.
    fn allows(&self, action: &str, name: &str) -> bool {
        let is_action = match self.access {
            Access::Pull => PULL.contains(&action),
            Access::Push => PULL.contains(&action) || PUSH.contains(&action),
            Access::Full => true,
        };
        let repositories = &self.repositories;
        is_action && (repositories.is_empty() || repositories.iter().any(|one| covers(&one.to_string(), name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::grants_as_toml;
    use crate::policy::pattern::{CallerPattern, RegistryPattern};

    const HOSTS: [&str; 4] = [
        "111111111111.dkr.ecr.eu-west-1.amazonaws.com",
        "222222222222.dkr.ecr.eu-west-1.amazonaws.com",
        "222222222222.dkr.ecr.us-east-1.amazonaws.com",
        "public.ecr.aws",
    ];

    fn grant(id: &str, effect: Effect) -> Grant {
        let every = HOSTS.map(|host| RegistryPattern::only(&host.parse().unwrap()).unwrap());
        Grant {
            id: id.to_owned(),
            callers: vec![CallerPattern::Loopback],
            registries: every.into(),
            profile: Some("pull".into()),
            effect,
            max_lifetime: None,
        }
    }

    fn profile(access: Access, repositories: &[&str]) -> Profile {
        Profile {
            role_chain: vec!["arn:aws:iam::{account}:role/pull".parse().unwrap()],
            access,
            repositories: repositories.iter().map(|one| one.parse().unwrap()).collect(),
            verify: None,
            ..Profile::of_parent("pull".into())
        }
    }

    fn session() -> SessionUse {
        SessionUse { profile: "pull".into(), grants: BTreeSet::from(["ci".to_owned()]) }
    }

    fn calls(used: &[(&str, &str)]) -> Usage {
        let mut usage = Usage::default();
        for (action, name) in used {
            usage.add_call(&session(), action, name, 0);
        }
        usage
    }

    fn tight(own: &Profile, used: &[(&str, &str)]) -> (Access, Vec<String>) {
        let proposal = propose(&Policy::Open, std::slice::from_ref(own), &calls(used), None);
        let tight = proposal.profiles.first().expect("known calls").clone();
        assert_eq!(proposal.replay(&calls(used), None).denied_calls, BTreeMap::new(), "{used:?}");
        (tight.access, tight.repositories.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn grants_allow_the_registries_that_were_used_and_no_others() {
        let policy = Policy::Grants(vec![
            grant("deny", Effect::Deny),
            grant("ci", Effect::Allow),
            grant("old", Effect::Allow),
            grant("ops", Effect::Operate),
        ]);
        let mut usage = Usage::default();
        for (host, hour) in [(HOSTS[0], 1), (HOSTS[1], 2), (HOSTS[3], 9)] {
            usage.add_release("ci", host.parse().unwrap(), hour, 5);
        }
        let proposal = propose(&policy, &[], &usage, None);
        let ids: Vec<_> = proposal.grants.iter().map(|grant| grant.id.as_str()).collect();
        assert_eq!((ids, proposal.unused.as_slice()), (vec!["deny", "ci", "ops"], ["old".to_owned()].as_slice()));
        let text = grants_as_toml(&proposal.grants[1..2]);
        let accounts = "[\"111111111111\", \"222222222222\"]";
        let registries =
            format!("registries = [{{ accounts = {accounts}, regions = [\"eu-west-1\"] }}, {{ public = true }}]");
        assert!(text.contains(&registries), "{text}");
        assert_eq!(proposal.grants[0], grant("deny", Effect::Deny));
        assert_eq!(proposal.replay(&usage, None), Replay { releases: 15, ..Replay::default() });

        // A proposal of the first hours denies what is used later.
        assert_eq!(usage.split_hour(), Some(8));
        let proposal = propose(&policy, &[], &usage, usage.split_hour());
        let denied = BTreeMap::from([(("ci".to_owned(), HOSTS[3].to_owned()), 5)]);
        let replay = Replay { releases: 5, denied_releases: denied, ..Replay::default() };
        assert_eq!(proposal.replay(&usage, usage.split_hour()), replay);
    }

    #[test]
    fn profiles_have_the_access_and_repositories_that_were_used() {
        let full = profile(Access::Full, &[]);
        let (pull, push) = ("BatchGetImage", "PutImage");
        let both = vec!["base/debian".to_owned(), "team-a/app".to_owned()];
        assert_eq!(tight(&full, &[(pull, "team-a/app"), (pull, "base/debian")]), (Access::Pull, both.clone()));
        assert_eq!(tight(&full, &[(push, "team-a/app"), (pull, "base/debian")]), (Access::Push, both));
        // An action of neither leaves the access, and narrows the repositories.
        assert_eq!(tight(&full, &[("ListImages", "a"), (pull, "a")]), (Access::Full, vec!["a".to_owned()]));
        let proposal = propose(&Policy::Open, &[full], &Usage::default(), None);
        assert!(proposal.profiles.is_empty(), "without calls nothing is known");
    }

    #[test]
    fn too_many_repositories_become_prefixes_and_never_wider_ones() {
        let names: Vec<_> = (0..90).map(|number| format!("team-{}/apps/service-{number}", number % 3)).collect();
        let used: Vec<_> = names.iter().map(|name| ("BatchGetImage", name.as_str())).collect();
        let prefixes: Vec<_> = (0..3).map(|team| format!("team-{team}/apps/*")).collect();
        assert_eq!(tight(&profile(Access::Pull, &[]), &used).1, prefixes);
        assert_eq!(tight(&profile(Access::Pull, &["team-*"]), &used).1, prefixes);
        // A prefix would be wider than the profile's own patterns.
        let own = ["team-0/apps/service-*", "team-1/apps/service-*", "team-2/apps/service-*"];
        assert_eq!(tight(&profile(Access::Pull, &own), &used).1, own);
    }

    #[test]
    fn replay_counts_the_pulls_that_a_proposal_denies() {
        let mut usage = Usage::default();
        for (action, name, hour) in [
            ("BatchGetImage", "a", 0),
            ("BatchGetImage", "b", 8),
            ("BatchGetImage", "b", 9),
            ("PutImage", "a", 9),
            ("BatchGetImage", "a", 9),
        ] {
            usage.add_call(&session(), action, name, hour);
        }
        let proposal = propose(&Policy::Open, &[profile(Access::Push, &[])], &usage, Some(8));
        let replay = proposal.replay(&usage, Some(8));
        assert_eq!((replay.pulls, replay.calls), (3, 4));
        assert_eq!(replay.denied_pulls, BTreeMap::from([(("pull".to_owned(), "b".to_owned()), 2)]));
        assert_eq!(replay.denied_calls.values().sum::<u64>(), 3);
    }
}
