//! What a job did, by the lines that `push.sh` writes.

/// The clients with which a job pushes.
pub(super) const CLIENTS: [&str; 3] = ["helper", "exec", "sync"];

#[derive(Debug)]
pub(super) struct Report(String);

impl Report {
    pub(super) fn parse(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn count(&self, line: &str) -> usize {
        self.0.lines().filter(|found| found.starts_with(&format!("{line} "))).count()
    }

    pub(super) fn pushes(&self, client: &str) -> usize {
        self.count(&format!("pushed {client}"))
    }

    /// Returns the number of failed pushes.
    pub(super) fn failures(&self, client: &str) -> usize {
        self.count(&format!("failed {client}"))
    }

    /// Returns the exit code of `get` after the pushes, or of `sync`.
    pub(super) fn exit_code(&self, client: &str) -> i32 {
        let wanted = format!("{client} ended with ");
        let found = self.0.lines().find_map(|line| line.strip_prefix(&wanted));
        found.unwrap_or_else(|| panic!("{client} did not end: {self:?}")).parse().unwrap()
    }

    /// Asserts that each client pushed until the job's end.
    pub(super) fn assert_complete(&self) {
        for client in CLIENTS {
            assert!(self.pushes(client) >= 2 && self.failures(client) == 0, "{client}: {self:?}");
        }
        assert_eq!((self.exit_code("get"), self.exit_code("sync")), (0, 0), "{self:?}");
    }
}
