//! The brokers that a request passed on its way here, so that brokers that ask each other in a circle find out.

use std::fmt;
use std::sync::Arc;

use crate::request_id::RequestId;

/// Brokers that a request may have passed.
pub const MAX_HOPS: u8 = 3;
/// Header with the number of brokers that a request passed.
pub const HOPS_HEADER: &str = "x-ecr-broker-hops";
/// Header with the IDs of these brokers, with commas between them.
pub const VIA_HEADER: &str = "x-ecr-broker-via";
/// Header with the request ID at the last of these brokers.
pub const REQUEST_ID_HEADER: &str = "x-ecr-broker-request-id";

/// The ID of a running broker: 128 random bits, new at each start. It tells nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InstanceId(u128);

/// The brokers that a request passed; none: its caller is not a broker. A clone shares them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hops(Option<Arc<Passed>>);

#[derive(Debug, PartialEq, Eq)]
struct Passed {
    count: u8,
    via: Vec<InstanceId>,
    request_id: Option<RequestId>,
}

/// Why a request must not pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainProblem {
    /// The request passed this broker before.
    #[error("brokers ask each other in a circle: this one asked itself; correct [[parents]]")]
    Circle,
    /// The request passed too many brokers.
    #[error("more than {MAX_HOPS} brokers ask one another in a row; shorten the chain of [[parents]]")]
    TooLong,
}

/// Why the headers of a request name no chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopsError {
    /// The named header is malformed.
    Malformed(&'static str),
    /// The request passed too many brokers.
    TooMany,
}

impl InstanceId {
    /// Returns a new ID.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }

    fn parse(text: &str) -> Option<Self> {
        hex(text).map(Self)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Hops {
    /// Reads the headers of a request that passed brokers.
    ///
    /// # Errors
    /// A header is malformed, or the request passed too many brokers.
    pub fn parse(count: &str, via: Option<&str>, request_id: Option<&str>) -> Result<Self, HopsError> {
        let is_number = (1..=3).contains(&count.len()) && count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse::<u16>().ok().filter(|count| is_number && *count > 0);
        let count = u8::try_from(count.ok_or(HopsError::Malformed(HOPS_HEADER))?).unwrap_or(u8::MAX);
        if count > MAX_HOPS {
            return Err(HopsError::TooMany);
        }
        let texts = via.into_iter().flat_map(|via| via.splitn(usize::from(MAX_HOPS) + 1, ','));
        let via: Option<Vec<_>> = texts.map(|text| InstanceId::parse(text.trim())).collect();
        let via = via.filter(|via| via.len() <= usize::from(count)).ok_or(HopsError::Malformed(VIA_HEADER))?;
        let malformed = HopsError::Malformed(REQUEST_ID_HEADER);
        let request_id = request_id.map(|id| hex(id).map(RequestId::of).ok_or(malformed)).transpose()?;
        Ok(Self(Some(Arc::new(Passed { count, via, request_id }))))
    }

    /// Returns whether the caller is not a broker.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.0.is_none()
    }

    /// Checks that the request did not pass this broker before.
    ///
    /// # Errors
    /// It did.
    pub fn check(&self, own: InstanceId) -> Result<(), ChainProblem> {
        let is_circle = self.0.as_ref().is_some_and(|passed| passed.via.contains(&own));
        if is_circle { Err(ChainProblem::Circle) } else { Ok(()) }
    }

    /// Returns the request ID at the broker that sent the request, if it named one.
    #[must_use]
    pub fn request_id(&self) -> Option<RequestId> {
        self.0.as_ref()?.request_id
    }

    /// Returns the values of the headers with which this broker passes the request on: the number and the IDs.
    ///
    /// # Errors
    /// The request would pass too many brokers.
    pub fn through(&self, own: InstanceId) -> Result<(String, String), ChainProblem> {
        let (count, via) = self.0.as_ref().map_or((0, &[][..]), |passed| (passed.count, &passed.via));
        if count >= MAX_HOPS {
            return Err(ChainProblem::TooLong);
        }
        let via: Vec<_> = via.iter().copied().chain([own]).map(|id| id.to_string()).collect();
        Ok(((count + 1).to_string(), via.join(",")))
    }
}

impl ChainProblem {
    /// Returns the machine-readable cause.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::Circle => "BROKER_CIRCLE",
            Self::TooLong => "TOO_MANY_HOPS",
        }
    }

    /// Returns the problem of a cause that another broker names.
    #[must_use]
    pub fn of_cause(cause: &str) -> Option<Self> {
        [Self::Circle, Self::TooLong].into_iter().find(|problem| problem.cause() == cause)
    }
}

/// Reads 32 hexadecimal digits.
fn hex(text: &str) -> Option<u128> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| is_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_passes_three_brokers_and_no_fourth() {
        let brokers = [0; 4].map(|_| InstanceId::random());
        let mut hops = Hops::default();
        for (count, broker) in (1..=3).zip(brokers) {
            assert!(hops.check(broker).is_ok());
            let (number, via) = hops.through(broker).unwrap();
            assert_eq!((number.as_str(), via.split(',').count()), (count.to_string().as_str(), count));
            hops = Hops::parse(&number, Some(&via), Some("0123456789abcdef0123456789abcdef")).unwrap();
            assert_eq!(hops.check(broker), Err(ChainProblem::Circle));
        }
        assert_eq!(hops.through(brokers[3]), Err(ChainProblem::TooLong));
        assert_eq!(hops.request_id().unwrap().to_string(), "0123456789abcdef0123456789abcdef");
        assert!(!hops.is_direct() && Hops::default().is_direct());
    }

    #[test]
    fn malformed_headers_are_refused() {
        let id = InstanceId::random().to_string();
        let (two, four) = (format!("{id},{id}"), [id.as_str(); 4].join(","));
        for (count, via, request_id, expected) in [
            ("0", None, None, HopsError::Malformed(HOPS_HEADER)),
            ("", None, None, HopsError::Malformed(HOPS_HEADER)),
            ("-1", None, None, HopsError::Malformed(HOPS_HEADER)),
            ("+1", None, None, HopsError::Malformed(HOPS_HEADER)),
            ("1e1", None, None, HopsError::Malformed(HOPS_HEADER)),
            ("9999", None, None, HopsError::Malformed(HOPS_HEADER)),
            ("4", None, None, HopsError::TooMany),
            ("999", None, None, HopsError::TooMany),
            ("1", Some("x"), None, HopsError::Malformed(VIA_HEADER)),
            ("1", Some(""), None, HopsError::Malformed(VIA_HEADER)),
            ("1", Some(&two), None, HopsError::Malformed(VIA_HEADER)),
            ("3", Some(&four), None, HopsError::Malformed(VIA_HEADER)),
            ("1", Some(&id[1..]), None, HopsError::Malformed(VIA_HEADER)),
            ("1", Some(&id), Some("é"), HopsError::Malformed(REQUEST_ID_HEADER)),
        ] {
            assert_eq!(Hops::parse(count, via, request_id), Err(expected), "{count} {via:?} {request_id:?}");
        }
        assert!(Hops::parse("3", None, None).is_ok() && Hops::parse("2", Some(&id), None).is_ok());
    }

    #[test]
    fn causes_are_read_as_they_are_written() {
        for problem in [ChainProblem::Circle, ChainProblem::TooLong] {
            assert_eq!(ChainProblem::of_cause(problem.cause()), Some(problem));
        }
        assert_eq!(ChainProblem::of_cause("TOKEN_EXPIRED"), None);
    }
}
