//! Origins of connections, known before the caller is authenticated.

use std::fmt;
use std::net::IpAddr;

/// The network, user or API that a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An IPv4 address, or an IPv6 network of 64 bits: one host can use every address of its network.
    Network(IpAddr),
    /// A user of this host.
    Uid(u32),
    /// This host, over the ECR API.
    AwsApi,
}

impl Origin {
    /// Returns the origin of a host's address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Writes the name in logs and audit records: `192.0.2.7`, `2001:db8:1:2::/64`, `uid:1001` or `aws-api`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address @ IpAddr::V4(_)) => write!(f, "{address}"),
            Self::Network(network @ IpAddr::V6(_)) => write!(f, "{network}/64"),
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::AwsApi => f.write_str("aws-api"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_the_ipv6_network_or_the_ipv4_address() {
        for (address, counted) in [
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(Origin::of(address.parse().unwrap()), Origin::Network(counted.parse().unwrap()), "{address}");
        }
    }
}
