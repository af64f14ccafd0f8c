//! `[[limits.callers]]`: limits of named callers.

use toml::Value;

use super::amount::{bytes, rate};
use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed, Unique};
use crate::config::reader::Reader;
use crate::config::sections::grants::read_callers;
use crate::config::settings::Limits;
use crate::config::value_type::ValueType;
use crate::config::values;
use crate::limits::{CallerLimits, MAX_WATCHES};
use crate::policy::CallerPattern;

/// The heading; the list is part of the section `[limits]`.
pub(in crate::config) const HEADING: &str = "limits.callers";
pub(in crate::config) const CALLERS: List = List {
    key: "callers",
    heading: HEADING,
    one: HEADING,
    // A list, which names nothing: diagnostics count the tables.
    named_by: "callers",
    unique: "callers",
    keys: &["callers", "requests_per_second", "in_flight", "watches", "watch_memory_per_caller"],
};
const WATCHES: ValueType<usize> = values::count(100, MAX_WATCHES as u64);

/// Reads the limits of named callers; only the main file can have them.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<CallerLimits> {
    let section = reader.file().get("limits").and_then(Value::as_table).cloned().unwrap_or_default();
    let section = Document { place: reader.file_name(), table: section, bound: None };
    reader.collect(parse(&section))
}

fn parse(section: &Document) -> (Vec<CallerLimits>, Vec<Diagnostic>) {
    let unique = Unique { are_same: |_: &CallerLimits, _: &CallerLimits| false, stays: |_| true };
    let Listed { items, diagnostics, .. } = CALLERS.read(std::iter::once(section), read_entry, &unique);
    (items, diagnostics)
}

fn read_entry(item: &mut Item<'_>) -> Option<CallerLimits> {
    let callers = read_callers(item);
    for problem in callers.iter().filter_map(uncountable) {
        item.report(format!("callers: {problem}"));
    }
    let requests_per_second =
        limit(item, "requests_per_second", |value| Limits::requests_per_second().read(value)).ok()?;
    let in_flight = limit(item, "in_flight", |value| Limits::in_flight().read(value)).ok()?;
    let watches = limit(item, "watches", |value| WATCHES.read(value)).ok()?;
    let memory = |value: &Value| Limits::watch_memory_per_caller().read(value);
    let watch_memory_per_caller = limit(item, "watch_memory_per_caller", memory).ok()?.map(bytes);
    let requests_per_second = requests_per_second.map(rate);
    Some(CallerLimits { callers, requests_per_second, in_flight, watches, watch_memory_per_caller })
}

/// Returns why a pattern cannot name a caller here: usage is counted per user and per subject, which several groups and claims can have.
fn uncountable(pattern: &CallerPattern) -> Option<&'static str> {
    match pattern {
        CallerPattern::Gid(_) => Some("gid: limits are counted per user; name the users by uid"),
        CallerPattern::Token(token) if !token.claims.is_empty() => {
            Some("claims: limits are counted per subject; name the subject alone")
        }
        CallerPattern::Forwarded(..) => Some("via: requests count for the caller and for the broker; name one of them"),
        _ => None,
    }
}

/// Reads a limit that may be missing. Fails for a value that is not a limit, which is reported.
fn limit<T>(item: &mut Item<'_>, key: &str, read: impl Fn(&Value) -> Result<T, String>) -> Result<Option<T>, ()> {
    let Some(value) = item.get(key) else { return Ok(None) };
    let read = read(value).map_err(|problem| format!("{key}: {problem}"));
    item.take(read).map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::tests::{load, problems};

    #[test]
    fn limits_of_callers_are_read_in_their_order() {
        let text = r#"
            [limits]
            requests_per_second = 50
            [[limits.callers]]
            callers = [{ uid = 1001 }, { uid = 1002 }]
            requests_per_second = 5000
            in_flight = 13000
            [[limits.callers]]
            callers = [{ uid = 1003 }]
            watches = 65536
            watch_memory_per_caller = "60MiB"
        "#;
        let limits = load(text).unwrap().limits;
        assert_eq!(limits.requests_per_second.get(), 50);
        let [first, second] = &limits.callers[..] else { panic!("{limits:?}") };
        assert_eq!(first.callers, [CallerPattern::Uid(1001), CallerPattern::Uid(1002)]);
        assert_eq!((first.requests_per_second, first.in_flight), (NonZeroU32::new(5_000), Some(13_000)));
        assert_eq!((first.watches, first.watch_memory_per_caller), (None, None));
        assert_eq!((second.watches, second.watch_memory_per_caller), (Some(65_536), Some(60 << 20)));
    }

    #[test]
    fn every_problem_names_its_entry_and_the_accepted_values() {
        let text = r#"
            [[limits.callers]]
            callers = [{ uid = 5, via = "dns:a.example", asserted = true }, { gid = 5 }, { jwt = "blue", claims = { ref = "main" } }, { uid = -1 }]
            requests_per_second = 0
            in_flight = 0
            watches = 0
            watch_memory_per_caller = "0B"
            colour = 1
            [[limits.callers]]
            watches = 65537
        "#;
        let problems = problems(text);
        for (of, hint) in [
            ("number 1: colour: ", "unknown key"),
            ("number 1: callers: via: ", "name one of them"),
            ("number 1: callers: gid: ", "name the users by uid"),
            ("number 1: callers: claims: ", "name the subject alone"),
            ("number 1: callers: uid: ", "from 0 to"),
            ("number 1: requests_per_second: ", "from 10 to 1000000"),
            ("number 2: callers is missing", "at least one table"),
            ("number 2: watches: ", "from 100 to 65536, got 65537"),
        ] {
            let starts = |problem: &String| problem.starts_with(&format!("{HEADING} {of}")) && problem.contains(hint);
            assert!(problems.iter().any(starts), "{of}: {problems:#?}");
        }
        assert_eq!(problems.len(), 8, "{problems:#?}");
        for (key, hint) in [
            ("in_flight = 0", "in_flight: expected a whole number from 100"),
            ("watches = 0", "watches: expected a whole number from 100"),
            ("watch_memory_per_caller = \"0B\"", "watch_memory_per_caller: expected a size from 1MiB"),
        ] {
            let text = format!("[[limits.callers]]\ncallers = [{{ uid = 1 }}]\n{key}");
            let problems = self::problems(&text);
            assert!(problems.len() == 1 && problems[0].contains(hint), "{problems:?}");
        }
        assert!(self::problems("limits.callers = 1")[0].contains("write [[limits.callers]]"));
    }
}
