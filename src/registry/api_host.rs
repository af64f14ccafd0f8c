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
