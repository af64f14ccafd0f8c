//! Properties of an endpoint's URL that decide whether a call to it is safe.

use std::net::IpAddr;

use http::Uri;

/// Placeholder in the URL of ECR for the registry's region.
pub const REGION: &str = "{region}";

/// Returns whether calls to this URL cross the network in plaintext: the network could read credentials and replace them.
#[must_use]
pub fn is_plaintext(url: &str) -> bool {
    parse(url).is_none_or(|uri| uri.scheme_str() != Some("https")) && !is_loopback(url)
}

/// Returns whether the host is this one: an emulator, or a proxy that the operator runs.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    host(url).is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
    })
}

/// Returns whether a host is this machine or on its link, as IMDS is.
pub(super) fn is_on_link(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        // AWS's IPv6 addresses of link-local services are in fd00:ec2::/32.
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0xec2]
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Returns whether an address of IMDS is reached in plaintext beyond this machine's link, where IMDS is.
#[must_use]
pub fn is_plaintext_beyond_link(url: &str) -> bool {
    is_plaintext(url) && !host(url).is_some_and(|host| is_on_link(&host))
}

/// Returns whether the host names a FIPS endpoint, as `api.ecr-fips.us-east-1.amazonaws.com` does.
#[must_use]
pub fn is_fips(url: &str) -> bool {
    host(url).is_some_and(|host| host.split(['.', '-']).any(|part| part == "fips") || is_govcloud_sts(&host))
}

/// Returns whether a caller chooses the host by the region that it asks for: fewer than two parts of the host's name follow the
/// region, so that they can be a public suffix.
#[must_use]
pub fn is_chosen_by_region(url: &str) -> bool {
    let probe = "region-of-a-caller";
    let Some(host) = host(&url.replace(REGION, probe)) else { return false };
    let parts = host.rsplit('.').filter(|part| !part.is_empty());
    host.contains(probe) && parts.take_while(|part| !part.contains(probe)).count() < 2
}

/// Returns whether the host is STS in GovCloud, whose FIPS endpoint has the plain name.
fn is_govcloud_sts(host: &str) -> bool {
    let region = host.strip_prefix("sts.").and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    region.is_some_and(|region| region.starts_with("us-gov-") && !region.contains('.'))
}

fn host(url: &str) -> Option<String> {
    parse(url)?.host().map(str::to_ascii_lowercase)
}

fn parse(url: &str) -> Option<Uri> {
    url.replace(REGION, "region").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_accepted_on_loopback_only() {
        for (url, plaintext) in [
            ("http://10.0.0.5", true),
            ("http://ecr.example:80/base", true),
            ("HTTP://ecr.example", true),
            ("http://{region}", true),
            ("http://localhost.example", true),
            ("http://127.0.0.1.example", true),
            ("http://127.0.0.1@ecr.example", true),
            ("http://0.0.0.0:1", true),
            ("http://127.0.0.1:4566", false),
            ("http://127.9.9.9", false),
            ("http://[::1]:1", false),
            ("http://LOCALHOST:1", false),
            ("https://ecr.example", false),
        ] {
            assert_eq!(is_plaintext(url), plaintext, "{url}");
        }
    }

    #[test]
    fn region_must_not_decide_the_whole_host() {
        for (url, chosen) in [
            ("https://{region}", true),
            ("https://{region}:443/base", true),
            ("https://{region}.", true),
            ("https://ecr.{region}", true),
            ("https://user@{region}", true),
            ("https://ecr-{region}", true),
            ("https://ecr.{region}.com", true),
            ("https://ecr.{region}.com.", true),
            ("https://{region}..com/", true),
            ("https://ecr.{region}.{region}.example.com", false),
            ("https://vpce-0123-abcd.api.ecr.{region}.vpce.amazonaws.com", false),
            ("https://{region}.ecr.example", false),
            ("https://ecr.example/{region}", false),
            ("https://10.0.0.1", false),
        ] {
            assert_eq!(is_chosen_by_region(url), chosen, "{url}");
        }
    }

    #[test]
    fn fips_is_a_part_of_the_host_name() {
        for (url, fips) in [
            ("https://api.ecr-fips.us-east-1.amazonaws.com", true),
            ("https://vpce-1.api.ecr-fips.{region}.vpce.amazonaws.com", true),
            ("https://sts-fips.us-east-1.amazonaws.com/", true),
            ("https://sts.us-gov-west-1.amazonaws.com", true),
            ("https://sts.us-gov-east-1.amazonaws.com", true),
            ("https://sts.us-east-1.amazonaws.com", false),
            ("https://sts.us-gov-west-1.example.amazonaws.com", false),
            ("https://api.ecr.us-gov-west-1.amazonaws.com", false),
            ("https://ecr.example/fips", false),
            ("https://fipsy.example", false),
        ] {
            assert_eq!(is_fips(url), fips, "{url}");
        }
    }

    /// The SDK's rules are the reference: every FIPS host that it calls may also be named.
    #[tokio::test]
    async fn fips_hosts_of_the_sdk_are_accepted() {
        use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
        for region in ["us-east-1", "us-gov-west-1", "us-gov-east-1"] {
            let params = Params::builder().region(region.to_owned()).use_fips(true).build().unwrap();
            let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.unwrap();
            assert!(is_fips(endpoint.url()), "{}", endpoint.url());
        }
    }

    #[test]
    fn link_local_hosts_are_called_without_a_proxy() {
        for local in
            ["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "169.254.170.2", "[fd00:ec2::254]", "[fe80::1]"]
        {
            assert!(is_on_link(local), "{local}");
        }
        for far in ["api.ecr.eu-central-1.amazonaws.com", "10.0.0.5", "[fd00::1]", "localhost.example", "192.0.2.1"] {
            assert!(!is_on_link(far), "{far}");
        }
    }
}
