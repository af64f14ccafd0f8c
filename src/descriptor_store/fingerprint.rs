//! Fingerprints of what a credential depends on beside its key.
//!
//! They are the same in every version of the broker, so that an upgrade keeps the credentials: each field is named here, and none is
//! printed by a derived format. A new field of a profile or of the AWS settings does not compile until it is added or left out here.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::credential::ProfileName;
use crate::policy::{Accounts, RegistryPattern};
use crate::profile::{Access, Attribution, ExtraPermissions, Profile, SessionTag, SessionTags};
use crate::source::{aws, broker};

/// The version of the session policies: another one drops the credentials of every profile that has a policy.
const SESSION_POLICY: &str = "2: region and account of the request";
/// Size of a fingerprint.
const BYTES: usize = 32;

/// A digest of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; BYTES]);

/// The fingerprints of the running configuration.
#[derive(Debug)]
pub(super) struct Fingerprints {
    pub(super) aws: Fingerprint,
    profiles: HashMap<ProfileName, Fingerprint>,
}

/// Digests fields by their names, so that no two lists of fields are alike.
struct Hasher(Sha256);

impl Fingerprints {
    pub(super) fn new<'a>(aws: Fingerprint, profiles: impl IntoIterator<Item = &'a Profile>) -> Self {
        let own = (ProfileName::default_profile(), Fingerprint::of_profile(None));
        let of = |profile: &Profile| (profile.name.clone(), Fingerprint::of_profile(Some(profile)));
        Self { aws, profiles: profiles.into_iter().map(of).chain([own]).collect() }
    }

    /// Returns the fingerprint of a profile, if there is one of this name.
    pub(super) fn find(&self, name: &ProfileName) -> Option<Fingerprint> {
        self.profiles.get(name).copied()
    }
}

impl Fingerprint {
    pub(super) fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    pub(super) const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the fingerprint of a profile; `None`: of the broker's own identity.
    pub(super) fn of_profile(profile: Option<&Profile>) -> Self {
        let mut hasher = Hasher::new("profile");
        if let Some(profile) = profile {
            // A credential that was tried is the same as before.
            let Profile {
                name,
                role_chain,
                access,
                repositories,
                extra,
                session_tags,
                attribution,
                source_identity,
                verify: _,
            } = profile;
            hasher.field("name", name.as_str());
            for role in role_chain {
                hasher.field("role", &role.to_string());
                hasher.optional("external_id", role.external_id.as_deref());
            }
            hasher.field("access", access_name(*access));
            for repository in repositories {
                hasher.field("repository", &repository.to_string());
            }
            hasher.extra_permissions(extra);
            hasher.session_tags(session_tags);
            // Credentials of an earlier policy may do more than those of today's.
            hasher.optional("session policy", profile.is_narrow().then_some(SESSION_POLICY));
            hasher.attribution(attribution);
            hasher.field("source_identity", if *source_identity { "true" } else { "false" });
        }
        hasher.finish()
    }

    /// Returns the fingerprint of what decides which AWS is called and as whom: the settings, and `sdk`, the SDK's own variables and
    /// keys with their values.
    #[must_use]
    pub fn of_aws<'a>(settings: &aws::Settings, sdk: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let aws::Settings {
            region,
            regions: _,
            needs_region: _,
            imds_disabled,
            ca_bundle,
            ecr_endpoint,
            ecr_endpoints,
            ecr_public_endpoint,
            ecr_public_region,
            sts_endpoint,
            signin_endpoint,
            endpoints_are_fips,
            web_identity,
            // The way of the calls does not change whose credentials they return.
            proxies: _,
            connect_timeout: _,
            attempt_timeout: _,
            operation_timeout: _,
            admission: _,
            sts_calls_per_second: _,
            // A credential that was tried is the same as before.
            verification: _,
            // Each credential has the fingerprint of its profile.
            profiles: _,
            simulated_credentials,
        } = settings;
        let mut hasher = Hasher::new("aws");
        let ca_bundle = ca_bundle.as_ref().map(|path| path.to_string_lossy());
        hasher.optional("region", region.as_deref());
        hasher.flag("imds_disabled", *imds_disabled);
        hasher.optional("ca_bundle", ca_bundle.as_deref());
        hasher.optional("ecr_endpoint", ecr_endpoint.as_deref());
        for (region, endpoint) in ecr_endpoints {
            hasher.field("ecr_endpoint of", region);
            hasher.field("is", endpoint);
        }
        hasher.optional("ecr_public_endpoint", ecr_public_endpoint.as_deref());
        hasher.field("ecr_public_region", ecr_public_region);
        hasher.optional("sts_endpoint", sts_endpoint.as_deref());
        hasher.optional("signin_endpoint", signin_endpoint.as_deref());
        hasher.flag("endpoints_are_fips", *endpoints_are_fips);
        hasher.optional("web_identity", web_identity.as_ref().map(|identity| identity.role_arn.as_str()));
        hasher.flag("simulated_credentials", *simulated_credentials);
        for (name, value) in sdk {
            hasher.field("sdk", name);
            hasher.field("is", value);
        }
        hasher.finish()
    }
}

