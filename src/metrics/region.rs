//! The region label: a closed set, although operators and callers may name regions that this program does not know.

use crate::registry::Region;

/// Label of ECR Public, which has no region.
const PUBLIC: &str = "public";
/// Label of every region outside AWS's table.
const OTHER: &str = "other";

/// Returns the label of a region; `None`: ECR Public.
#[must_use]
pub fn region_label(region: Option<&Region>) -> &'static str {
    region.map_or(PUBLIC, |region| region.known_name().unwrap_or(OTHER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_outside_the_table_share_a_label() {
        let label = |name: &str| region_label(Some(&name.parse().unwrap()));
        assert_eq!(
            [label("eu-central-1"), label("eu-north-9"), region_label(None)],
            ["eu-central-1", "other", "public"]
        );
    }
}
