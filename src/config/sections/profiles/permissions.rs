//! Keys of a profile for permissions beside its access.

use super::parsed::parsed;
use crate::config::list::Item;
use crate::profile::{Access, ExtraPermissions, Profile};

/// Reads the permissions.
pub(super) fn read(item: &mut Item<'_>) -> Option<ExtraPermissions> {
    let pull_through = item.take(parsed("pull_through", item.get("pull_through")));
    let mount_from = item.take(parsed("mount_from", item.get("mount_from")));
    let signing_profiles = item.take(parsed("signing_profiles", item.get("signing_profiles")));
    let actions = item.take(parsed("actions", item.get("actions")));
    Some(ExtraPermissions {
        pull_through: pull_through?,
        mount_from: mount_from?,
        signing_profiles: signing_profiles?,
        actions: actions?,
    })
}

/// Reports permissions without effect. Without a session policy the role alone decides.
pub(super) fn check(profile: &Profile, item: &mut Item<'_>) {
    let ExtraPermissions { pull_through, mount_from, signing_profiles, actions } = &profile.extra;
    let used = [
        ("pull_through", !pull_through.is_empty()),
        ("mount_from", !mount_from.is_empty()),
        ("signing_profiles", !signing_profiles.is_empty()),
        ("actions", !actions.is_empty()),
    ];
    for (key, _) in used.into_iter().filter(|(_, is_used)| *is_used) {
        if !profile.is_narrow() {
            item.report(format!("{key}: the profile has everything that its role allows; remove {key}"));
        } else if key == "actions" && profile.access == Access::Full {
            item.report("actions: access = \"full\" has every action on its repositories; remove actions");
        } else if ["mount_from", "signing_profiles"].contains(&key) && profile.access == Access::Pull {
            item.report(format!("{key} is for pushes; set access = \"push\", or remove {key}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_text;

    fn profile(keys: &str) -> String {
        format!("[[profiles]]\nname = \"a\"\nrole_chain = [\"arn:aws:iam::210987654321:role/x\"]\n{keys}")
    }

    #[test]
    fn permissions_are_read() {
        let (profiles, problems) = read_text(&profile(
            r#"access = "push"
            pull_through = ["docker-hub/*"]
            mount_from = ["base/*"]
            signing_profiles = ["release"]
            actions = ["ecr:BatchDeleteImage"]"#,
        ));
        assert!(problems.is_empty(), "{problems:?}");
        let extra = &profiles[0].extra;
        let texts = [&extra.pull_through, &extra.mount_from].map(|patterns| patterns[0].to_string());
        assert_eq!(texts, ["docker-hub/*", "base/*"]);
        let texts = (extra.signing_profiles[0].to_string(), extra.actions[0].as_str());
        assert_eq!(texts, ("release".to_owned(), "ecr:BatchDeleteImage"));
    }

    #[test]
    fn permissions_without_effect_and_unknown_names_are_rejected() {
        for (keys, hint) in [
            ("actions = [\"ecr:*\"]", "actions: \"ecr:*\" cannot be added; use one of: ecr:BatchDeleteImage"),
            ("signing_profiles = [\"a/b\"]", "signing_profiles: \"a/b\" is not a signing profile"),
            ("pull_through = [\"Hub\"]", "pull_through: \"Hub\" is not a repository"),
            ("mount_from = [\"base/*\"]", "mount_from is for pushes"),
            ("signing_profiles = [\"release\"]", "signing_profiles is for pushes"),
            ("access = \"full\"\npull_through = [\"hub/*\"]", "pull_through: the profile has everything"),
            (
                "access = \"full\"\nrepositories = [\"a\"]\nactions = [\"ecr:TagResource\"]",
                "actions: access = \"full\" has every action",
            ),
        ] {
            let (_, problems) = read_text(&profile(keys));
            assert!(problems.len() == 1 && problems[0].contains(hint), "{hint}: {problems:?}");
        }
    }
}
