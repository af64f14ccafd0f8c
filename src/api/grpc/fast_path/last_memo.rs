//! The memo that a connection used last: most connections send the same request again and again.

use std::sync::{Arc, Mutex, Weak};

use super::memo::{Memo, MemoKey, Memos};
use crate::sync::lock;

/// Uses of the last memo in a row without a look into the storage, which must know which memos are frequent.
pub(super) const USES: u32 = 16;

/// The last memo of a connection. It does not keep the memo in memory.
#[derive(Debug, Default)]
pub(super) struct LastMemo(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    key: MemoKey,
    memo: Weak<Memo>,
    /// Uses since the storage was asked.
    uses: u32,
}

impl LastMemo {
    /// Returns the memo of a key, and what `check` makes of it: the last one, else that in `memos`. `None`: neither is still true.
    pub(super) fn find<T>(
        &self,
        key: &MemoKey,
        memos: &Memos,
        check: impl Fn(&Memo) -> Option<T>,
    ) -> Option<(Arc<Memo>, T)> {
        let last = &mut *lock(&self.0);
        let same = last.as_mut().filter(|last| last.key == *key);
        let with = |memo: Arc<Memo>| check(&memo).map(|checked| (memo, checked));
        if let Some(found) = same.and_then(Last::repeat).and_then(with) {
            return Some(found);
        }
        let memo = memos.get(key)?;
        let stored = Arc::downgrade(&memo);
        match last.as_mut().filter(|last| last.key == *key) {
            Some(same) => (same.memo, same.uses) = (stored, 0),
            None => *last = Some(Last { key: key.detached(), memo: stored, uses: 0 }),
        }
        with(memo)
    }
}

impl Last {
    fn repeat(&mut self) -> Option<Arc<Memo>> {
        if self.uses == USES {
            return None;
        }
        self.uses += 1;
        self.memo.upgrade()
    }
}
