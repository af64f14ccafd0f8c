//! Symbolic links on the way to a file: a change goes through them to the target, even if the target does not exist yet.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Limit of links on the way, as in Linux.
const MAX_LINKS: usize = 40;

/// A link on the way to a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) path: PathBuf,
    /// Whether it is a link to the file, and not to one of its directories.
    pub(super) is_last: bool,
}

/// The way to a file.
#[derive(Debug, Default)]
pub(super) struct Route {
    pub(super) links: Vec<Link>,
    /// The path of the file without links, once the way has ended.
    pub(super) target: PathBuf,
    left: VecDeque<OsString>,
}

impl Route {
    /// Follows a path link by link.
    ///
    /// # Errors
    /// Returns an error if the links form a loop, a link cannot be read, or it leads to a missing directory.
    pub(super) fn follow(path: &Path) -> Result<Self, String> {
        let mut route = Self::default();
        route.prepend(path);
        while let Some(part) = route.left.pop_front() {
            route.enter(&part, path)?;
        }
        route.require_directory(path)?;
        Ok(route)
    }

    fn leads_through_file_link(&self) -> bool {
        self.links.iter().any(|link| link.is_last)
    }

    /// Puts a path before the parts that are left. An absolute one begins at the root again.
    fn prepend(&mut self, path: &Path) {
        for part in path.components().rev().filter(|part| *part != Component::CurDir) {
            self.left.push_front(part.as_os_str().to_owned());
        }
    }

    fn enter(&mut self, part: &OsStr, path: &Path) -> Result<(), String> {
        if part == Component::ParentDir.as_os_str() {
            self.target.pop();
            return Ok(());
        }
        // The root replaces the path.
        let entry = self.target.join(part);
        if !fs::symlink_metadata(&entry).is_ok_and(|metadata| metadata.is_symlink()) {
            self.target = entry;
            return Ok(());
        }
        self.enter_link(entry, path)
    }

    fn enter_link(&mut self, link: PathBuf, path: &Path) -> Result<(), String> {
        if self.links.len() == MAX_LINKS {
            return Err(format!("{}: symbolic link loop; remove the link", path.display()));
        }
        let target = fs::read_link(&link).map_err(|error| format!("{}: {error}", link.display()))?;
        self.links.push(Link { path: link, is_last: self.left.is_empty() });
        self.prepend(&target);
        Ok(())
    }

    fn require_directory(&self, path: &Path) -> Result<(), String> {
        if !self.leads_through_file_link() || self.target.parent().is_some_and(Path::is_dir) {
            return Ok(());
        }
        Err(format!(
            "{}: the link leads to {}, whose directory does not exist; create the directory",
            path.display(),
            self.target.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn target_of_chained_and_dangling_links_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir(at("other")).unwrap();
        symlink(at("second"), at("first")).unwrap();
        symlink("by/file", at("second")).unwrap();
        symlink("other", at("by")).unwrap();
        let link = |name: &str, is_last: bool| Link { path: at(name), is_last };
        let route = Route::follow(&at("first")).unwrap();
        assert_eq!(route.target, at("other/file"));
        assert_eq!(route.links, [link("first", true), link("second", true), link("by", false)]);
        assert_eq!(Route::follow(&at("by/../plain")).unwrap().target, at("plain"));
        assert_eq!(Route::follow(&at("missing/plain")).unwrap().target, at("missing/plain"));
        fs::remove_dir(at("other")).unwrap();
        let missing = Route::follow(&at("first")).unwrap_err();
        assert!(missing.contains("other/file, whose directory does not exist"), "{missing}");
    }

    #[test]
    fn loop_of_links_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("link", &link).unwrap();
        assert!(Route::follow(&link).unwrap_err().contains("symbolic link loop"));
    }
}
