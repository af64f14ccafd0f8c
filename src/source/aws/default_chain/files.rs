//! The files that the SDK reads: they are read before it, on a thread that may wait.
//!
//! The SDK reads files on the thread that polls it. A disk that does not answer would hold up every task of that thread: hits, and the
//! signs of life to the watchdog.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_types::os_shim_internal::Env;
use tokio::sync::Mutex;

use super::facts;

/// Bytes of a file that are read. None of the SDK's is so long.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the files, one search after the other: searches that gave up leave one thread behind.
#[derive(Debug, Default)]
pub(super) struct Files(Arc<Mutex<()>>);

impl Files {
    /// Waits until each file was read, or cannot be read.
    pub(super) async fn until_readable(&self) {
        let turn = Arc::clone(&self.0).lock_owned().await;
        let read = move || {
            for path in paths() {
                // The SDK reports it.
                _ = read(&path);
            }
            drop(turn);
        };
        // A panic is logged by its place.
        _ = tokio::task::spawn_blocking(read).await;
    }
}

fn paths() -> Vec<PathBuf> {
    let env = Env::real();
    let tokens = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
    let tokens = tokens.iter().filter_map(|variable| env.get(variable).ok().map(PathBuf::from));
    tokens.chain(facts::shared_files(&env)).collect()
}

fn read(path: &Path) -> io::Result<u64> {
    io::copy(&mut File::open(path)?.take(MAX_BYTES), &mut io::sink())
}
