//! `sync`: a file of logins, as docker and podman read it, that is kept fresh from a watch.
//!
//! Whoever reads the file asks nobody: so what has ended must not be in it, and what is still good must, whatever becomes of the broker.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;

use self::entries::Entries;
use self::file::AuthFile;
use self::hook::Hook;
use super::connection::Connection;
use super::watch_args::Followed;
use crate::client::{
    Client, Failure, Query, RegistryCredentials, Settings, Watch, WatchEvent, block_on, registry_host,
};
use crate::clock::{Clock as _, SystemClock};
use crate::exit_code::Exit;
use crate::signal::Signals;
use crate::terminal::print_error;

mod entries;
mod file;
mod hook;

/// Clocks may be set, and a file may be taken away: it is looked at least so often.
const INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    followed: Followed,
    #[command(flatten)]
    target: Target,
    /// Keep what else is in the file, which is otherwise sync's alone
    #[arg(long)]
    merge: bool,
    /// Write it once and end: for what runs before the containers that need it
    #[arg(long)]
    once: bool,
    /// Run by sh each time that the file has changed, and where there is one at the start, with its path as ECR_SYNC_FILE;
    /// with --once where it has changed
    #[arg(long, value_name = "COMMAND")]
    on_change: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// The file, one way or the other.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// A directory for docker's config.json: what DOCKER_CONFIG is to be for those who pull
    #[arg(long, value_name = "DIR")]
    docker_config: Option<PathBuf>,
    /// A file for podman, buildah and skopeo: what REGISTRY_AUTH_FILE is to be for those who pull
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, profile) = args.connection.settings()?;
    let queries = args.followed.queries(&profile);
    let path = match (&args.target.docker_config, &args.target.authfile) {
        (Some(directory), _) => directory.join("config.json"),
        (None, Some(file)) => file.clone(),
        (None, None) => bail!("name the file with --docker-config or --authfile"),
    };
    let asked = queries.iter().filter_map(|query| registry_host(&query.registry)).collect();
    if args.once && queries.is_empty() {
        print_error("--once needs the registries' names");
        return Ok(Exit::Usage.into());
    }
    let file = AuthFile::take(std::path::absolute(path)?, asked, args.merge).map_err(anyhow::Error::msg)?;
    let mut sync = Sync::new(file);
    sync.entries = sync.file.find(sync.clock.now()).map_err(anyhow::Error::msg)?;
    // What has ended goes before anybody is asked, whatever they say.
    sync.write().map_err(anyhow::Error::msg)?;
    if args.once {
        return sync.once(&settings, &queries, args.on_change.as_deref());
    }
    if let Some(command) = &args.on_change {
        sync.start_hook(command.clone())?;
    }
    block_on(sync.follow(&settings, &queries))?
}

/// Whether waiting helps nothing.
fn is_for_good(failure: &Failure) -> bool {
    use tonic::Code;
    let codes = [Code::InvalidArgument, Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented];
    failure.retry_after.is_none() && codes.contains(&failure.code)
}

/// A file, and what belongs into it.
struct Sync {
    file: AuthFile,
    entries: Entries,
    /// Of which hosts what was held has ended.
    ended: BTreeSet<String>,
    /// How many of the registries are none, and what was said of the first of them.
    refusals: usize,
    refused: Option<Failure>,
    /// Whether the file has been changed since this began.
    changed: bool,
    hook: Option<Hook>,
    clock: SystemClock,
}

impl Sync {
    fn new(file: AuthFile) -> Self {
        let (entries, ended) = (Entries::default(), BTreeSet::new());
        Self { file, entries, ended, refusals: 0, refused: None, changed: false, hook: None, clock: SystemClock::new() }
    }

