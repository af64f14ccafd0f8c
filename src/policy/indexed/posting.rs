//! Postings: the places of grants in a policy, in their order.

/// The places of the grants under one key.
pub(super) type Posting = Vec<u32>;

/// The union of postings, in order.
#[derive(Debug, Default)]
pub(super) struct Union<'a> {
    rests: Vec<&'a [u32]>,
}

/// The places that two unions share, in order.
#[derive(Debug)]
pub(super) struct Intersection<'a> {
    pub(super) one: Union<'a>,
    pub(super) other: Union<'a>,
}

impl<'a> Union<'a> {
    pub(super) fn add(&mut self, posting: Option<&'a Posting>) {
        self.rests.extend(posting.map(Vec::as_slice));
    }

    /// Skips to the first place that is not before `from`.
    fn skip_to(&mut self, from: u32) -> Option<u32> {
        let firsts = self.rests.iter_mut().filter_map(|rest| {
            skip_to(rest, from);
            rest.first().copied()
        });
        firsts.min()
    }
}

impl Iterator for Union<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let place = self.skip_to(0)?;
        self.skip_to(place + 1);
        Some(place)
    }
}

impl Iterator for Intersection<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let mut from = self.one.skip_to(0)?;
        loop {
            let other = self.other.skip_to(from)?;
            from = self.one.skip_to(other)?;
            if from == other {
                self.one.skip_to(from + 1);
                return Some(from);
            }
        }
    }
}

/// Drops the places before `from`: in steps of double width, and then by halves. A short posting skips most of a long one.
fn skip_to(rest: &mut &[u32], from: u32) {
    let mut width = 1;
    while rest.get(width - 1).is_some_and(|place| *place < from) {
        width *= 2;
    }
    let end = rest.len().min(width);
    let before = rest[..end].partition_point(|place| *place < from);
    *rest = &rest[before..];
}
