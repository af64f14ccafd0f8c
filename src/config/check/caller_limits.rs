//! Checks of `[[limits.callers]]` against the other settings.

use crate::config::model::Config;
use crate::config::reader::Reader;
use crate::config::sections::limits::callers::HEADING;
use crate::limits::{CallerLimits, Settings};
use crate::policy::lint::unreachable_caller;

/// Reports entries without effect, and limits that could starve all other callers.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let entries = &config.limits.callers;
    for (index, entry) in entries.iter().enumerate() {
        let problems = [
            unreachable(entry, config),
            repeated(entry, &entries[..index]),
            unchanged(entry, &config.limits),
            beyond_waiters(entry, config),
            beyond_requests(entry, &config.limits),
            beyond_memory(entry, &config.limits),
        ];
        for problem in problems.into_iter().flatten() {
            reader.report_file(&format!("{HEADING} number {}: {problem}", index + 1));
        }
    }
}

/// A caller that cannot authenticate.
fn unreachable(entry: &CallerLimits, config: &Config) -> Option<String> {
    let accepted = config.accepted_identities();
    entry.callers.iter().find_map(|caller| unreachable_caller(caller, &accepted))
}

/// The first entry that matches a caller decides.
fn repeated(entry: &CallerLimits, earlier: &[CallerLimits]) -> Option<String> {
    let is_covered = |caller| earlier.iter().flat_map(|other| &other.callers).any(|other| other.contains(caller));
    let problem = "callers: an earlier entry matches one of them; remove it, or move this entry before that one";
    entry.callers.iter().any(is_covered).then(|| problem.to_owned())
}

fn unchanged(entry: &CallerLimits, general: &Settings) -> Option<String> {
    let rate = entry.requests_per_second;
    let is_general =
        entry.callers.iter().all(|one| rate.is_none_or(|rate| rate == general.general_rate(one.is_local())))
            && entry.in_flight.is_none_or(|limit| limit == general.in_flight)
            && entry.watches.is_none_or(|limit| limit == Settings::general_watches())
            && entry.watch_memory_per_caller.is_none_or(|limit| limit == general.watch_memory_per_caller);
    let problem = "no limit differs from the general ones; set a limit to another value, or remove the entry";
    is_general.then(|| problem.to_owned())
}

fn beyond_waiters(entry: &CallerLimits, config: &Config) -> Option<String> {
    let problem = "in_flight: is not below cache.max_waiters, so one caller could block all others; lower it";
    entry.in_flight.is_some_and(|limit| limit >= config.cache.max_waiters).then(|| problem.to_owned())
}

fn beyond_requests(entry: &CallerLimits, general: &Settings) -> Option<String> {
    let all = general.max_in_flight();
    let problem = || format!("in_flight: exceeds the {all} requests that all callers share; lower it");
    entry.in_flight.is_some_and(|limit| limit > all).then(problem)
}

fn beyond_memory(entry: &CallerLimits, general: &Settings) -> Option<String> {
    let problem = "watch_memory_per_caller: exceeds limits.watch_memory, which all callers share; lower it or raise limits.watch_memory";
    entry.watch_memory_per_caller.is_some_and(|limit| limit > general.watch_memory).then(|| problem.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{load, problems};

    fn entry(callers: &str, limits: &str) -> String {
        format!("[[limits.callers]]\ncallers = [{callers}]\n{limits}\n")
    }

    #[test]
    fn entries_without_effect_and_limits_beyond_all_are_refused() {
        let raised = "in_flight = 13000";
        for (text, hint) in [
            (entry("{ uid = 1 }", ""), "number 1: no limit differs"),
            (entry("{ uid = 1 }", "requests_per_second = 2000"), "no limit differs"),
            (entry("{ uid = 1 }", "in_flight = 12288\nwatches = 32768"), "no limit differs"),
            (entry("{ loopback = true }", raised), "loopback is off"),
            (entry("{ spiffe = \"spiffe://a.example/node/*\" }", raised), "no roots for that trust domain"),
            (entry("{ jwt = \"blue\", subject = \"a\" }", raised), "no [[authentication.jwt]] has that name"),
            (
                entry("{ uid = 1 }", raised) + &entry("{ uid = 2 }, { uid = 1 }", raised),
                "number 2: callers: an earlier",
            ),
            (entry("{ uid = 1 }", "in_flight = 16384"), "not below cache.max_waiters"),
            (
                entry("{ uid = 1 }", "in_flight = 32769") + "[cache]\nmax_waiters = 100000",
                "exceeds the 32768 requests that all callers share",
            ),
            (entry("{ uid = 1 }", "watch_memory_per_caller = \"61MiB\""), "exceeds limits.watch_memory"),
        ] {
            let problems = problems(&text);
            assert!(problems.len() == 1 && problems[0].contains(hint), "{text}: {problems:#?}");
        }
        for text in [
            entry("{ uid = 1 }", "requests_per_second = 1000"),
            entry("{ uid = 1 }", raised) + &entry("{ uid = 2 }", raised),
            entry("{ uid = 1 }", "watch_memory_per_caller = \"60MiB\""),
        ] {
            assert!(load(&text).is_ok(), "{text}");
        }
    }
}