impl Fingerprint {
    /// Adds what decides which parents are asked, and as whom. Without parents the fingerprint stays.
    #[must_use]
    pub fn with_parents(self, parents: &[broker::Settings]) -> Self {
        if parents.is_empty() {
            return self;
        }
        let mut hasher = Hasher::new("parents");
        hasher.0.update(self.0);
        for parent in parents {
            let broker::Settings {
                name,
                addresses,
                tls_ca,
                tls_identity,
                token_file,
                registries,
                profiles,
                fallback,
                forward_callers,
            } = parent;
            hasher.field("name", name.as_str());
            for address in addresses {
                hasher.field("address", &address.to_string());
            }
            let (certificate, key) = tls_identity.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
            for (name, path) in
                [("ca", tls_ca.as_ref()), ("cert", certificate), ("key", key), ("token", token_file.as_ref())]
            {
                hasher.optional(name, path.map(|path| path.to_string_lossy()).as_deref());
            }
            hasher.flag("forward_callers", *forward_callers);
            // Without the fallback a parent decides about what AWS gave before.
            hasher.flag("fallback", *fallback == broker::Fallback::Aws);
            for registry in registries {
                hasher.registry(registry);
            }
            for profile in profiles {
                hasher.field("profile", profile.as_str());
            }
        }
        hasher.finish()
    }
}

impl Hasher {
    fn new(of: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.field("ecr-broker fingerprint v1", of);
        hasher
    }

    fn field(&mut self, name: &str, value: &str) {
        for text in [name, value] {
            self.0.update((text.len() as u64).to_le_bytes());
            self.0.update(text.as_bytes());
        }
    }

    fn registry(&mut self, pattern: &RegistryPattern) {
        match pattern {
            RegistryPattern::Public => self.field("registries", "public"),
            RegistryPattern::Private { accounts, regions } => {
                self.field("registries", "private");
                match accounts {
                    Accounts::Any => self.field("account", "*"),
                    Accounts::Of(accounts) => {
                        for account in accounts {
                            self.field("account", account.as_str());
                        }
                    }
                }
                for region in regions {
                    self.field("region", &region.to_string());
                }
            }
        }
    }

    fn extra_permissions(&mut self, extra: &ExtraPermissions) {
        let ExtraPermissions { pull_through, mount_from, signing_profiles, actions } = extra;
        for (name, patterns) in [("pull_through", pull_through), ("mount_from", mount_from)] {
            for pattern in patterns {
                self.field(name, &pattern.to_string());
            }
        }
        for signer in signing_profiles {
            self.field("signing_profile", &signer.to_string());
        }
        for action in actions {
            self.field("action", action.as_str());
        }
    }

    fn attribution(&mut self, attribution: &Attribution) {
        match attribution {
            Attribution::Broker => self.field("attribution", "broker"),
            Attribution::Caller => self.field("attribution", "caller"),
            Attribution::Template(template) => {
                self.field("attribution", "template");
                for part in template.parts() {
                    self.field("part", &part.to_string());
                }
            }
        }
    }

    fn session_tags(&mut self, tags: &SessionTags) {
        for SessionTag { key, value, is_transitive } in &tags.0 {
            self.field("session_tag", key);
            self.field("is", &value.to_string());
            self.flag("transitive", *is_transitive);
        }
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.optional(name, value.then_some("true"));
    }

    fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finalize().into())
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Pull => "pull",
        Access::Push => "push",
        Access::Full => "full",
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::profile::ValueSource;

    fn profile() -> Profile {
        Profile {
            name: "ci".into(),
            role_chain: vec!["arn:aws:iam::123456789012:role/a".parse().expect("a role")],
            access: Access::Pull,
            repositories: vec!["team-a/*".parse().expect("a pattern")],
            extra: ExtraPermissions::default(),
            session_tags: SessionTags::default(),
            attribution: Attribution::Broker,
            source_identity: false,
            verify: None,
        }
    }

    #[test]
    fn fingerprint_differs_with_each_field_of_a_parent_and_stays_without_one() {
        let parent = broker::Settings {
            name: "central".parse().expect("a name"),
            addresses: vec!["https://a".parse().expect("an address")],
            tls_ca: None,
            tls_identity: None,
            token_file: None,
            registries: vec![RegistryPattern::Public],
            profiles: vec![ProfileName::default_profile()],
            fallback: broker::Fallback::None,
            forward_callers: false,
        };
        let changes: [fn(&mut broker::Settings); 10] = [
            |_| (),
            |one| one.name = "other".parse().expect("a name"),
            |one| one.addresses[0] = "https://b".parse().expect("an address"),
            |one| one.tls_ca = Some("/ca".into()),
            |one| one.tls_identity = Some(("/cert".into(), "/key".into())),
            |one| one.token_file = Some("/token".into()),
            |one| one.registries.push(RegistryPattern::every_private()),
            |one| one.profiles.push("far".into()),
            |one| one.forward_callers = true,
            |one| one.fallback = broker::Fallback::Aws,
        ];
        let own = Fingerprint::from_bytes([1; 32]);
        let of = |change: &fn(&mut broker::Settings)| {
            let mut parent = parent.clone();
            change(&mut parent);
            own.with_parents(&[parent]).0
        };
        let different: std::collections::BTreeSet<_> = changes.iter().map(of).chain([own.0]).collect();
        assert_eq!((different.len(), own.with_parents(&[])), (11, own));
    }

    fn tag(is_transitive: bool) -> SessionTag {
        SessionTag { key: "team".into(), value: ValueSource::Caller, is_transitive }
    }

    #[test]
    fn profile_fingerprint_differs_with_each_field() {
        let changes: [fn(&mut Profile); 15] = [
            |_| (),
            |one| one.name = "cd".into(),
            |one| one.role_chain.push(one.role_chain[0].clone()),
            |one| one.role_chain[0].external_id = Some("x".to_owned()),
            |one| one.access = Access::Full,
            |one| one.repositories.clear(),
            |one| one.extra.pull_through.push("hub/*".parse().expect("a pattern")),
            |one| one.extra.mount_from.push("hub/*".parse().expect("a pattern")),
            |one| one.extra.signing_profiles.push("release".parse().expect("a name")),
            |one| one.extra.actions.push("ecr:TagResource".parse().expect("an action")),
            |one| one.session_tags.0.push(tag(false)),
            |one| one.session_tags.0.push(tag(true)),
            |one| one.attribution = Attribution::Caller,
            |one| one.attribution = "ci-{claim:a}".parse().expect("a template"),
            |one| one.source_identity = true,
        ];
        let of = |change: &fn(&mut Profile)| {
            let mut profile = profile();
            change(&mut profile);
            Fingerprint::of_profile(Some(&profile)).0
        };
        let own = Fingerprint::of_profile(None).0;
        let different: std::collections::BTreeSet<_> = changes.iter().map(of).chain([own]).collect();
        assert_eq!(different.len(), 16);
    }

    /// An upgrade would drop every credential if this changed.
    #[test]
    fn profile_fingerprint_is_the_same_in_each_version() {
        let hex = |profile: Option<&Profile>| HEXLOWER.encode(&Fingerprint::of_profile(profile).0[..8]);
        assert_eq!((hex(Some(&profile())).as_str(), hex(None).as_str()), ("15ed316eba4f7b1f", "9d7c4790d943668f"));
    }
}
