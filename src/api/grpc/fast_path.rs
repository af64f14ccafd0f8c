//! Fast path of cache hits: answers a request that was answered before, in front of the ordinary path.
//!
//! A memo of an ordinary answer holds what was decided, found and recorded. While it is still true, the next request of the same
//! caller with the same bytes gets the same answer, with the times of now. The fast path answers only what it can answer exactly as
//! the ordinary path would, with the same record, span, metrics and limits. It looks first and has no effect then; everything else goes
//! to the ordinary path untouched. `server.fast_path` removes it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use self::connection::Connection;
pub(super) use self::connection::Parts;
pub(crate) use self::head::Head;
use self::head::METHOD;
pub(crate) use self::hit::{Answer, Hit};
use self::hit::{Recording, Released};
use self::known_call::KnownCall;
pub(super) use self::memo::Remember;
use self::memo::{Memo, MemoKey, Memos};
use self::span::CallSpan;
use super::status::{ErrorContext, to_status};
use crate::api::{request, trace};
use crate::audit::{AuditBatch, AuditLog};
use crate::authn::Peer;
use crate::cache::Repeat;
use crate::limits::Origin;
use crate::request_id::RequestId;

mod answer;
mod connection;
mod head;
mod hit;
mod known_call;
mod last_memo;
mod memo;
mod span;

/// The fast path of a broker. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(super) struct FastPath {
    parts: Arc<Parts>,
    memos: Memos,
}

/// The fast path of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionFastPath {
    connection: Arc<Connection>,
    memos: Memos,
}

/// What the fast path does with a request.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it becomes the future of the call, which has room for it")]
pub(crate) enum Verdict {
    /// It is answered here.
    Hit(Hit),
    /// The ordinary path must answer. The request's extensions get what it should know.
    HandOver(HandOver),
}

/// What the ordinary path should know of a request that the fast path does not answer.
#[derive(Debug, Default)]
pub(crate) struct HandOver {
    remember: Option<Remember>,
}

impl FastPath {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts), memos: Memos::new() }
    }

    /// Returns the fast path of a connection.
    pub(super) fn for_peer(&self, peer: Peer, origin: Origin) -> ConnectionFastPath {
        let batch = self.parts.rejections.audit_log().map(AuditLog::batch);
        let (last_memo, usage) = Default::default();
        let connection = Connection { parts: Arc::clone(&self.parts), peer, origin, batch, last_memo, usage };
        ConnectionFastPath { connection: Arc::new(connection), memos: self.memos.clone() }
    }
}

impl ConnectionFastPath {
    /// Answers a request, or hands it over. `head` is that of its headers, `message` all of its message with the prefix of gRPC.
    pub(crate) fn begin(&self, head: Head, headers: &HeaderMap, message: Bytes) -> Verdict {
        let Some(key) = self.key(message) else { return HandOver::default().into() };
        let repeat = |memo: &Memo| self.parts().broker.repeat(&memo.hit);
        let Some((memo, repeat)) = self.connection.last_memo.find(&key, &self.memos, repeat) else {
            return self.hand_over_to_remember(key);
        };
        let id = RequestId::random();
        let span = CallSpan::begin(&self.parts().tracing, (headers, head.trace), id, repeat.at.wall);
        Verdict::Hit(self.release((head, id), span, key, (memo, repeat)))
    }

    /// Returns the records of the connection's releases, for its driver; `None` without an audit log.
    ///
    /// After the driver has had the batch collect records of calls, it must commit them, and then poll these calls again.
    pub(crate) fn batch(&self) -> Option<AuditBatch> {
        self.connection.batch.clone()
    }

    fn parts(&self) -> &Parts {
        &self.connection.parts
    }

    /// Returns the key of the request's memo. `None`: the request is not for the fast path.
    fn key(&self, message: Bytes) -> Option<MemoKey> {
        let is_logged = trace::are_local_spans_logged();
        // While records fail, or are written for some callers only, the ordinary path answers.
        let is_recorded = self.parts().rejections.audit_log().is_none_or(AuditLog::is_well);
        if is_logged || !is_recorded || self.parts().force_shutdown.is_cancelled() {
            return None;
        }
        MemoKey::new(self.connection.peer.caller().ok()?, message)
    }

    fn hand_over_to_remember(&self, key: MemoKey) -> Verdict {
        HandOver { remember: Some(self.memos.remember(key)) }.into()
    }

    /// Counts the call as the ordinary path does. From here on the fast path answers.
    fn release(
        &self,
        (head, id): (Head, RequestId),
        span: Option<Box<CallSpan>>,
        key: MemoKey,
        (memo, repeat): (Arc<Memo>, Repeat),
    ) -> Hit {
        let started = Instant::now();
        let in_flight = self.parts().calls.begin(METHOD, started);
        let call = KnownCall { connection: Arc::clone(&self.connection), head, key, id, started };
        let admission = match request::admit_again(&self.parts().limits, call.key.caller(), &self.connection.usage) {
            Ok(admission) => admission,
            Err(error) => {
                let status = to_status(&error, &ErrorContext::default(), &call.as_ordinary());
                return Hit::refused(in_flight, span, status);
            }
        };
        let attempt = self.parts().broker.begin_repeat(&memo.hit, &repeat);
        let recording = memo.hit.record.as_ref().zip(self.connection.batch.as_ref()).map(|(record, batch)| {
            let queued = batch.add(record.line(repeat.at.wall, id, head.trace), call.key.caller().clone());
            if batch.is_collecting() {
                return Recording::Added(queued);
            }
            batch.commit();
            Recording::Queued(queued)
        });
        let released = Released { call, memo, repeat, admission, attempt };
        Hit::released(in_flight, span, released, recording.unwrap_or(Recording::None))
    }
}

impl HandOver {
    /// Tells the ordinary path.
    pub(crate) fn attach(self, extensions: &mut Extensions) {
        if let Some(remember) = self.remember {
            extensions.insert(remember);
        }
    }
}

impl From<HandOver> for Verdict {
    fn from(hand_over: HandOver) -> Self {
        Self::HandOver(hand_over)
    }
}

#[cfg(test)]
mod tests;
