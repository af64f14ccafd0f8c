//! What the fast path shares with the ordinary one, and with the other requests of a connection.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::last_memo::LastMemo;
use crate::api::calls::Calls;
use crate::api::trace::Tracing;
use crate::audit::AuditBatch;
use crate::authn::Peer;
use crate::broker::Broker;
use crate::limits::{Limits, Origin, RecentUsage};
use crate::rejections::RejectionRecorder;

/// What the fast path shares with the ordinary one.
#[derive(Debug)]
pub(in crate::api::grpc) struct Parts {
    pub(in crate::api::grpc) broker: Arc<Broker>,
    pub(in crate::api::grpc) limits: Limits,
    pub(in crate::api::grpc) tracing: Arc<Tracing>,
    pub(in crate::api::grpc) calls: Calls,
    pub(in crate::api::grpc) rejections: RejectionRecorder,
    pub(in crate::api::grpc) force_shutdown: CancellationToken,
}

/// A connection whose requests may be answered by the fast path.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) parts: Arc<Parts>,
    pub(super) peer: Peer,
    pub(super) origin: Origin,
    /// The records of the connection's releases; `None` without an audit log.
    pub(super) batch: Option<AuditBatch>,
    pub(super) last_memo: LastMemo,
    /// The usage of the caller that the connection proves.
    pub(super) usage: RecentUsage,
}
