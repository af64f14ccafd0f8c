//! Reads texts of a bounded length: a link to `/dev/zero`, or a file without end, must not fill the memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a text of at most `limit` bytes.
///
/// # Errors
/// It cannot be read, it is longer, or it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    read_text_of(File::open(path)?, limit)
}

/// Reads the rest of an open file as [`read_text`] does.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_of(file: File, limit: u64) -> io::Result<String> {
    // With room for all: a text that grows leaves copies of a token behind.
    let length = usize::try_from(file.metadata()?.len().min(limit)).unwrap_or_default();
    let mut text = String::with_capacity(length.saturating_add(1));
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        let problem = format!("it is longer than {} KiB; shorten it, or correct its path", limit >> 10);
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_beyond_its_limit_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "x".repeat(1_024)).unwrap();
        assert_eq!(read_text(&file, 1_024).unwrap().len(), 1_024);
        for (path, limit) in [(file.as_path(), 1_023), (Path::new("/dev/zero"), 64 << 10)] {
            let error = read_text(path, limit).unwrap_err().to_string();
            assert!(error.contains(&format!("longer than {} KiB; ", limit >> 10)), "{error}");
        }
        assert_eq!(read_text(Path::new("/dev/null"), 1).unwrap(), "");
        assert_eq!(read_text(&directory.path().join("none"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
