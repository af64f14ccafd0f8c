//! A call that the fast path answers, as the errors of the ordinary path describe it.

use std::sync::Arc;

use http::HeaderMap;
use prost::Message as _;
use tokio::time::Instant;

use super::super::call::Call;
use super::super::decode;
use super::super::status::ErrorContext;
use super::connection::{Connection, Parts};
use super::head::Head;
use super::memo::MemoKey;
use crate::broker::RequestContext;
use crate::hops::Hops;
use crate::pb;
use crate::request_id::RequestId;

/// A call whose caller is known.
#[derive(Debug)]
pub(super) struct KnownCall {
    pub(super) connection: Arc<Connection>,
    pub(super) head: Head,
    pub(super) key: MemoKey,
    pub(super) id: RequestId,
    pub(super) started: Instant,
}

impl KnownCall {
    pub(super) fn parts(&self) -> &Parts {
        &self.connection.parts
    }

    pub(super) fn deadline(&self) -> Instant {
        self.head.deadline(self.started)
    }

    /// Returns the call as the ordinary path has it. Its headers say nothing else: see `head.rs`.
    pub(super) fn as_ordinary(&self) -> Call {
        let Connection { peer, origin, .. } = &*self.connection;
        let call = Call::new(&HeaderMap::new(), (peer, *origin), false, self.parts().rejections.clone());
        let caller = Ok(self.key.caller().clone());
        let (started, deadline, trace) = (self.started, self.deadline(), self.head.trace);
        Call { id: self.id, caller, started, deadline, trace, ..call }
    }

    /// Returns what errors about the request name.
    pub(super) fn error_context(&self) -> ErrorContext {
        let context = RequestContext {
            caller: self.key.caller().clone(),
            token: None,
            id: self.id,
            trace_id: self.head.trace.map(|trace| trace.to_string()),
            hops: Hops::default(),
        };
        let message = pb::GetRegistryCredentialsRequest::decode(self.key.message()).ok();
        let decoded = message.and_then(|it| decode::credential_request(&self.parts().broker, &context, &it).ok());
        decoded.map(|(_, context)| context).unwrap_or_default()
    }
}
