//! Bounds of an included file: the accounts and profiles that its grants and profiles may reach.

use toml::{Table, Value};

use crate::config::value_type::Expected;
use crate::config::values::{self, PROFILE_NAME, strings};
use crate::credential::ProfileName;
use crate::policy::{Accounts, Effect, Grant, RegistryPattern};
use crate::profile::Profile;
use crate::registry::AccountId;

const KEYS: [&str; 4] = ["files", "accounts", "public", "profiles"];

/// The limits of an included file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Bound {
    accounts: Accounts,
    public: bool,
    profiles: Vec<ProfileName>,
}

impl Bound {
    /// Reads the keys beside `files`. Without `profiles`, the file may use the broker's own identity only.
    pub(super) fn read(table: &Table) -> Result<Self, String> {
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("{key}: unknown key; the keys are {}", KEYS.join(", ")));
        }
        let accounts = table.get("accounts").map(values::accounts).transpose()?;
        let public = table.get("public").map_or(Ok(false), |value| {
            value.as_bool().ok_or_else(|| format!("public: {}", Expected::Words("true or false").but_got(value)))
        })?;
        if accounts.is_none() && !public {
            return Err("without accounts its files can grant nothing; set accounts or public = true".to_owned());
        }
        let profiles = table.get("profiles").map_or_else(|| Ok(vec![ProfileName::default_profile()]), profiles)?;
        Ok(Self { accounts: accounts.unwrap_or(Accounts::Of(Vec::new())), public, profiles })
    }

    /// Returns how a grant reaches beyond the bound.
    pub(in crate::config) fn problems_of_grant(&self, grant: &Grant) -> Vec<String> {
        if grant.effect == Effect::Operate {
            return vec![
                "operator: a file with limits cannot name operators; move the grant to the main file".to_owned(),
            ];
        }
        let mut problems: Vec<_> =
            grant.registries.iter().flat_map(|pattern| self.problems_of_pattern(pattern)).collect();
        match &grant.profile {
            Some(profile) => problems.extend(self.problem_of_profile("profile", profile)),
            None => problems.push(format!("profile is missing; name one of this file's profiles: {}", self.profiles())),
        }
        if grant.effect == Effect::Allow {
            problems.extend(grant.registries.iter().flat_map(problems_of_regions));
        }
        problems
    }

    /// Returns the part of a denial that is within the bound, as a denial for each profile.
    pub(in crate::config) fn part_of(&self, denial: &Grant) -> Vec<Grant> {
        let registries: Vec<_> = denial.registries.iter().filter_map(|pattern| self.part_of_pattern(pattern)).collect();
        if registries.is_empty() {
            return Vec::new();
        }
        let applies = |profile: &&ProfileName| denial.profile.as_ref().is_none_or(|one| one == *profile);
        let of = |profile: &ProfileName| Grant {
            profile: Some(profile.clone()),
            registries: registries.clone(),
            ..denial.clone()
        };
        self.profiles.iter().filter(applies).map(of).collect()
    }

    fn part_of_pattern(&self, pattern: &RegistryPattern) -> Option<RegistryPattern> {
        let RegistryPattern::Private { accounts, regions } = pattern else {
            return self.public.then_some(RegistryPattern::Public);
        };
        let accounts = match (accounts, &self.accounts) {
            (accounts, Accounts::Any) => accounts.clone(),
            (Accounts::Any, own) => own.clone(),
            (Accounts::Of(accounts), Accounts::Of(_)) => {
                Accounts::Of(accounts.iter().filter(|account| self.has_account(account)).copied().collect())
            }
        };
        let is_empty = accounts == Accounts::Of(Vec::new());
        (!is_empty).then(|| RegistryPattern::Private { accounts, regions: regions.clone() })
    }

    fn problems_of_pattern(&self, pattern: &RegistryPattern) -> Vec<String> {
        let beyond = |what: &str| {
            format!("registries: {what} not in this file's include; remove the registry or extend include")
        };
        match (pattern, &self.accounts) {
            (RegistryPattern::Public, _) if !self.public => vec![beyond("public is")],
            (RegistryPattern::Public, _) | (_, Accounts::Any) => Vec::new(),
            (RegistryPattern::Private { accounts: Accounts::Any, .. }, _) => vec![beyond("every account is")],
            (RegistryPattern::Private { accounts: Accounts::Of(accounts), .. }, _) => {
                let others = accounts.iter().filter(|account| !self.has_account(account));
                others.map(|account| beyond(&format!("account {account} is"))).collect()
            }
        }
    }

    /// Returns how a profile reaches beyond the bound: by its name, or by the account of the role that requests the token.
    pub(in crate::config) fn problems_of_definition(&self, profile: &Profile) -> Vec<String> {
        let mut problems: Vec<_> = self.problem_of_profile("name", &profile.name).into_iter().collect();
        let account = profile.role_chain.last().and_then(|last| last.role.account());
        if let Some(account) = account.filter(|account| !self.has_account(account)) {
            problems.push(format!(
                "role_chain: account {account} of the last role is not in this file's include; use a role of its accounts"
            ));
        }
        problems
    }

    fn problem_of_profile(&self, key: &str, profile: &ProfileName) -> Option<String> {
        let is_beyond = !self.profiles.contains(profile);
        is_beyond.then(|| {
            let profile = profile.as_str();
            format!("{key}: {profile:?} is not in this file's include; use one of its profiles: {}", self.profiles())
        })
    }

    fn has_account(&self, account: &AccountId) -> bool {
        match &self.accounts {
            Accounts::Any => true,
            Accounts::Of(accounts) => accounts.contains(account),
        }
    }

    fn profiles(&self) -> String {
        self.profiles.iter().map(ProfileName::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the regions that AWS does not have. Each would cost calls and a queue, and a grant that names one makes it known.
fn problems_of_regions(pattern: &RegistryPattern) -> impl Iterator<Item = String> {
    let invented = pattern.named_regions().filter(|region| !region.is_known());
    invented.map(|region| {
        format!("registries: region {region} is not one of AWS's; write a pattern, and add the region to aws.regions")
    })
}

fn profiles(value: &Value) -> Result<Vec<ProfileName>, String> {
    let name = |name: &str| {
        name.parse().map_err(|_| format!("profiles: {}", PROFILE_NAME.but_got(&Value::String(name.to_owned()))))
    };
    strings("profiles", value)?.into_iter().map(name).collect()
}
