//! What the records say: how many requests the broker would have answered, who would have failed, and the latency that it adds.

use std::collections::BTreeMap;

use super::record::{Answer, Observation, Record};
use crate::client::adoption::Mode;

/// Requests of one kind that the broker answered without credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failing {
    /// Why they failed.
    pub reason: String,
    /// The caller, if the broker named it: after a denial.
    pub caller: Option<String>,
    /// Host of the registry.
    pub registry: String,
    /// Requested profile.
    pub profile: String,
}

/// Median and 99th percentile, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Median.
    pub p50: i64,
    /// 99th percentile.
    pub p99: i64,
}

/// The records of a report.
#[derive(Debug, Default)]
pub struct Summary {
    /// Time of the first and last record.
    pub times: Option<(String, String)>,
    /// Records of hosts in shadow mode.
    pub shadow: u64,
    /// Records of canary hosts.
    pub canary: u64,
    /// Requests that the broker was not asked about, because too many questions were open.
    pub not_asked: u64,
    /// Requests for which the broker had credentials.
    pub succeeded: u64,
    /// Requests that failed at the broker.
    pub failed: u64,
    /// Those of `failed` that failed at the fallback, too.
    pub failed_alike: u64,
    /// Lines that are not records.
    pub damaged: u64,
    /// Failed requests, and their numbers.
    pub failing: BTreeMap<Failing, u64>,
    broker: Vec<i64>,
    fallback: Vec<i64>,
    added: Vec<i64>,
}

impl Summary {
    /// Adds the lines of a file.
    pub fn add_lines(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(record) => self.add(record),
                Err(_) => self.damaged += 1,
            }
        }
    }

    fn add(&mut self, record: Record) {
        let Record { time, registry, profile, caller, observation, .. } = record;
        self.note_time(time);
        let Observation { mode, broker, fallback } = observation;
        *(if mode == Mode::Canary { &mut self.canary } else { &mut self.shadow }) += 1;
        let Some(broker) = broker else {
            self.not_asked += 1;
            return;
        };
        self.note_latency(&broker, fallback.as_ref());
        let Some(reason) = broker.reason else {
            self.succeeded += 1;
            return;
        };
        self.failed += 1;
        self.failed_alike += u64::from(fallback.is_some_and(|fallback| fallback.reason.is_some()));
        *self.failing.entry(Failing { reason, caller, registry, profile }).or_default() += 1;
    }

    fn note_time(&mut self, time: String) {
        self.times = Some(match self.times.take() {
            None => (time.clone(), time),
            Some((first, last)) if time > last => (first, time),
            Some((first, last)) if time < first => (time, last),
            Some(times) => times,
        });
    }

    /// Compares only credentials with credentials: a failure may come sooner or later than they would.
    fn note_latency(&mut self, broker: &Answer, fallback: Option<&Answer>) {
        let ms = |answer: &Answer| answer.reason.is_none().then(|| i64::try_from(answer.ms).unwrap_or(i64::MAX));
        let (broker, fallback) = (ms(broker), fallback.and_then(ms));
        self.broker.extend(broker);
        self.fallback.extend(fallback);
        self.added.extend(broker.zip(fallback).map(|(broker, fallback)| broker - fallback));
    }

    /// Returns the number of requests that the broker was asked about.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.succeeded + self.failed
    }

    /// Returns the number of requests that only the fallback answered, or may have answered.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.failed - self.failed_alike
    }

    /// Returns the latencies of the broker, of the fallback, and what the broker adds to the fallback's; none without a record.
    #[must_use]
    pub fn latencies(&mut self) -> [Option<Latency>; 3] {
        [&mut self.broker, &mut self.fallback, &mut self.added].map(|all| {
            all.sort_unstable();
            Some(Latency { p50: percentile(all, 50)?, p99: percentile(all, 99)? })
        })
    }
}

/// Returns a percentile by the nearest rank.
fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::adoption::Protocol;

    fn answer(ms: u64, reason: &str) -> Answer {
        Answer { ms, reason: (!reason.is_empty()).then(|| reason.to_owned()) }
    }

    fn line(second: u8, mode: Mode, broker: Option<Answer>, fallback: Option<Answer>) -> String {
        let is_denied = broker.as_ref().is_some_and(|broker| broker.reason.is_some());
        Record {
            time: format!("2026-12-01T00:00:{second:02}Z"),
            protocol: Protocol::Docker,
            registry: "public.ecr.aws".to_owned(),
            profile: String::new(),
            caller: is_denied.then(|| "uid:1001,gid:1001".to_owned()),
            observation: Observation { mode, broker, fallback },
        }
        .line()
    }

    #[test]
    fn summary_counts_requests_that_only_the_fallback_answers() {
        let denied = "CALLER_NOT_ALLOWED";
        let lines = [
            line(3, Mode::Shadow, Some(answer(7, "")), Some(answer(400, ""))),
            line(1, Mode::Shadow, Some(answer(9, denied)), Some(answer(300, ""))),
            line(2, Mode::Shadow, Some(answer(9, denied)), Some(answer(300, "FAILED"))),
            line(9, Mode::Canary, Some(answer(9, denied)), None),
            line(4, Mode::Canary, Some(answer(30, "")), None),
            line(5, Mode::Shadow, None, Some(answer(500, ""))),
            "not a record\n\n".to_owned(),
        ];
        let mut summary = Summary::default();
        summary.add_lines(&lines.concat());
        assert_eq!((summary.shadow, summary.canary, summary.not_asked, summary.damaged), (4, 2, 1, 1));
        assert_eq!((summary.asked(), summary.succeeded, summary.failed, summary.lost()), (5, 2, 3, 2));
        assert_eq!(summary.times, Some(("2026-12-01T00:00:01Z".to_owned(), "2026-12-01T00:00:09Z".to_owned())));
        let failing = Failing {
            reason: denied.to_owned(),
            caller: Some("uid:1001,gid:1001".to_owned()),
            registry: "public.ecr.aws".to_owned(),
            profile: String::new(),
        };
        assert_eq!(summary.failing, BTreeMap::from([(failing, 3)]));
        let at = |p50, p99| Some(Latency { p50, p99 });
        assert_eq!(summary.latencies(), [at(7, 30), at(300, 400), at(-393, -393)]);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let all: Vec<_> = (1..=200).collect();
        assert_eq!([percentile(&all, 50), percentile(&all, 99)], [Some(100), Some(198)]);
        assert_eq!([percentile(&[5], 50), percentile(&[5], 99), percentile(&[], 50)], [Some(5), Some(5), None]);
    }
}