    fn once(&mut self, settings: &Settings, queries: &[Query], on_change: Option<&str>) -> anyhow::Result<ExitCode> {
        let results = block_on(async { Client::connect(settings).await?.credentials(queries).await })?;
        let code = match results {
            Ok(results) => self.put_all(queries, results),
            Err(failure) => {
                print_error(&failure);
                Exit::from(&failure).into()
            }
        };
        self.write().map_err(anyhow::Error::msg)?;
        if let (true, Some(command)) = (self.changed, on_change)
            && let Err(problem) = hook::run(command, self.file.path())
        {
            print_error(format_args!("{problem:#}"));
            return Ok(if code == ExitCode::SUCCESS { ExitCode::FAILURE } else { code });
        }
        Ok(code)
    }

    /// By the first failure, how to end.
    fn put_all(&mut self, queries: &[Query], results: Vec<Result<RegistryCredentials, Failure>>) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for (query, result) in queries.iter().zip(results) {
            match result {
                Ok(credentials) => self.entries.put(&credentials, self.clock.now()),
                Err(failure) => {
                    print_error(format_args!("{}: {failure}", query.registry));
                    if code == ExitCode::SUCCESS {
                        code = Exit::from(&failure).into();
                    }
                }
            }
        }
        code
    }

    /// It is run at once where there is a file: whoever changed that may have been killed before it was run.
    fn start_hook(&mut self, command: String) -> std::io::Result<()> {
        let hook = Hook::start(command, self.file.path().to_owned())?;
        if self.file.path().exists() {
            hook.call();
        }
        self.hook = Some(hook);
        Ok(())
    }

    /// Until a signal comes. What is in the file then stays there: those who read it may outlive this.
    async fn follow(mut self, settings: &Settings, queries: &[Query]) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::listen()?;
        let mut watch = Watch::new(settings, queries);
        // In between some of what belongs into the file is not known.
        let mut complete = false;
        loop {
            let rest = self.entries.next_end(self.clock.now()).map_or(INTERVAL, |end| end.min(INTERVAL));
            tokio::select! {
                () = signals.received() => return Ok(ExitCode::SUCCESS),
                () = sleep(rest) => {}
                happening = watch.next() => {
                    if let (false, WatchEvent::WatchFailed(failure)) = (complete, &happening)
                        && is_for_good(failure)
                    {
                        print_error(failure);
                        return Ok(Exit::from(failure).into());
                    }
                    complete |= matches!(happening, WatchEvent::SnapshotComplete);
                    if let (WatchEvent::SnapshotComplete, Some(failure)) = (&happening, &self.refused)
                        && self.refusals == queries.len()
                    {
                        return Ok(Exit::from(failure).into());
                    }
                    let is_news = complete || matches!(happening, WatchEvent::WatchFailed(_));
                    self.note(happening);
                    if !is_news {
                        continue;
                    }
                }
            }
            if let Err(problem) = self.write() {
                // It may go well in a moment.
                print_error(problem);
            }
            // The broker takes what it gave for held, and would not send it again.
            for host in std::mem::take(&mut self.ended) {
                watch.forget(&host);
            }
        }
    }

    fn note(&mut self, happening: WatchEvent) {
        match happening {
            WatchEvent::Credentials(credentials) => self.entries.put(&credentials, self.clock.now()),
            WatchEvent::RegistryFailed(registry, failure) => {
                print_error(format_args!("{registry}: {failure}"));
                if failure.code == tonic::Code::InvalidArgument {
                    self.refusals += 1;
                    self.refused.get_or_insert(failure);
                }
            }
            WatchEvent::WatchFailed(failure) => self.complain_of_the_broker(&failure),
            WatchEvent::Unchanged(..) | WatchEvent::SnapshotComplete | WatchEvent::Ended | WatchEvent::Unknown => {}
        }
    }

    fn complain_of_the_broker(&self, failure: &Failure) {
        print_error(format_args!("{failure}; what is good stays in {}", self.file.path().display()));
    }

    /// What has ended by now goes out of the file.
    fn write(&mut self) -> Result<(), String> {
        self.ended.extend(self.entries.drop_ended(self.clock.now()));
        if self.file.write(&self.entries)? {
            self.changed = true;
            if let Some(hook) = &self.hook {
                hook.call();
            }
        }
        Ok(())
    }
}
