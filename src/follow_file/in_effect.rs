//! Files whose contents are not in effect, because they are broken: their last valid contents are.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Names of the files that are not in effect. A clone is a handle of the same set.
#[derive(Debug, Clone)]
pub struct FilesInEffect(Arc<watch::Sender<BTreeSet<String>>>);

impl Default for FilesInEffect {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeSet::new())))
    }
}

impl FilesInEffect {
    /// Reports whether these files are in effect.
    pub(crate) fn report(&self, files: &str, are_in_effect: bool) {
        self.0.send_if_modified(
            |broken| {
                if are_in_effect { broken.remove(files) } else { broken.insert(files.to_owned()) }
            },
        );
    }

    /// Returns whether all files are in effect.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Returns whether all files are in effect, and then each change.
    pub(crate) fn changes(&self) -> Changes {
        let mut receiver = self.0.subscribe();
        receiver.mark_changed();
        Changes(receiver)
    }
}

/// Changes of [`FilesInEffect`].
#[derive(Debug)]
pub(crate) struct Changes(watch::Receiver<BTreeSet<String>>);

impl Changes {
    /// Waits for a change, and returns whether all files are in effect now. The first one is immediate.
    pub(crate) async fn next(&mut self) -> bool {
        if self.0.changed().await.is_err() {
            // No task follows files any more.
            std::future::pending::<()>().await;
        }
        self.0.borrow_and_update().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_files_must_be_in_effect() {
        let files = FilesInEffect::default();
        let mut changes = files.changes();
        assert!(changes.next().await);
        for (name, are_in_effect, all) in
            [("a", false, false), ("b", false, false), ("a", true, false), ("b", true, true)]
        {
            files.report(name, are_in_effect);
            assert_eq!((changes.next().await, files.are_all()), (all, all), "{name}");
        }
        files.report("a", true);
        assert!(!changes.0.has_changed().unwrap(), "nothing changed");
    }
}
