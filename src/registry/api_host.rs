//! The hosts of the AWS APIs that give registry credentials.

use super::ecr::Registry;
use super::partition::Partition;
use super::private::EndpointVariant;

impl Registry {
    /// Returns the host of the AWS API that gives the registry's credentials, as AWS's SDK resolves it.
    #[must_use]
    pub fn api_host(&self) -> String {
        let private = match self {
            Self::Private(private) => private,
            Self::Public { dual_stack: false } => return "api.ecr-public.us-east-1.amazonaws.com".to_owned(),
            Self::Public { dual_stack: true } => return "ecr-public.us-east-1.api.aws".to_owned(),
        };
        let (EndpointVariant { fips, dual_stack }, region) = (private.variant(), private.region());
        let fips = if fips { "-fips" } else { "" };
        match (dual_stack, region.partition()) {
            (false, partition) => {
                format!("api.ecr{fips}.{region}.{}", partition.registry_suffix(false).unwrap_or_default())
            }
            (true, Partition::AwsCn) => format!("ecr{fips}.{region}.api.amazonwebservices.com.cn"),
            (true, _) => format!("ecr{fips}.{region}.api.aws"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_host_follows_partition_and_variant_of_the_registry() {
        for (registry, api) in [
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
            ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com"),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws"),
            ("123456789012.dkr-ecr-fips.us-gov-west-1.on.aws", "ecr-fips.us-gov-west-1.api.aws"),
            (
                "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
                "ecr.cn-north-1.api.amazonwebservices.com.cn",
            ),
            ("public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com"),
            ("ecr-public.aws.com", "ecr-public.us-east-1.api.aws"),
        ] {
            assert_eq!(registry.parse::<Registry>().unwrap().api_host(), api, "{registry}");
        }
    }
}
