//! AWS partitions: their regions, and the suffixes of their registry hosts.

/// AWS's longest region name has 15 bytes.
const MAX_REGION_LENGTH: usize = 32;

/// Prefixes of region names outside the commercial partition.
const PREFIXES: [(&str, Partition); 7] = [
    ("us-gov-", Partition::AwsUsGov),
    ("cn-", Partition::AwsCn),
    ("eusc-de-", Partition::AwsEusc),
    ("us-iso-", Partition::AwsIso),
    ("us-isob-", Partition::AwsIsoB),
    ("eu-isoe-", Partition::AwsIsoE),
    ("us-isof-", Partition::AwsIsoF),
];

/// AWS's regions in the order of their names. Callers may name only these and those that the configuration names: each invented region
/// would cost calls, a queue and a DNS query. A test compares the table with the AWS SDK's own data.
const REGIONS: [(&str, Partition); 46] = [
    ("af-south-1", Partition::Aws),
    ("ap-east-1", Partition::Aws),
    ("ap-east-2", Partition::Aws),
    ("ap-northeast-1", Partition::Aws),
    ("ap-northeast-2", Partition::Aws),
    ("ap-northeast-3", Partition::Aws),
    ("ap-south-1", Partition::Aws),
    ("ap-south-2", Partition::Aws),
    ("ap-southeast-1", Partition::Aws),
    ("ap-southeast-2", Partition::Aws),
    ("ap-southeast-3", Partition::Aws),
    ("ap-southeast-4", Partition::Aws),
    ("ap-southeast-5", Partition::Aws),
    ("ap-southeast-6", Partition::Aws),
    ("ap-southeast-7", Partition::Aws),
    ("ca-central-1", Partition::Aws),
    ("ca-west-1", Partition::Aws),
    ("cn-north-1", Partition::AwsCn),
    ("cn-northwest-1", Partition::AwsCn),
    ("eu-central-1", Partition::Aws),
    ("eu-central-2", Partition::Aws),
    ("eu-isoe-west-1", Partition::AwsIsoE),
    ("eu-north-1", Partition::Aws),
    ("eu-south-1", Partition::Aws),
    ("eu-south-2", Partition::Aws),
    ("eu-west-1", Partition::Aws),
    ("eu-west-2", Partition::Aws),
    ("eu-west-3", Partition::Aws),
    ("eusc-de-east-1", Partition::AwsEusc),
    ("il-central-1", Partition::Aws),
    ("me-central-1", Partition::Aws),
    ("me-south-1", Partition::Aws),
    ("mx-central-1", Partition::Aws),
    ("sa-east-1", Partition::Aws),
    ("us-east-1", Partition::Aws),
    ("us-east-2", Partition::Aws),
    ("us-gov-east-1", Partition::AwsUsGov),
    ("us-gov-west-1", Partition::AwsUsGov),
    ("us-iso-east-1", Partition::AwsIso),
    ("us-iso-west-1", Partition::AwsIso),
    ("us-isob-east-1", Partition::AwsIsoB),
    ("us-isob-west-1", Partition::AwsIsoB),
    ("us-isof-east-1", Partition::AwsIsoF),
    ("us-isof-south-1", Partition::AwsIsoF),
    ("us-west-1", Partition::Aws),
    ("us-west-2", Partition::Aws),
];

/// A group of AWS regions with separate accounts and host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// AWS GovCloud (US).
    AwsUsGov,
    /// China.
    AwsCn,
    /// The European Sovereign Cloud.
    AwsEusc,
    /// US Top Secret.
    AwsIso,
    /// US Secret.
    AwsIsoB,
    /// Europe, isolated.
    AwsIsoE,
    /// US, isolated, for partners.
    AwsIsoF,
}

