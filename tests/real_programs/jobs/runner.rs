//! A CI system that issues a token at each request, and the proof that a job's pushes needed several.

use super::issuer::Life;
use super::report::CLIENTS;
use super::site::Site;
use crate::endpoint::Endpoint;

pub(super) struct Runner(Endpoint);

impl Runner {
    pub(super) fn start(site: &Site, life: Life) -> Self {
        let issuer = site.issuer.clone();
        Self(Endpoint::start(move || issuer.issue(life)))
    }

    pub(super) fn url(&self) -> &str {
        &self.0.url
    }

    /// Asserts that each client pushed with one token after the other, and that the broker denied nothing.
    pub(super) fn assert_pushed_throughout(&self, site: &Site, system: &str) {
        let report = site.report();
        report.assert_complete();
        let asked = self.0.paths();
        let by_sync = asked.iter().filter(|path| path.contains("client=sync")).count();
        let (pushes, tokens) = (CLIENTS.map(|client| report.pushes(client)), asked.len());
        // The helper is a process for each push, and `exec` and `get` asked once more. Each watch of `sync` had its own token.
        assert!(
            by_sync >= 2 && tokens - by_sync >= pushes[0] + pushes[1] + 2,
            "{tokens} tokens, {by_sync} by sync, {pushes:?} pushes"
        );
        site.assert_first_token_ended_without_a_denial();
        println!("{system}: {CLIENTS:?} made {pushes:?} pushes, {tokens} tokens ({by_sync} by sync), no denial");
    }
}
