use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use super::*;

/// A directory for a log, within one that no test changes.
struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    fn new(mode: u32) -> Self {
        let folder = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir(folder.path("")).unwrap();
        folder.set_mode("", mode);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.root.path()).unwrap().join("logs").join(name)
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Opens the log and writes a line; a check before it must find the same.
    fn write(&self) -> Result<(), TrustedFileError> {
        let checked = check_log(&self.path("log"));
        let opened = open_log(&self.path("log")).map(|mut file| writeln!(file, "line").unwrap());
        assert_eq!(checked, opened);
        opened
    }
}

#[test]
fn log_is_created_in_private_and_sticky_directories() {
    for mode in [0o700, 0o750, 0o755, 0o1777] {
        let folder = Folder::new(mode);
        assert_eq!(check_log(&folder.path("log")), Ok(()));
        assert!(!folder.path("log").exists(), "a check creates nothing");
        for lines in ["line\n", "line\nline\n"] {
            assert_eq!(folder.write(), Ok(()), "{mode:o}");
            assert_eq!(fs::read_to_string(folder.path("log")).unwrap(), lines);
        }
        assert_eq!(fs::metadata(folder.path("log")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn log_in_a_world_writable_directory_is_neither_opened_nor_created() {
    let folder = Folder::new(0o777);
    let refused = Err(TrustedFileError::InWorldWritableDirectory { directory: folder.path("") });
    let refused_at = |path: PathBuf| assert_eq!(open_log(&path).map(drop), refused, "{path:?}");
    refused_at(folder.path("log"));
    refused_at(folder.path("gone/log"));
    assert!(!folder.path("log").exists());
    let victim = folder.root.path().join("victim");
    fs::write(&victim, "text\n").unwrap();
    symlink(&victim, folder.path("log")).unwrap();
    refused_at(folder.path("log"));
    fs::remove_file(folder.path("log")).unwrap();
    fs::write(folder.path("log"), "").unwrap();
    refused_at(folder.path("log"));
    assert_eq!(fs::read_to_string(victim).unwrap(), "text\n");
}

#[test]
fn log_that_others_can_write_and_special_files_are_refused() {
    let folder = Folder::new(0o755);
    assert_eq!(folder.write(), Ok(()));
    folder.set_mode("log", 0o602);
    assert_eq!(folder.write(), Err(TrustedFileError::WorldWritable));
    fs::remove_file(folder.path("log")).unwrap();
    fs::create_dir(folder.path("log")).unwrap();
    assert_eq!(folder.write(), Err(TrustedFileError::NotRegular));
    fs::remove_dir(folder.path("log")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.path("log")).status().unwrap().success());
    assert_eq!(folder.write(), Err(TrustedFileError::NotRegular));
    assert_eq!(open_log(&folder.path("gone/log")).map(drop), Err(TrustedFileError::Missing));
}

/// A link of root or the broker's user, in a directory of theirs. The standard streams are such links.
#[test]
fn links_of_trusted_users_lead_to_the_log() {
    let folder = Folder::new(0o755);
    symlink("elsewhere", folder.path("log")).unwrap();
    assert_eq!(folder.write(), Ok(()));
    assert_eq!(fs::read_to_string(folder.path("elsewhere")).unwrap(), "line\n");
    let file = fs::File::create(folder.path("stream")).unwrap();
    let stream = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    assert_eq!(check_log(&stream), Ok(()));
    open_log(&stream).unwrap().write_all(b"line\n").unwrap();
    assert_eq!(fs::read_to_string(folder.path("stream")).unwrap(), "line\n");
}

/// Only root can give directories away. Ubuntu's `/var/log` belongs to root:syslog.
#[test]
fn group_may_write_a_directory_of_root_above_that_of_the_log() {
    let folder = Folder::new(0o750);
    let above = fs::canonicalize(folder.root.path()).unwrap();
    if chown(&above, Some(0), Some(12_345)).is_err() {
        return super::super::tests::skipped();
    }
    fs::set_permissions(&above, Permissions::from_mode(0o775)).unwrap();
    assert_eq!(folder.write(), Ok(()));
    let missing = open_log(&above.join("log")).map(drop);
    assert_eq!(missing, Err(TrustedFileError::InGroupWritableDirectory { directory: above, group: 12_345 }));
}

/// Only root can give files away.
#[test]
fn log_of_another_user_or_in_its_directory_is_refused() {
    const OTHER: u32 = 12_345;
    let folder = Folder::new(0o1777);
    assert_eq!(folder.write(), Ok(()));
    if chown(folder.path("log"), Some(OTHER), Some(OTHER)).is_err() {
        return super::super::tests::skipped();
    }
    let directory = folder.path("");
    assert_eq!(folder.write(), Err(TrustedFileError::Replaceable { directory: directory.clone(), owner: OTHER }));
    folder.set_mode("", 0o755);
    assert_eq!(folder.write(), Err(TrustedFileError::OfOtherUser { owner: OTHER }));
    chown(folder.path("log"), Some(0), Some(OTHER)).unwrap();
    assert_eq!(folder.write(), Ok(()), "the group of logrotate may read");
    folder.set_mode("log", 0o660);
    assert_eq!(folder.write(), Err(TrustedFileError::GroupWritable { group: OTHER }));
    folder.set_mode("log", 0o640);
    chown(&directory, Some(0), Some(OTHER)).unwrap();
    folder.set_mode("", 0o770);
    let group = TrustedFileError::InGroupWritableDirectory { directory: directory.clone(), group: OTHER };
    assert_eq!(folder.write(), Err(group));
    chown(&directory, Some(OTHER), Some(0)).unwrap();
    folder.set_mode("", 0o750);
    assert_eq!(folder.write(), Err(TrustedFileError::InDirectoryOfOtherUser { directory, owner: OTHER }));
}
