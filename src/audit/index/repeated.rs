//! Lines that repeat another: only their time and their IDs differ, as the broker writes them for repeated hits.

use std::collections::HashMap;

use crate::audit::template::{BEFORE_CHILD, BEFORE_ID, BEFORE_TIME, BEFORE_TRACE, ID, TIME};

/// Maximum number of lines that are remembered, for the memory of the reader.
const MAX_LINES: usize = 1 << 16;

/// A line in two parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split<'a> {
    /// The time, which is not checked.
    pub(super) time: &'a str,
    /// What follows the IDs.
    pub(super) rest: &'a [u8],
}

/// Splits a line; `None`: another program wrote it, or another kind of record is in it.
pub(super) fn split(line: &[u8]) -> Option<Split<'_>> {
    let (time, rest) = line.strip_prefix(BEFORE_TIME)?.split_at_checked(TIME)?;
    let rest = after_id(rest, BEFORE_ID)?;
    let rest = after_id(rest, BEFORE_TRACE).unwrap_or(rest);
    let rest = after_id(rest, BEFORE_CHILD).unwrap_or(rest);
    Some(Split { time: std::str::from_utf8(time).ok()?, rest })
}

fn after_id<'a>(line: &'a [u8], before: &[u8]) -> Option<&'a [u8]> {
    let (id, rest) = line.strip_prefix(before)?.split_at_checked(ID)?;
    id.iter().all(u8::is_ascii_hexdigit).then_some(rest)
}

/// What a line that was parsed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A release, of the entry with this number.
    Release(usize),
    /// Another record.
    Other,
}

/// What is known of the rests of lines that were parsed.
#[derive(Debug, Default)]
pub(super) struct Repeated(HashMap<Box<[u8]>, Parsed>);

impl Repeated {
    /// Returns what a line with a rest is; `None`: no such line was parsed.
    pub(super) fn get(&self, rest: &[u8]) -> Option<Parsed> {
        self.0.get(rest).copied()
    }

    /// Remembers what a line with a rest is.
    pub(super) fn insert(&mut self, rest: &[u8], parsed: Parsed) {
        if self.0.len() >= MAX_LINES {
            self.0.clear();
        }
        self.0.insert(rest.into(), parsed);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
