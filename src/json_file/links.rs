//! Symbolic links to a file: a change goes through them to the target, even if the target does not exist yet.

use std::fs;
use std::path::{Path, PathBuf};

/// Limit of links in a chain, as in Linux.
const MAX_LINKS: usize = 40;

/// Returns the links from a path to its target, and the target as the last element.
///
/// # Errors
/// Returns an error if the links form a loop or a link cannot be read.
pub fn chain(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut chain = vec![path.to_owned()];
    for _ in 0..MAX_LINKS {
        match chain.last().map(|last| next(last)).transpose()?.flatten() {
            Some(target) => chain.push(target),
            None => return Ok(chain),
        }
    }
    Err(format!("{}: symbolic link loop; remove the link", path.display()))
}

/// Returns the file that a change writes: the path itself, or the target of a link.
///
/// # Errors
/// Returns an error if the target's directory is missing, or if [`chain`] fails.
pub fn target(path: &Path) -> Result<PathBuf, String> {
    let target = chain(path)?.pop().unwrap_or_else(|| path.to_owned());
    if target == path || target.parent().is_some_and(Path::is_dir) {
        return Ok(target);
    }
    Err(format!(
        "{}: the link leads to {}, whose directory does not exist; create the directory",
        path.display(),
        target.display()
    ))
}

fn next(path: &Path) -> Result<Option<PathBuf>, String> {
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Ok(None);
    }
    let target = fs::read_link(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(path.parent().map_or_else(|| target.clone(), |directory| directory.join(&target))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn target_of_chained_and_dangling_links_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("other")).unwrap();
        symlink(at("second"), at("first")).unwrap();
        symlink("other/file", at("second")).unwrap();
        assert_eq!(target(&at("first")), Ok(at("other/file")));
        assert_eq!(chain(&at("first")), Ok(vec![at("first"), at("second"), at("other/file")]));
        assert_eq!(target(&at("plain")), Ok(at("plain")));
        fs::remove_dir(at("other")).unwrap();
        let missing = target(&at("first")).unwrap_err();
        assert!(missing.contains("other/file, whose directory does not exist"), "{missing}");
    }

    #[test]
    fn loop_of_links_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("link", &link).unwrap();
        assert!(target(&link).unwrap_err().contains("symbolic link loop"));
    }
}
