//! `config check --roles`: what IAM must allow for the roles of profiles, and how large their sessions are.

use crate::profile::{Profile, TrustPolicy};

/// Letters that a tag's value is assumed to have: a long path of a repository has as many.
const VALUE_LENGTH: usize = 64;
/// Share of STS's room above which a profile is warned about. The estimate may be wrong by some percent.
const TIGHT: usize = 85;
const POD_IDENTITY: &str = "EKS Pod Identity: its tags are transitive and take about 74% of STS's packed size. Each role must \
                            also allow sts:TagSession, unless disableSessionTags is set in the association.";

/// Returns the lines about all profiles.
pub(super) fn describe(profiles: &[Profile]) -> Vec<String> {
    let lines = profiles.iter().flat_map(|profile| {
        let roles = profile.trust_policies().into_iter().flat_map(|policy| of_role(&policy));
        std::iter::once(size(profile)).chain(roles).collect::<Vec<_>>()
    });
    let note = (!profiles.is_empty()).then(|| POD_IDENTITY.to_owned());
    lines.chain(note).collect()
}

/// Returns a warning for each profile whose sessions STS may reject.
pub(super) fn warnings(profiles: &[Profile]) -> Vec<String> {
    let tight = profiles.iter().filter(|profile| profile.packed_size(VALUE_LENGTH) > TIGHT);
    let warning = |profile: &Profile| {
        format!(
            "profile {:?}: session policy and tags take about {}% of STS's packed size; list fewer or shorter repositories and tags",
            profile.name.as_str(),
            profile.packed_size(VALUE_LENGTH)
        )
    };
    tight.map(warning).collect()
}

fn size(profile: &Profile) -> String {
    let length = profile.longest_session_policy().map_or(0, |policy| policy.len());
    let (percent, tags) = (profile.packed_size(VALUE_LENGTH), profile.session_tags.0.len());
    let margin = 100_usize.saturating_sub(percent);
    format!(
        "profile {:?}: session policy of {length} characters (limit 2048), {tags} tags of {VALUE_LENGTH} letters: about {percent}% of \
         STS's packed size, margin {margin}%",
        profile.name.as_str()
    )
}

fn of_role(policy: &TrustPolicy) -> Vec<String> {
    let by = policy.assumed_by.as_deref().unwrap_or("the broker's own identity");
    let document = serde_json::to_string_pretty(&policy.document).unwrap_or_default();
    vec![
        format!(
            "role {}: assumed by {by}, which must be allowed {} on it; its trust policy:",
            policy.role,
            policy.actions.join(", ")
        ),
        document,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Access, SessionTag};

    fn profile(repositories: usize) -> Profile {
        let repositories = (0..repositories).map(|number| format!("some-team-{number}/*").parse().unwrap()).collect();
        let role_chain = ["arn:aws:iam::210987654321:role/hub", "arn:aws:iam::{account}:role/pull"];
        let mut profile = Profile {
            role_chain: role_chain.iter().map(|role| role.parse().unwrap()).collect(),
            access: Access::Push,
            repositories,
            ..Profile::of_parent("ci".into())
        };
        let value = "claim:namespace_path".parse().unwrap();
        profile.session_tags.0.push(SessionTag { key: "team".into(), value, is_transitive: true });
        profile
    }

    #[test]
    fn roles_are_described_with_their_trust_policies() {
        let lines = describe(&[profile(1)]);
        assert!(lines[0].starts_with("profile \"ci\": session policy of "), "{}", lines[0]);
        let hub = "role arn:aws:iam::210987654321:role/hub: assumed by the broker's own identity, which must be allowed \
                   sts:AssumeRole, sts:TagSession on it; its trust policy:";
        assert_eq!(lines[1], hub);
        assert!(lines[2].contains("\"sts:TagSession\"") && lines[2].contains("BROKER-IDENTITY-ARN"), "{}", lines[2]);
        assert!(lines[3].contains("assumed by arn:aws:iam::210987654321:role/hub, "), "{}", lines[3]);
        assert!(lines[5].starts_with("EKS Pod Identity: "), "{lines:?}");
        assert!(describe(&[]).is_empty());
    }

    #[test]
    fn large_sessions_are_warned_about() {
        assert!(warnings(&[profile(1)]).is_empty(), "{:?}", warnings(&[profile(1)]));
        let warned = warnings(&[profile(1), profile(18)]);
        assert!(warned.len() == 1 && warned[0].contains("% of STS's packed size; list fewer"), "{warned:?}");
    }
}
