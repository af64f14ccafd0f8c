//! Estimate of the room that a session policy and session tags take in a role session.
//!
//! STS packs both into a binary form and rejects what exceeds its room (`PackedPolicyTooLarge`), however few characters they have. AWS
//! documents neither the form nor the room; STS only reports the used share in percent. This estimate fits the published shares:
//! 498 % for nine tags with values of 250 letters (aws-actions/configure-aws-credentials#1898), 74 % for the six tags of EKS Pod
//! Identity (aws/containers-roadmap#2413), and 6 % for the policy in AWS's reference of `AssumeRole`.

use std::collections::HashSet;

/// Bytes of the room.
const ROOM: usize = 455;
/// Bytes of a tag beside its key and value.
const TAG: usize = 8;
/// Bytes of a word that is in every policy, or in this one before.
const KNOWN: usize = 2;
/// Words of every policy.
const WORDS: [&str; 9] =
    ["Version", "2012-10-17", "Statement", "Sid", "Effect", "Allow", "Action", "Resource", "Condition"];

/// Returns the estimated share in percent, rounded up; above 100 STS rejects the session.
#[must_use]
pub fn percent<'a>(policy: Option<&str>, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> usize {
    let of_tags: usize = tags.into_iter().map(|(key, value)| TAG + key.len() + value.len()).sum();
    ((policy.map_or(0, of_policy) + of_tags) * 100).div_ceil(ROOM)
}

/// Returns the bytes of a policy: a new word takes its letters, a known one a reference to it, and nothing if it follows the same word
/// as before.
fn of_policy(policy: &str) -> usize {
    let is_of_word = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    let (mut seen, mut pairs, mut last) = (HashSet::from(WORDS), HashSet::new(), "");
    let mut bytes = policy.matches('*').count();
    for word in policy.split(|letter| !is_of_word(letter)).filter(|word| !word.is_empty()) {
        let is_new = seen.insert(word);
        if pairs.insert((last, word)) {
            bytes += if is_new { word.len() + 1 } else { KNOWN };
        }
        last = word;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_fits_the_published_shares() {
        let long = "a".repeat(250);
        let nine: Vec<_> = (1..=9).map(|number| format!("T{number}")).collect();
        let nine = percent(None, nine.iter().map(|key| (key.as_str(), long.as_str())));
        assert!((498..=520).contains(&nine), "{nine}");
        let pod_identity = percent(
            None,
            [
                ("eks-cluster-arn", "arn:aws:eks:us-west-2:111122223333:cluster/prod"),
                ("eks-cluster-name", "prod"),
                ("kubernetes-namespace", "ecr-broker"),
                ("kubernetes-service-account", "ecr-broker"),
                ("kubernetes-pod-name", "ecr-broker-7d4b9c8f6b-x2x7k"),
                ("kubernetes-pod-uid", "e0c0d755-a299-456e-8631-afed983c7b97"),
            ],
        );
        assert!((62..=80).contains(&pod_identity), "{pod_identity}");
        let reference =
            r#"{"Version":"2012-10-17","Statement":[{"Sid":"Stmt1","Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
        assert_eq!((percent(Some(reference), []), percent(None, [])), (6, 0));
    }

    #[test]
    fn repeated_words_take_less_room_than_new_ones() {
        let arn = |name: &str| format!("arn:aws:ecr:eu-west-1:123456789012:repository/{name}");
        let policy = |names: &[&str]| format!("{:?}", names.iter().map(|name| arn(name)).collect::<Vec<_>>());
        let size = |names: &[&str]| of_policy(&policy(names));
        let (one, two, other) = (size(&["team-a"]), size(&["team-a", "team-a"]), size(&["team-a", "team-b"]));
        assert!(one < two && two < other && other < 2 * one, "{one} {two} {other}");
    }
}
