//! Hosts of a registry pattern in their order, one by one: a page of a list must not build all of them.

use super::label::LabelPattern;
use crate::registry::Registry;

/// Hosts of a registry pattern, or its patterns of hosts: each start with each end. Both are in order.
#[derive(Debug, Default)]
pub(in crate::policy) struct Hosts<'a> {
    /// The accounts, `*` for every account, or nothing for ECR Public.
    starts: Vec<&'a str>,
    /// The rests of the hosts.
    ends: Vec<String>,
}

impl<'a> Hosts<'a> {
    /// Returns the hosts of ECR Public.
    pub(super) fn public() -> Self {
        Self::new(vec![""], Registry::PUBLIC_HOSTS.map(str::to_owned).into())
    }

    /// Returns the hosts of accounts, each twelve digits or `*`, in each region.
    pub(super) fn private<'r>(
        accounts: impl Iterator<Item = &'a str>,
        regions: impl Iterator<Item = &'r LabelPattern>,
    ) -> Self {
        let ends = regions.flat_map(|region| Registry::host_patterns("", &region.to_string()));
        Self::new(accounts.collect(), ends.collect())
    }

    fn new(mut starts: Vec<&'a str>, mut ends: Vec<String>) -> Self {
        starts.sort_unstable();
        starts.dedup();
        ends.sort();
        ends.dedup();
        Self { starts, ends }
    }

    /// Returns the hosts from the one of this name on, in their order.
    pub(in crate::policy) fn from(self, name: &str) -> impl Iterator<Item = String> + use<'a> {
        let end = self.starts.len() * self.ends.len();
        (self.first_from(name)..end).map(move |at| self.host(at))
    }

    /// Returns the host at a place. Starts are of one length, or there is one, so that hosts are in order, too.
    fn host(&self, at: usize) -> String {
        format!("{}{}", self.starts[at / self.ends.len()], self.ends[at % self.ends.len()])
    }

    /// Finds the first host that is not before `name`.
    fn first_from(&self, name: &str) -> usize {
        let (mut first, mut end) = (0, self.starts.len() * self.ends.len());
        while first < end {
            let middle = first.midpoint(end);
            if self.host(middle).as_str() < name { first = middle + 1 } else { end = middle }
        }
        first
    }
}
