//! The bytes of an answer: parts that stay the same, the password and the times.

use std::time::Duration;

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, message};

use crate::cache::Found;
use crate::pb;

/// The numbers of the fields that are not in the parts.
const CREDENTIALS: u32 = 1;
const PASSWORD: u32 = 4;
const REFRESH_AFTER: u32 = 7;
const VALID_FOR: u32 = 15;
/// The prefix of gRPC: the flag of compression, and the length.
const PREFIX: usize = 5;

/// An answer without its password and its times.
#[derive(Debug)]
pub(super) struct AnswerTemplate {
    /// The fields before the password, those before `refresh_after`, and those before `valid_for`.
    parts: Box<[u8]>,
    ends: [usize; 2],
}

impl AnswerTemplate {
    /// Returns the template of a hit's answer.
    pub(super) fn new(answer: &pb::RegistryCredentials) -> Self {
        let before_password = pb::RegistryCredentials {
            registry: answer.registry.clone(),
            endpoint: answer.endpoint.clone(),
            username: answer.username.clone(),
            ..Default::default()
        };
        let before_refresh_after = pb::RegistryCredentials {
            issue_time: answer.issue_time,
            expire_time: answer.expire_time,
            ..Default::default()
        };
        let before_valid_for = pb::RegistryCredentials {
            registry_type: answer.registry_type,
            auth_scheme: answer.auth_scheme,
            credential_id: answer.credential_id.clone(),
            cache_status: answer.cache_status,
            account_id: answer.account_id.clone(),
            region: answer.region.clone(),
            profile: answer.profile.clone(),
            ..Default::default()
        };
        let mut parts = before_password.encode_to_vec();
        let first = parts.len();
        parts.extend(before_refresh_after.encode_to_vec());
        let second = parts.len();
        parts.extend(before_valid_for.encode_to_vec());
        Self { parts: parts.into(), ends: [first, second] }
    }

    /// Returns the message of gRPC that the ordinary path would send, with its prefix.
    pub(super) fn message(&self, found: &Found) -> Vec<u8> {
        let password = found.credential.password().expose_parts();
        let password_length = password.iter().map(|part| part.len()).sum();
        let (refresh_after, valid_for) = (duration(found.refresh_after), duration(found.remaining));
        let times = [(REFRESH_AFTER, &refresh_after), (VALID_FOR, &valid_for)];
        let times_length: usize =
            times.iter().filter_map(|(tag, time)| Some(message::encoded_len(*tag, time.as_ref()?))).sum();
        let length = self.parts.len() + length_delimited(PASSWORD, password_length) + times_length;
        let whole = length_delimited(CREDENTIALS, length);

        let mut bytes = Vec::with_capacity(PREFIX + whole);
        bytes.push(0);
        bytes.extend_from_slice(&u32::try_from(whole).unwrap_or(u32::MAX).to_be_bytes());
        begin(CREDENTIALS, length, &mut bytes);
        let [first, second] = self.ends;
        bytes.extend_from_slice(&self.parts[..first]);
        begin(PASSWORD, password_length, &mut bytes);
        for part in password {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&self.parts[first..second]);
        put(REFRESH_AFTER, refresh_after.as_ref(), &mut bytes);
        bytes.extend_from_slice(&self.parts[second..]);
        put(VALID_FOR, valid_for.as_ref(), &mut bytes);
        bytes
    }

    /// Returns the memory of the template, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.parts.len()
    }
}

fn duration(time: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(time).ok()
}

fn length_delimited(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

fn begin(tag: u32, length: usize, bytes: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, bytes);
    encode_varint(length as u64, bytes);
}

fn put(tag: u32, time: Option<&prost_types::Duration>, bytes: &mut Vec<u8>) {
    if let Some(time) = time {
        message::encode(tag, time, bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::cache::CacheStatus;
    use crate::credential::{Credential, SourceName};
    use crate::moment::Moment;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn message_is_the_encoding_of_the_whole_answer(
            texts in proptest::collection::vec("[a-z0-9.]{0,200}", 8),
            password in ".{1,3000}",
            numbers in proptest::collection::vec(0..5_i32, 3),
            times in proptest::collection::vec((0..100_000_u64, prop_oneof![Just(0), 0..1_000_000_000_u32]), 2),
            issued in any::<Option<i32>>(),
        ) {
            let now = Moment { wall: SystemTime::UNIX_EPOCH, steady: Duration::ZERO };
            let expires = now.wall + Duration::from_hours(12);
            let credential = Credential::new(SourceName::Aws, "AWS", &password, now.wall, expires, now).unwrap();
            let [refresh_after, remaining] = [0, 1].map(|index: usize| Duration::new(times[index].0, times[index].1));
            let found = Found { credential: Arc::new(credential), status: CacheStatus::Hit, refresh_after, remaining };
            let text = |index: usize| texts[index].clone();
            let issue_time = issued.map(|seconds| prost_types::Timestamp { seconds: seconds.into(), nanos: 5 });
            let answer = pb::RegistryCredentials {
                registry: text(0),
                endpoint: text(1),
                username: text(2),
                password,
                issue_time,
                expire_time: issue_time,
                refresh_after: duration(refresh_after),
                registry_type: numbers[0],
                auth_scheme: numbers[1],
                credential_id: text(3),
                cache_status: numbers[2],
                account_id: text(4),
                region: text(5),
                profile: text(6),
                valid_for: duration(remaining),
                source: String::new(),
            };
            let message = AnswerTemplate::new(&answer).message(&found);
            let whole = pb::GetRegistryCredentialsResponse { credentials: Some(answer) }.encode_to_vec();
            prop_assert_eq!(&message[5..], &whole);
            prop_assert_eq!(&message[..5], [&[0][..], &u32::try_from(whole.len()).unwrap().to_be_bytes()].concat());
        }
    }
}
