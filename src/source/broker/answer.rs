//! A parent's answer as a credential. Nothing in it is believed unchecked (P12).

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::credential::{Credential, CredentialId, CredentialKey, SourceName};
use crate::moment::Moment;
use crate::pb::{CacheStatus, GetRegistryCredentialsResponse, RegistryCredentials};
use crate::registry::{PrivateRegistry, Registry};

/// The times of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallTimes {
    pub(super) sent: Moment,
    pub(super) received: Moment,
}

/// Returns the credential of an answer, or why there is none.
///
/// It ends when the parent says, on the wall clock, or when the validity that the parent counted has passed since the call was sent,
/// on the monotonic clock: whichever is earlier (P14).
pub(super) fn credential(
    source: SourceName,
    key: &CredentialKey,
    answer: GetRegistryCredentialsResponse,
    times: CallTimes,
) -> Result<Credential, String> {
    let answer = answer.credentials.ok_or("it has no credentials")?;
    of_message(source, key, answer, times)
}

/// Returns whether the parent has only the credential that was to be replaced, because its own refresh failed.
pub(super) fn is_stale(answer: &GetRegistryCredentialsResponse, replaces: Option<CredentialId>) -> bool {
    let Some(answer) = &answer.credentials else { return false };
    answer.cache_status() == CacheStatus::Stale && replaces.is_some_and(|id| id.to_string() == answer.credential_id)
}

/// As [`credential`], for an event of a watch.
pub(super) fn of_message(
    source: SourceName,
    key: &CredentialKey,
    answer: RegistryCredentials,
    CallTimes { sent, received }: CallTimes,
) -> Result<Credential, String> {
    let RegistryCredentials { registry, endpoint, username, password, .. } = answer;
    let RegistryCredentials { issue_time, expire_time, valid_for, refresh_after, .. } = answer;
    let password = Zeroizing::new(password);
    let answered = registry_of(&registry, &endpoint).filter(|answered| is_for(key, answered));
    let answered = answered.ok_or("it is for another registry")?;
    let expires = expire_time.and_then(|time| SystemTime::try_from(time).ok()).ok_or("its expiry is not a time")?;
    let issued = match issue_time {
        Some(time) => SystemTime::try_from(time).map_err(|_| "its issue time is not a time")?,
        None => received.wall,
    };
    let valid_for = valid_for.map(|left| Duration::try_from(left).map_err(|_| "its validity is not a duration"));
    let credential = Credential::new(source, &username, &password, issued, expires, received);
    let credential = credential.map_err(|error| error.to_string())?.for_account(answered.account());
    let refresh_after = refresh_after.and_then(|after| Duration::try_from(after).ok());
    let credential = refresh_after.into_iter().fold(credential, Credential::with_source_refresh);
    match valid_for.transpose()? {
        Some(Duration::ZERO) => Err("the authorization token has expired".to_owned()),
        Some(left) => Ok(credential.ending_by(sent.steady.saturating_add(left))),
        None => Ok(credential),
    }
}

/// Returns the registry of an answer, if the answer names it twice alike.
fn registry_of(host: &str, endpoint: &str) -> Option<Registry> {
    let is_own = endpoint.is_empty() || endpoint.strip_prefix("https://") == Some(host);
    let registry = host.parse::<Registry>().ok().filter(|_| is_own)?;
    (registry.host().as_deref() == Some(host)).then_some(registry)
}

/// Returns whether an answer's registry is the key's. A key without an account is answered for the parent's own account.
fn is_for(key: &CredentialKey, answered: &Registry) -> bool {
    match (&key.registry, answered) {
        (Registry::Private(asked), Registry::Private(answered)) if asked.account().is_none() => {
            same_place(asked, answered)
        }
        (asked, answered) => asked == answered,
    }
}

