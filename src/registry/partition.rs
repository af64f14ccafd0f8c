//! AWS partitions: their regions, and the suffixes of their registry hosts.

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

    /// Returns the partition that owns a region of this name.
    ///
    /// A commercial region is two letters, a word and a number. That admits geographies that AWS opens later. A prefix tells the
    /// other partitions.
    pub(super) fn owning(region: &str) -> Option<Self> {
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
