//! Authorization tokens of `GetAuthorizationToken`.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;

use super::error::invalid_response;
use crate::credential::Credential;
use crate::error::UpstreamError;
use crate::moment::Moment;

/// Reads the token of a response. A missing or broken part is an error, never a panic (P12).
pub(super) fn read(
    token: Option<&str>,
    expires: Option<&DateTime>,
    received: Moment,
) -> Result<Credential, UpstreamError> {
    let token = token.ok_or_else(|| invalid_response("the response has no authorization token"))?;
    let expires = expires.ok_or_else(|| invalid_response("the response has no expiry time"))?;
    let expires = to_system_time(expires).ok_or_else(|| invalid_response("the expiry time is out of range"))?;
    Credential::from_aws_token(token, expires, received).map_err(|error| invalid_response(&error.to_string()))
}

/// Converts the time, rounded to the millisecond. AWS writes seconds with three decimals, which floating point only approximates.
fn to_system_time(time: &DateTime) -> Option<SystemTime> {
    let millis = (u64::from(time.subsec_nanos()) + 500_000) / 1_000_000;
    let seconds = u64::try_from(time.secs()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_keeps_its_milliseconds_however_aws_rounds_it() {
        let time = |nanos| DateTime::from_secs_and_nanos(1_795_346_855, nanos);
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_346_855_432);
        for nanos in [431_999_921, 432_000_000, 432_000_160] {
            assert_eq!(to_system_time(&time(nanos)), Some(expected), "{nanos}");
        }
        assert_eq!(to_system_time(&DateTime::from_secs(-1)), None);
        assert!(to_system_time(&DateTime::from_secs(i64::MAX)).is_some(), "too far, but no panic");
    }
}