fn same_place(one: &PrivateRegistry, other: &PrivateRegistry) -> bool {
    one.region() == other.region() && one.variant() == other.variant()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{ProfileName, Revision};

    const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    const HOUR: u64 = 3_600;

    fn at(seconds: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds),
            steady: Duration::from_secs(seconds),
        }
    }

    fn message() -> RegistryCredentials {
        RegistryCredentials {
            registry: HOST.to_owned(),
            endpoint: format!("https://{HOST}"),
            username: "AWS".to_owned(),
            password: "secret".to_owned(),
            issue_time: Some(at(0).wall.into()),
            expire_time: Some(at(12 * HOUR).wall.into()),
            valid_for: Some(prost_types::Duration { seconds: 11 * 3_600, nanos: 0 }),
            ..RegistryCredentials::default()
        }
    }

    fn read(message: RegistryCredentials) -> Result<Credential, String> {
        let key = CredentialKey {
            registry: HOST.parse().unwrap(),
            profile: ProfileName::default_profile(),
            revision: Revision::default(),
            caller: None,
            lifetime: None,
        };
        let times = CallTimes { sent: at(HOUR), received: at(HOUR + 5) };
        let answer = GetRegistryCredentialsResponse { credentials: Some(message) };
        credential(SourceName::Parent("central".parse().unwrap()), &key, answer, times)
    }

    #[test]
    fn p14_credential_keeps_the_parents_expiry_and_ends_on_the_earlier_clock() {
        let credential = read(message()).unwrap();
        assert_eq!((credential.issued(), credential.expires()), (at(0).wall, at(12 * HOUR).wall));
        assert_eq!(credential.end(), at(12 * HOUR), "the validity counts from the sending");
        assert_eq!(credential.account(), "123456789012".parse().ok());
        assert_eq!(credential.source().id(), "parent:central");
        let behind = prost_types::Duration { seconds: 60, nanos: 0 };
        let credential = read(RegistryCredentials { valid_for: Some(behind), ..message() }).unwrap();
        assert_eq!(credential.remaining(at(HOUR)), Duration::from_mins(1), "this clock is hours behind");
        assert_eq!(credential.expires(), at(12 * HOUR).wall);
        let older = read(RegistryCredentials { valid_for: None, ..message() }).unwrap();
        assert_eq!(older.remaining(at(HOUR + 5)), Duration::from_secs(11 * HOUR - 5));
    }

    #[test]
    fn p5_stale_answer_is_a_failed_refresh_and_no_new_credential() {
        let id = read(message()).unwrap().id();
        let answer = |status: CacheStatus| GetRegistryCredentialsResponse {
            credentials: Some(RegistryCredentials {
                cache_status: status.into(),
                credential_id: id.to_string(),
                ..message()
            }),
        };
        assert!(is_stale(&answer(CacheStatus::Stale), Some(id)));
        assert!(!is_stale(&answer(CacheStatus::Hit), Some(id)) && !is_stale(&answer(CacheStatus::Stale), None));
    }

    #[test]
    fn p12_wrong_answer_is_refused() {
        type Change = fn(&mut RegistryCredentials);
        let changes: [(&str, Change); 14] = [
            ("no registry", |it| it.registry.clear()),
            ("another account", |it| it.registry = HOST.replace("123456789012", "123456789013")),
            ("another region", |it| it.registry = HOST.replace("eu-central-1", "eu-west-1")),
            ("the public registry", |it| it.registry = "public.ecr.aws".to_owned()),
            ("a URL", |it| it.registry = format!("https://{HOST}")),
            ("another endpoint", |it| it.endpoint = "https://evil.example".to_owned()),
            ("another user", |it| it.username = "root".to_owned()),
            ("no password", |it| it.password.clear()),
            ("a password of a megabyte", |it| it.password = "x".repeat(1 << 20)),
            ("no expiry", |it| it.expire_time = None),
            ("an expiry in the past", |it| it.expire_time = Some(at(HOUR).wall.into())),
            ("an expiry in a thousand years", |it| it.expire_time = Some(at(9_000_000 * HOUR).wall.into())),
            ("an expiry out of range", |it| {
                it.expire_time = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
            }),
            ("a negative validity", |it| it.valid_for = Some(prost_types::Duration { seconds: -1, nanos: 0 })),
        ];
        for (case, change) in changes {
            let mut hostile = message();
            change(&mut hostile);
            let problem = read(hostile).err();
            assert!(problem.is_some_and(|problem| !problem.contains("secret")), "{case}");
        }
        let none_left = Some(prost_types::Duration { seconds: 0, nanos: 0 });
        assert!(read(RegistryCredentials { valid_for: none_left, ..message() }).is_err());
        let huge = Some(prost_types::Duration { seconds: i64::MAX, nanos: 999_999_999 });
        let huge = read(RegistryCredentials { valid_for: huge, ..message() }).unwrap();
        assert_eq!(huge.end(), Moment { wall: at(12 * HOUR).wall, steady: at(12 * HOUR).steady });
    }
}
