//! The lines of a status: all of them, or those that fit a terminal.

use super::keys::keys;
use super::text::{glance, is_troubled, regions, summary};
use crate::pb::GetStatusResponse;

/// Returns the lines of a status, without control characters. `max_width` is that of the terminal, if there is one.
pub(super) fn lines(status: &GetStatusResponse, max_width: Option<usize>) -> Vec<String> {
    let mut lines = summary(status);
    if !status.regions.is_empty() {
        lines.push(String::new());
        lines.extend(regions(&status.regions));
    }
    lines.push(String::new());
    lines.extend(keys(&status.keys, max_width));
    let more = matching(status).saturating_sub(status.keys.len());
    if more > 0 {
        lines.push(format!("… and {more} more keys; raise --limit, or filter"));
    }
    lines
}

/// Returns the lines for a terminal of this size. If not all fit: those that tell whether anything is wrong, and the first keys.
pub(super) fn view(status: &GetStatusResponse, (columns, rows): (usize, usize)) -> Vec<String> {
    let all = lines(status, Some(columns));
    if all.len() <= rows {
        return all;
    }
    let mut lines = glance(status);
    let troubled: Vec<_> = status.regions.iter().filter(|region| is_troubled(region)).cloned().collect();
    if !troubled.is_empty() {
        lines.push(String::new());
        lines.extend(regions(&troubled));
    }
    lines.push(String::new());
    let mut table = keys(&status.keys, Some(columns));
    table.truncate(rows.saturating_sub(lines.len() + 1));
    let more = matching(status).saturating_sub(table.len().saturating_sub(1));
    lines.extend(table);
    if more > 0 {
        lines.push(format!("… and {more} more keys; enlarge the terminal, or filter"));
    }
    lines
}

/// Returns the number of keys that meet the conditions.
fn matching(status: &GetStatusResponse) -> usize {
    let matching = status.cache.as_ref().map_or(0, |cache| cache.matching);
    usize::try_from(matching).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
