use super::*;

/// The expected result: the normalised host and the partition's name, or the kind of error.
enum Expected {
    Private(&'static str, &'static str),
    Public(&'static str),
    NotEcr,
    Invalid,
}
use Expected::{Invalid, NotEcr, Private, Public};

const PLAIN: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn registry_is_parsed_in_every_form_that_tools_use_and_in_no_other() {
    for (name, text, expected) in [
        // Every partition.
        ("commercial", PLAIN, Private(PLAIN, "aws")),
        (
            "GovCloud",
            "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com",
            Private("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "aws-us-gov"),
        ),
        (
            "China",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            Private("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "aws-cn"),
        ),
        (
            "European Sovereign Cloud",
            "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
            Private("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "aws-eusc"),
        ),
        (
            "iso",
            "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
            Private("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "aws-iso"),
        ),
        (
            "iso-b",
            "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
            Private("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "aws-iso-b"),
        ),
        (
            "iso-e",
            "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
            Private("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "aws-iso-e"),
        ),
        (
            "iso-f",
            "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
            Private("123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "aws-iso-f"),
        ),
        // FIPS and dual-stack.
        (
            "FIPS",
            "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
            Private("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "aws"),
        ),
        (
            "FIPS in GovCloud",
            "123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com",
            Private("123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com", "aws-us-gov"),
        ),
        (
            "dual-stack",
            "123456789012.dkr-ecr.us-west-2.on.aws",
            Private("123456789012.dkr-ecr.us-west-2.on.aws", "aws"),
        ),
        (
            "dual-stack FIPS",
            "123456789012.dkr-ecr-fips.us-west-2.on.aws",
            Private("123456789012.dkr-ecr-fips.us-west-2.on.aws", "aws"),
        ),
        (
            "dual-stack in GovCloud",
            "123456789012.dkr-ecr.us-gov-west-1.on.aws",
            Private("123456789012.dkr-ecr.us-gov-west-1.on.aws", "aws-us-gov"),
        ),
        (
            "dual-stack in China",
            "123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
            Private("123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn", "aws-cn"),
        ),
        (
            "a geography that opened recently",
            "123456789012.dkr.ecr.mx-central-1.amazonaws.com",
            Private("123456789012.dkr.ecr.mx-central-1.amazonaws.com", "aws"),
        ),
        (
            "a geography yet to open",
            "123456789012.dkr.ecr.nz-north-12.amazonaws.com",
            Private("123456789012.dkr.ecr.nz-north-12.amazonaws.com", "aws"),
        ),
        (
            "an account that begins with zeros",
            "000000000012.dkr.ecr.eu-central-1.amazonaws.com",
            Private("000000000012.dkr.ecr.eu-central-1.amazonaws.com", "aws"),
        ),
        // Public.
        ("public", PUBLIC, Public(PUBLIC)),
        ("public, dual-stack", "ecr-public.aws.com", Public("ecr-public.aws.com")),
        ("public, an image", "public.ecr.aws/docker/library/alpine:3.20", Public(PUBLIC)),
        ("public, upper case", "PUBLIC.ECR.AWS", Public(PUBLIC)),
        ("public, a URL", "https://public.ecr.aws/v2/", Public(PUBLIC)),
        ("public, a port", "public.ecr.aws:443/x", Public(PUBLIC)),
        // Other forms of one registry.
        ("https", "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com", Private(PLAIN, "aws")),
        ("http", "http://123456789012.dkr.ecr.eu-central-1.amazonaws.com/", Private(PLAIN, "aws")),
        ("docker", "docker://123456789012.dkr.ecr.eu-central-1.amazonaws.com/a/b", Private(PLAIN, "aws")),
        ("oci", "oci://123456789012.dkr.ecr.eu-central-1.amazonaws.com/chart", Private(PLAIN, "aws")),
        ("scheme in upper case", "HTTPS://123456789012.dkr.ecr.eu-central-1.amazonaws.com", Private(PLAIN, "aws")),
        ("port", "123456789012.dkr.ecr.eu-central-1.amazonaws.com:443", Private(PLAIN, "aws")),
        ("port and path", "123456789012.dkr.ecr.eu-central-1.amazonaws.com:443/a", Private(PLAIN, "aws")),
        ("tag", "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app:v1.2", Private(PLAIN, "aws")),
        (
            "digest",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app@sha256:0123456789abcdef",
            Private(PLAIN, "aws"),
        ),
        (
            "tag and digest",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:v1@sha256:0123456789abcdef",
            Private(PLAIN, "aws"),
        ),
        ("upper case", "123456789012.DKR.ECR.EU-CENTRAL-1.AMAZONAWS.COM/App", Private(PLAIN, "aws")),
        ("space around", "  123456789012.dkr.ecr.eu-central-1.amazonaws.com\n", Private(PLAIN, "aws")),
        ("query", "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com?x=1", Private(PLAIN, "aws")),
        ("fragment", "123456789012.dkr.ecr.eu-central-1.amazonaws.com#x", Private(PLAIN, "aws")),
        (
            "a path that names the public registry stays private",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/public.ecr.aws/alpine",
            Private(PLAIN, "aws"),
        ),
        (
            "a path that holds another host",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/@evil.example/",
            Private(PLAIN, "aws"),
        ),
        // Hosts of other registries.
        ("docker hub", "docker.io", NotEcr),
        ("docker hub's configuration key", "https://index.docker.io/v1/", NotEcr),
        ("a short image name", "ubuntu", NotEcr),
        ("localhost", "localhost:5000/app", NotEcr),
        ("an address", "192.0.2.1:5000", NotEcr),
        ("a registry's name in a path", "evil.example/123456789012.dkr.ecr.eu-central-1.amazonaws.com", NotEcr),
        ("a longer suffix", "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example", NotEcr),
        ("a longer suffix in China", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn.evil.example", NotEcr),
        ("a longer dual-stack suffix", "123456789012.dkr-ecr.us-west-2.on.aws.evil.example", NotEcr),
        ("another top level", "123456789012.dkr.ecr.eu-central-1.amazonaws.lol", NotEcr),
        ("the top level of iso", "123456789012.dkr.ecr.eu-central-1.amazonaws.gov", NotEcr),
        ("an unknown suffix", "123456789012.dkr-ecr.cn-north-1.on.aws.com.cn", NotEcr),
        ("a look-alike of amazonaws", "123456789012.dkr.ecr.eu-central-1.amazonaws-com.example", NotEcr),
        ("public with a longer suffix", "public.ecr.aws.evil.example", NotEcr),
        ("public with a prefix", "evil-public.ecr.aws", NotEcr),
        ("public one level down", "x.public.ecr.aws", NotEcr),
        ("the API's own host", "api.ecr.eu-central-1.amazonaws.com", NotEcr),
        ("no account", "dkr.ecr.eu-central-1.amazonaws.com", NotEcr),
        ("another service", "123456789012.s3.eu-central-1.amazonaws.com", NotEcr),
        ("no region", "123456789012.dkr.ecr.amazonaws.com", NotEcr),
        ("a label before the account", "x.123456789012.dkr.ecr.eu-central-1.amazonaws.com", NotEcr),
        // Hosts that resemble ECR's but are wrong.
        ("11 digits", "12345678901.dkr.ecr.eu-central-1.amazonaws.com", Invalid),
        ("13 digits", "1234567890123.dkr.ecr.eu-central-1.amazonaws.com", Invalid),
        ("a letter in the account", "12345678901a.dkr.ecr.eu-central-1.amazonaws.com", Invalid),
        ("an empty account", ".dkr.ecr.eu-central-1.amazonaws.com", Invalid),
        ("a Chinese region under the commercial suffix", "123456789012.dkr.ecr.cn-north-1.amazonaws.com", Invalid),
        ("a commercial region under the Chinese suffix", "123456789012.dkr.ecr.eu-central-1.amazonaws.com.cn", Invalid),
        ("an isolated region under the commercial suffix", "123456789012.dkr.ecr.us-iso-east-1.amazonaws.com", Invalid),
        ("a commercial region under iso's suffix", "123456789012.dkr.ecr.us-east-1.c2s.ic.gov", Invalid),
        ("iso-b's region under iso's suffix", "123456789012.dkr.ecr.us-isob-east-1.c2s.ic.gov", Invalid),
        (
            "a sovereign region under the commercial suffix",
            "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.com",
            Invalid,
        ),
        ("dkr.ecr under the dual-stack suffix", "123456789012.dkr.ecr.us-west-2.on.aws", Invalid),
        ("dkr-ecr under the plain suffix", "123456789012.dkr-ecr.us-west-2.amazonaws.com", Invalid),
        ("dual-stack where there is none", "123456789012.dkr-ecr.us-iso-east-1.c2s.ic.gov", Invalid),
        ("an unknown region", "123456789012.dkr.ecr.nowhere.amazonaws.com", Invalid),
        ("a region without a number", "123456789012.dkr.ecr.eu-central.amazonaws.com", Invalid),
        ("a region with an underscore", "123456789012.dkr.ecr.eu_central_1.amazonaws.com", Invalid),
        ("a wild card for a region", "123456789012.dkr.ecr.*.amazonaws.com", Invalid),
        ("an exclamation mark", "123456789012.dkr.ecr.eu-central-1!.amazonaws.com", Invalid),
        // Not a host.
        ("nothing", "", Invalid),
        ("space", "   ", Invalid),
        ("only a path", "/a/b", Invalid),
        ("another scheme", "ftp://123456789012.dkr.ecr.eu-central-1.amazonaws.com", Invalid),
        ("a user name before another host", "123456789012.dkr.ecr.eu-central-1.amazonaws.com@evil.example/", Invalid),
        ("a user and password", "https://AWS:x@123456789012.dkr.ecr.eu-central-1.amazonaws.com", Invalid),
        ("port zero", "123456789012.dkr.ecr.eu-central-1.amazonaws.com:0", Invalid),
        ("a port that is too large", "123456789012.dkr.ecr.eu-central-1.amazonaws.com:65536", Invalid),
        ("a port with a sign", "123456789012.dkr.ecr.eu-central-1.amazonaws.com:+443", Invalid),
        ("a tag right after the host", "123456789012.dkr.ecr.eu-central-1.amazonaws.com:latest", Invalid),
        ("space inside", "123456789012.dkr.ecr.eu-central-1 .amazonaws.com", Invalid),
        ("a zero byte", "123456789012.dkr.ecr.eu-central-1.amazonaws.com\0.evil.example", Invalid),
        ("a line end inside", "123456789012.dkr.ecr.eu-central-1.amazonaws.com\nevil.example", Invalid),
        ("a backslash", "evil.example\\123456789012.dkr.ecr.eu-central-1.amazonaws.com", Invalid),
        ("letters of another script", "123456789012.dkr.ecr.eu-central-1.аmazonaws.com", Invalid),
        ("a percent sign", "public%2eecr.aws", Invalid),
        ("a dot at the end", "123456789012.dkr.ecr.eu-central-1.amazonaws.com.", Invalid),
        ("two dots", "123456789012..dkr.ecr.eu-central-1.amazonaws.com", Invalid),
    ] {
        match (text.parse::<Registry>(), expected) {
            (Ok(registry), Private(host, partition)) => {
                assert_eq!(registry.host().as_deref(), Some(host), "{name}");
                assert_eq!(registry.region().map(|region| region.partition().name()), Some(partition), "{name}");
            }
            (Ok(registry @ Registry::Public { .. }), Public(host)) => {
                assert_eq!(registry.host().as_deref(), Some(host), "{name}");
            }
            (Err(RegistryError::NotEcr { .. }), NotEcr) | (Err(RegistryError::Invalid(_)), Invalid) => {}
            (outcome, _) => panic!("{name}: {text:?} gave {outcome:?}"),
        }
    }
}

#[test]
fn texts_of_any_length_are_parsed_safely() {
    for length in [253, 254, 2048, 2049, 1 << 20] {
        assert!("a".repeat(length).parse::<Registry>().is_err(), "{length}");
        assert!(format!("{}{PLAIN}", "a.".repeat(length)).parse::<Registry>().is_err(), "{length}");
    }
    let long_path = format!("{PLAIN}/{}", "a".repeat(1000));
    assert_eq!(long_path.parse(), PLAIN.parse::<Registry>());
}

#[test]
fn registry_from_parts_has_the_host_of_its_kind() {
    let account: AccountId = "123456789012".parse().unwrap();
    for (region, fips, dual_stack, host) in [
        ("eu-central-1", false, false, Some(PLAIN)),
        ("eu-central-1", true, false, Some("123456789012.dkr.ecr-fips.eu-central-1.amazonaws.com")),
        ("eu-central-1", false, true, Some("123456789012.dkr-ecr.eu-central-1.on.aws")),
        ("eu-central-1", true, true, Some("123456789012.dkr-ecr-fips.eu-central-1.on.aws")),
        ("cn-north-1", false, true, Some("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn")),
        ("eusc-de-east-1", false, true, None),
        ("us-isof-south-1", true, true, None),
    ] {
        let variant = EndpointVariant { fips, dual_stack };
        let registry = PrivateRegistry::new(Some(account), region.parse().unwrap(), variant);
        assert_eq!(registry.ok().map(|registry| registry.host(account)).as_deref(), host, "{region}");
    }
}

#[test]
fn registry_host_parses_to_the_same_registry() {
    for text in [PLAIN, "123456789012.dkr-ecr-fips.us-gov-west-1.on.aws", PUBLIC, "ecr-public.aws.com"] {
        let registry: Registry = text.parse().unwrap();
        assert_eq!(registry.host().unwrap().parse(), Ok(registry));
    }
}

#[test]
fn host_patterns_list_every_form_once() {
    let patterns = Registry::host_patterns("*", "*");
    assert!(patterns.contains(&"*.dkr.ecr.*.amazonaws.com".to_owned()));
    assert!(patterns.contains(&"*.dkr-ecr-fips.*.on.amazonwebservices.com.cn".to_owned()));
    assert_eq!(patterns.len(), 18, "{patterns:?}");
    for (pattern, partitions) in [
        ("*", &Partition::ALL[..]),
        ("cn-*", &[Partition::AwsCn]),
        ("eu-*", &[Partition::Aws, Partition::AwsIsoE]),
        ("us-gov-*", &[Partition::AwsUsGov]),
        ("us-i*", &[Partition::Aws, Partition::AwsIso, Partition::AwsIsoB, Partition::AwsIsoF]),
        ("eu-central-*", &[Partition::Aws]),
        ("eu-central-1", &[Partition::Aws]),
        ("mars-*", &[]),
        ("mars-1", &[]),
    ] {
        assert_eq!(Partition::all_owning(pattern).collect::<Vec<_>>(), partitions, "{pattern}");
    }
    let of_one = Registry::host_patterns("123456789012", "eu-central-1");
    assert!(of_one.contains(&PLAIN.to_owned()) && of_one.len() == 4, "{of_one:?}");
    assert!(of_one.iter().all(|host| host.parse::<Registry>().is_ok()));
}
