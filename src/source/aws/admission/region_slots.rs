//! A region's slots: for all calls, and fewer for those that use an assumed role.

use std::sync::Arc;

use super::concurrency_limit::Size;
use super::slots::{Slot, Slots};

/// Slots, of which roles may take a part.
#[derive(Debug)]
pub(super) struct RegionSlots {
    pub(super) all: Arc<Slots>,
    as_role: Arc<Slots>,
}

impl RegionSlots {
    pub(super) fn new(size: Size) -> Self {
        Self { all: Slots::new(size.all), as_role: Slots::new(size.as_role) }
    }

    /// Waits for one of the roles' slots, if the call uses a role.
    pub(super) async fn acquire_as_role(&self, as_role: bool) -> Option<Slot> {
        if as_role { Some(self.as_role.acquire().await) } else { None }
    }

    /// Returns the number of slots in use if all are that the call may take.
    pub(super) fn in_use_if_full(&self, as_role: bool) -> Option<usize> {
        if as_role { self.as_role.in_use_if_full() } else { self.all.in_use_if_full() }
    }

    pub(super) fn resize(&self, size: Size) {
        self.all.resize(size.all);
        self.as_role.resize(size.as_role);
    }
}
