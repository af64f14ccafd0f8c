//! Answers of the scripts, as the tier's.

use std::time::Duration;

use redis::Value;

use super::scripts::NOTE;
use crate::source::shared_cache::tier::{LeaseOwner, MAX_VALUE_BYTES, TierAnswer};

/// Reads the answer to `get_or_lease`; `None`: it is not one.
pub(super) fn of_lease(answer: Value, owner: &LeaseOwner) -> Option<TierAnswer> {
    let Value::Array(parts) = answer else { return None };
    let mut parts = parts.into_iter();
    let kind = bytes(parts.next()?)?;
    match (kind.as_slice(), parts.next(), parts.next()) {
        (b"L", None, None) => Some(TierAnswer::Leased),
        (b"V", Some(value), Some(Value::Int(ttl))) => {
            let sealed = bytes(value).filter(|value| value.len() <= MAX_VALUE_BYTES)?;
            Some(TierAnswer::Value { sealed, ttl: millis(ttl) })
        }
        (b"W", Some(holder), Some(Value::Int(ttl))) => Some(of_holder(&bytes(holder)?, millis(ttl), owner)),
        _ => None,
    }
}

fn of_holder(holder: &[u8], for_: Option<Duration>, owner: &LeaseOwner) -> TierAnswer {
    match holder.split_first() {
        Some((&NOTE, note)) => TierAnswer::Failed { note: note.to_vec(), for_ },
        _ if holder == owner.as_str().as_bytes() => TierAnswer::Leased,
        _ => TierAnswer::Held { for_ },
    }
}

/// Reads a number that stands for yes or no; `None`: it is neither.
pub(super) fn of_condition(answer: &Value) -> Option<bool> {
    match answer {
        Value::Int(0) => Some(false),
        Value::Int(_) => Some(true),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// A negative number: the entry does not expire.
fn millis(ttl: i64) -> Option<Duration> {
    u64::try_from(ttl).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_others_are_not_answers() {
        let owner = LeaseOwner::random();
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let read = |parts: Vec<Value>| of_lease(Value::Array(parts), &owner);
        let second = Some(Duration::from_secs(1));
        assert_eq!(read(vec![bulk("L")]), Some(TierAnswer::Leased));
        let value = TierAnswer::Value { sealed: b"EB1".to_vec(), ttl: second };
        assert_eq!(read(vec![bulk("V"), bulk("EB1"), Value::Int(1_000)]), Some(value));
        let endless = TierAnswer::Value { sealed: b"EB1".to_vec(), ttl: None };
        assert_eq!(read(vec![bulk("V"), bulk("EB1"), Value::Int(-1)]), Some(endless));
        let held = TierAnswer::Held { for_: second };
        assert_eq!(read(vec![bulk("W"), bulk("0af3"), Value::Int(1_000)]), Some(held));
        assert_eq!(read(vec![bulk("W"), bulk(owner.as_str()), Value::Int(1)]), Some(TierAnswer::Leased));
        let failed = TierAnswer::Failed { note: b"note".to_vec(), for_: second };
        assert_eq!(read(vec![bulk("W"), bulk("Enote"), Value::Int(1_000)]), Some(failed));
        for parts in [
            vec![],
            vec![bulk("X")],
            vec![Value::Int(1)],
            vec![bulk("L"), bulk("L")],
            vec![bulk("V")],
            vec![bulk("V"), bulk("EB1")],
            vec![bulk("V"), Value::Nil, Value::Int(1)],
            vec![bulk("W"), Value::Okay, Value::Int(1)],
            vec![bulk("W"), bulk("a"), bulk("1")],
        ] {
            assert_eq!(read(parts.clone()), None, "{parts:?}");
        }
        assert_eq!(of_lease(Value::Okay, &owner), None);
        assert_eq!(of_lease(Value::Nil, &owner), None);
        assert_eq!((of_condition(&Value::Int(1)), of_condition(&Value::Int(0))), (Some(true), Some(false)));
        assert_eq!(of_condition(&Value::Okay), None);
    }
}
