//! Memos of ordinary answers, bounded in memory.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;

use super::answer::AnswerTemplate;
use crate::broker::PlainHit;
use crate::caller::Caller;
use crate::pb;

/// Memory of all memos: about 21,000 usual ones. One is the answer to one request of one caller.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Memory of a memo beside its texts: its structures, and those of moka. It bounds the number of memos, too.
const MEMO_BYTES: usize = 768;
/// Longest message of a memo, with the prefix of gRPC. A usual one has about 80 bytes.
const MAX_MESSAGE: usize = 1024;
/// The prefix of gRPC: the flag of compression, and the length.
const PREFIX: usize = 5;

/// Memos by caller and message. A clone is a handle of the same.
///
/// When they are too many, moka's usual policy keeps the most frequent ones. One caller that sends ever new messages does not displace
/// those of others.
#[derive(Debug, Clone)]
pub(crate) struct Memos(Cache<MemoKey, Arc<Memo>>);

/// What the next answer to the same request has in common with the last. It holds no secret.
#[derive(Debug)]
pub(super) struct Memo {
    pub(super) hit: PlainHit,
    pub(super) answer: AnswerTemplate,
    /// The registry, as the spans of calls name it.
    pub(super) registry: Arc<str>,
}

/// A caller that its connection proves, and all bytes of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemoKey {
    caller: Caller,
    /// With the prefix of gRPC.
    message: Bytes,
}

/// The place of a memo, for the ordinary path to fill.
#[derive(Debug, Clone)]
pub(crate) struct Remember {
    memos: Memos,
    message: Bytes,
}

impl Memos {
    pub(super) fn new() -> Self {
        let bytes = |key: &MemoKey, memo: &Arc<Memo>| u32::try_from(key.bytes() + memo.bytes()).unwrap_or(u32::MAX);
        Self(Cache::builder().max_capacity(MAX_BYTES).weigher(bytes).build())
    }

    pub(super) fn get(&self, key: &MemoKey) -> Option<Arc<Memo>> {
        self.0.get(key)
    }

    /// Forgets all memos.
    #[cfg(test)]
    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }

    /// Returns the place of a request that has no memo, or none that is still true.
    pub(super) fn remember(&self, key: MemoKey) -> Remember {
        Remember { memos: self.clone(), message: key.message }
    }
}

impl Memo {
    fn bytes(&self) -> usize {
        let record = self.hit.record.as_ref().map_or(0, crate::audit::RecordTemplate::size);
        MEMO_BYTES + record + self.answer.bytes() + self.registry.len()
    }
}

impl MemoKey {
    /// Returns the key of a request. `None`: its answers have no memo, because a proof beside the connection names the caller, or because
    /// the message is long, compressed or not whole.
    pub(super) fn new(caller: Caller, message: Bytes) -> Option<Self> {
        let is_of_connection =
            matches!(caller, Caller::Process { .. } | Caller::Loopback | Caller::Spiffe(_) | Caller::Dns(_));
        let &[0, a, b, c, d, ..] = &*message else { return None };
        let is_whole = usize::try_from(u32::from_be_bytes([a, b, c, d])) == Ok(message.len() - PREFIX);
        (is_of_connection && is_whole && message.len() <= MAX_MESSAGE).then_some(Self { caller, message })
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns the same key for longer. The message may be a part of a larger buffer.
    pub(super) fn detached(&self) -> Self {
        Self { caller: self.caller.clone(), message: Bytes::copy_from_slice(&self.message) }
    }

    /// Returns the message without its prefix.
    pub(super) fn message(&self) -> &[u8] {
        &self.message[PREFIX..]
    }

    fn bytes(&self) -> usize {
        self.caller.bytes() + self.message.len()
    }
}

/// A caller has no hash: the claims of a token have none.
impl Hash for MemoKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.caller {
            Caller::Process { uid, gid } => (uid, gid).hash(state),
            Caller::Spiffe(id) => id.hash(state),
            Caller::Dns(name) => name.hash(state),
            Caller::Loopback | Caller::AwsApi | Caller::Token(_) | Caller::Forwarded(_) => {}
        }
        self.message.hash(state);
    }
}

impl Remember {
    /// Notes that `caller` got `answer` by a plain hit.
    pub(in crate::api::grpc) fn note(self, caller: Caller, hit: PlainHit, answer: &pb::RegistryCredentials) {
        // A copy: the message may be a part of a larger buffer.
        let Some(key) = MemoKey::new(caller, Bytes::copy_from_slice(&self.message)) else { return };
        let memo = Memo { hit, answer: AnswerTemplate::new(answer), registry: answer.registry.as_str().into() };
        self.memos.0.insert(key, Arc::new(memo));
    }
}
