//! The line of a record that is written again and again: only its time, its request ID and its trace ID differ.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::TraceId;

use super::record::{Record, line};
use crate::request_id::RequestId;

/// Text before the time of a line.
pub(super) const BEFORE_TIME: &[u8] = br#"{"kind":"audit","time":""#;
/// Text between the time and the request ID.
pub(super) const BEFORE_ID: &[u8] = br#"","request_id":""#;
/// Text between the request ID and the trace ID of a record that has one.
pub(super) const BEFORE_TRACE: &[u8] = br#"","trace_id":""#;
/// Text between the last ID and that of the broker that forwarded the request, if there is one.
pub(super) const BEFORE_CHILD: &[u8] = br#"","child_request_id":""#;
/// Bytes of a time with milliseconds, and of a request ID or a trace ID.
pub(super) const TIME: usize = 24;
pub(super) const ID: usize = 32;
/// Bytes of a time up to its milliseconds.
const SECOND: usize = 20;
/// The last moment that has a text.
const LATEST: Duration = Duration::from_millis(253_402_300_799_999);

thread_local! {
    /// The second of the last line, and its text.
    static LAST_SECOND: Cell<(u64, [u8; SECOND])> = const { Cell::new((0, *b"1970-01-01T00:00:00.")) };
}

/// A record without its time, its request ID and its trace ID. [`RecordTemplate::line`] returns the same bytes as [`line()`] would.
#[derive(Debug)]
pub(crate) struct RecordTemplate {
    /// What follows the IDs, with the newline.
    tail: Box<[u8]>,
}

impl RecordTemplate {
    /// Returns the template of a record, whose IDs do not matter.
    pub(crate) fn new(record: Record<'_>) -> serde_json::Result<Self> {
        let whole = line(&Record { request_id: String::new(), trace_id: None, ..record }, SystemTime::UNIX_EPOCH)?;
        Ok(Self { tail: whole[BEFORE_TIME.len() + TIME + BEFORE_ID.len()..].into() })
    }

    /// Returns the line of a record, with the newline. A time before 1970 is that of the first moment of 1970.
    pub(crate) fn line(&self, time: SystemTime, request_id: RequestId, trace: Option<TraceId>) -> Vec<u8> {
        let of_trace = trace.map_or(0, |_| BEFORE_TRACE.len() + ID);
        let fixed = BEFORE_TIME.len() + TIME + BEFORE_ID.len() + ID;
        let mut line = Vec::with_capacity(fixed + of_trace + self.tail.len());
        line.extend_from_slice(BEFORE_TIME);
        line.extend_from_slice(&text_of(time));
        line.extend_from_slice(BEFORE_ID);
        line.extend_from_slice(&request_id.hex());
        if let Some(trace) = trace {
            line.extend_from_slice(BEFORE_TRACE);
            line.extend_from_slice(trace.to_string().as_bytes());
        }
        line.extend_from_slice(&self.tail);
        line
    }

    /// Returns the bytes that the template takes up.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.tail.len()
    }
}

/// Returns a time as RFC 3339 with milliseconds. The text of a second is kept: only the milliseconds are formatted each time.
fn text_of(time: SystemTime) -> [u8; TIME] {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(LATEST);
    let (second, millis) = (since_epoch.as_secs(), since_epoch.subsec_millis());
    let (mut known, mut start) = LAST_SECOND.get();
    if known != second {
        let text = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_epoch).to_string();
        (known, start) = (second, std::array::from_fn(|at| text.as_bytes()[at]));
        LAST_SECOND.set((known, start));
    }
    let mut text = [b'Z'; TIME];
    text[..SECOND].copy_from_slice(&start);
    for (at, unit) in [100, 10, 1].into_iter().enumerate() {
        text[SECOND + at] = b'0' + u8::try_from(millis / unit % 10).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Outcome, Time};

    fn any_record(texts: &[String], outcome: Outcome, expires: u64) -> Record<'_> {
        let text = |at: usize| texts[at % texts.len()].as_str();
        let some = |at: usize| texts.get(at).map(String::as_str);
        let owned = |at: usize| some(at).map(str::to_owned);
        Record {
            request_id: text(0).to_owned(),
            trace_id: owned(1),
            child_request_id: owned(2),
            caller: text(3).to_owned(),
            via: texts.iter().skip(4).take(2).cloned().collect(),
            proof: text(5),
            outcome,
            operation: texts.len().is_multiple_of(2).then_some("status"),
            account_id: owned(3),
            region: some(4),
            registry: owned(5),
            alias: some(6),
            profile: text(6),
            role_session: owned(7),
            grant: some(0),
            policy: text(7),
            config: text(8),
            credential_id: owned(8),
            expires: some(9).map(|_| Time(SystemTime::UNIX_EPOCH + Duration::from_millis(expires))),
            source: some(1),
            minted_by: some(2),
            aws_request_id: some(9),
            count: std::num::NonZeroUsize::new(texts.len() - 1),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn line_of_a_template_is_that_of_its_record(
            texts in prop::collection::vec(".{0,20}", 1..11),
            id: u128,
            trace: Option<u128>,
            millis in prop::collection::vec(prop_oneof![0..253_402_300_800_000_u64, 0..5_000_u64], 1..8),
            is_observed: bool,
        ) {
            let outcome = if is_observed { Outcome::Observed } else { Outcome::Released };
            let id = RequestId::of(id);
            let template = RecordTemplate::new(any_record(&texts, outcome, millis[0])).unwrap();
            let trace = trace.map(TraceId::from);
            let trace_id = trace.map(|trace| trace.to_string());
            let record = Record { request_id: id.to_string(), trace_id, ..any_record(&texts, outcome, millis[0]) };
            for millis in &millis {
                let time = SystemTime::UNIX_EPOCH + Duration::from_millis(*millis);
                prop_assert_eq!(template.line(time, id, trace), line(&record, time).unwrap());
            }
        }
    }

    #[test]
    fn time_without_a_text_is_the_nearest_that_has_one() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
        let after = SystemTime::UNIX_EPOCH + LATEST + Duration::from_secs(5);
        assert_eq!(&text_of(before), b"1970-01-01T00:00:00.000Z");
        assert_eq!(&text_of(after), b"9999-12-31T23:59:59.999Z");
    }
}