impl Partition {
    /// All partitions.
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsUsGov,
        Self::AwsCn,
        Self::AwsEusc,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
    ];

    /// Returns the name in ARNs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsCn => "aws-cn",
            Self::AwsEusc => "aws-eusc",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
        }
    }

    /// Returns the suffix of its private registries' hosts: of the `dkr.ecr` hosts, or of the `dkr-ecr` hosts with `dual_stack`.
    /// `None` if AWS has announced no dual-stack hosts.
    #[must_use]
    pub fn registry_suffix(self, dual_stack: bool) -> Option<&'static str> {
        let (plain, dual) = match self {
            Self::Aws | Self::AwsUsGov => ("amazonaws.com", Some("on.aws")),
            Self::AwsCn => ("amazonaws.com.cn", Some("on.amazonwebservices.com.cn")),
            Self::AwsEusc => ("amazonaws.eu", None),
            Self::AwsIso => ("c2s.ic.gov", None),
            Self::AwsIsoB => ("sc2s.sgov.gov", None),
            Self::AwsIsoE => ("cloud.adc-e.uk", None),
            Self::AwsIsoF => ("csp.hci.ic.gov", None),
        };
        if dual_stack { dual } else { Some(plain) }
    }

    /// Returns a region of the table, and its partition.
    pub(super) fn known_region(name: &str) -> Option<(&'static str, Self)> {
        let index = REGIONS.binary_search_by_key(&name, |(known, _)| known).ok()?;
        Some(REGIONS[index])
    }

    /// Returns the partition that owns a region of this name.
    ///
    /// A commercial region is two letters, a word and a number. That admits geographies that AWS opens later. A prefix tells the
    /// other partitions.
    pub(super) fn owning(region: &str) -> Option<Self> {
        if region.len() > MAX_REGION_LENGTH {
            return None;
        }
        let owned = PREFIXES.iter().find_map(|(prefix, partition)| Some((region.strip_prefix(prefix)?, *partition)));
        let (place, partition) = owned.or_else(|| Some((commercial_place(region)?, Self::Aws)))?;
        is_word_and_number(place).then_some(partition)
    }

    /// Returns the partitions that own regions of a pattern: a name, or a prefix and `*`.
    pub fn all_owning(pattern: &str) -> impl Iterator<Item = Self> {
        /// Endings that complete a prefix to a region, wherever the prefix stops.
        const ENDS: [&str; 6] = ["", "1", "-1", "x-1", "-x-1", "x-x-1"];
        let (start, ends) = pattern.strip_suffix('*').map_or((pattern, &ENDS[..1]), |start| (start, &ENDS[..]));
        let may_continue = |one: Self| ends.len() > 1 && one.has_prefix_from(start);
        let owns = |one: Self| ends.iter().any(|end| Self::owning(&format!("{start}{end}")) == Some(one));
        let owners: Vec<_> = Self::ALL.into_iter().filter(|one| may_continue(*one) || owns(*one)).collect();
        owners.into_iter()
    }

    /// Returns whether a prefix of its regions starts with this text.
    fn has_prefix_from(self, start: &str) -> bool {
        start.is_empty() || PREFIXES.iter().any(|(prefix, owner)| *owner == self && prefix.starts_with(start))
    }

    /// Returns all host forms of the private registries of an account in a region.
    pub(super) fn hosts(self, account: &str, region: &str) -> Vec<String> {
        let mut patterns = Vec::new();
        for (service, dual_stack) in [("dkr.ecr", false), ("dkr-ecr", true)] {
            if let Some(suffix) = self.registry_suffix(dual_stack) {
                patterns.extend(["", "-fips"].map(|fips| format!("{account}.{service}{fips}.{region}.{suffix}")));
            }
        }
        patterns
    }
}

/// Returns the part after the geography: `central-1` of `eu-central-1`.
fn commercial_place(region: &str) -> Option<&str> {
    let (geography, place) = region.split_once('-')?;
    (geography.len() == 2 && is_word(geography)).then_some(place)
}

fn is_word_and_number(place: &str) -> bool {
    let Some((word, number)) = place.split_once('-') else { return false };
    is_word(word) && (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests;
