//! When a cached token is asked for again.

use std::time::{Duration, SystemTime};

use super::claims::Claims;

/// Part of a token's life after which it is asked for again. The rest is time for a source that fails.
const RENEW_AFTER: f64 = 0.8;
/// Time before the end in which a token is not used: a call must reach the broker.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// The plan for one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewal {
    /// From then on the source is asked for the next token.
    pub(super) at: SystemTime,
    /// Until then the token serves if the source fails.
    pub(super) end: SystemTime,
}

impl Renewal {
    /// Returns the plan for a token that came at this time; `None` if its end is unknown or passed: it is asked for at each call.
    pub(super) fn of(claims: Option<&Claims>, now: SystemTime) -> Option<Self> {
        let claims = claims?;
        let expires = claims.expires?;
        let end = expires.checked_sub(LAST_MOMENT).filter(|end| *end > now)?;
        let issued = claims.issued.filter(|issued| *issued <= now).unwrap_or(now);
        let life = expires.duration_since(issued).unwrap_or_default();
        Some(Self { at: (issued + life.mul_f64(RENEW_AFTER)).min(end), end })
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn claims(issued: Option<u64>, expires: Option<u64>) -> Claims {
        Claims { issued: issued.map(at), expires: expires.map(at), audience: Vec::new() }
    }

    #[test]
    fn token_is_renewed_after_four_fifths_of_its_life() {
        let renewal = |issued, expires, now| Renewal::of(Some(&claims(issued, expires)), at(now));
        assert_eq!(renewal(Some(100), Some(120), 100), Some(Renewal { at: at(116), end: at(119) }));
        assert_eq!(renewal(Some(100), Some(120), 117), Some(Renewal { at: at(116), end: at(119) }));
        assert_eq!(renewal(Some(100), Some(3_700), 100).unwrap().at, at(2_980));
        // Without a time of issue, or with one in the future, life starts with the answer.
        assert_eq!(renewal(None, Some(200), 100).unwrap().at, at(180));
        assert_eq!(renewal(Some(150), Some(200), 100).unwrap().at, at(180));
        for (issued, expires, now) in [(Some(100), None, 100), (Some(100), Some(120), 119), (Some(100), Some(120), 200)]
        {
            assert_eq!(renewal(issued, expires, now), None, "{expires:?} at {now}");
        }
        assert_eq!(Renewal::of(None, at(1)), None);
    }
}
