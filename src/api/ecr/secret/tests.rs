use std::io;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn missing_secret_is_created_once_and_only_its_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    assert!(Secret::read(&path).unwrap().is_none());
    let secret = Secret::read_or_create(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.len(), 43, "256 bits");
    assert!(secret.matches(&text) && !secret.matches(&text[1..]) && !secret.matches(""));
    assert!(Secret::read_or_create(&path).unwrap().matches(&text), "a second start keeps it");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    create(&path, |from, to| fs::hard_link(from, to)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "the file of another process is kept");
    let nowhere = Secret::read_or_create(&directory.path().join("no/secret")).unwrap_err();
    assert!(format!("{nowhere:#}").contains("create its directory"), "{nowhere:#}");
}

#[test]
fn invalid_secret_is_rejected_and_not_printed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let good = "a".repeat(MIN_LENGTH);
    for (text, mode, problem) in [
        (good.as_str(), 0o644, "chmod o-r"),
        (good.as_str(), 0o602, "chmod o-w"),
        ("", 0o600, "32 to 256"),
        (&good[1..], 0o600, "32 to 256"),
        (&"a".repeat(MAX_LENGTH + 1), 0o600, "32 to 256"),
        (&format!("{good}/x"), 0o600, "32 to 256"),
        (&format!("{good}\n{good}"), 0o600, "32 to 256"),
        (&format!("{good}\u{e9}"), 0o600, "32 to 256"),
    ] {
        write(&path, text, mode);
        let error = Secret::read(&path).unwrap_err();
        assert!(error.contains(problem) && !error.contains(&good[1..]), "{text:?}: {error}");
    }
    write(&path, &format!("{good}\n"), 0o640);
    let secret = Secret::read(&path).unwrap().unwrap();
    assert!(secret.matches(&good), "the line end is not part of it");
    assert_eq!(format!("{secret:?}"), "[redacted]");
}

#[test]
fn secret_that_another_user_could_have_written_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    let path = directory.path().join("secret");
    let refused = |problem: &str| {
        let error = Secret::read(&path).unwrap_err();
        assert!(error.contains(problem), "{error}");
    };
    for open in [0o777, 0o1777] {
        mode(open);
        refused("world-writable directory");
        let error = Secret::read_or_create(&path).unwrap_err();
        assert!(format!("{error:#}").contains("world-writable directory"), "no file is created there: {error:#}");
    }
    mode(0o777);
    write(&path, &"a".repeat(MIN_LENGTH), 0o600);
    refused("world-writable directory");
    mode(0o1777);
    assert!(Secret::read(&path).unwrap().is_some(), "the sticky bit protects a file of the broker's user");
    mode(0o700);
    assert!(Secret::read(&path).unwrap().is_some());
    // Only root can change a file's owner.
    if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
        let error = Secret::read_or_create(&path).unwrap_err();
        assert!(format!("{error:#}").contains("user 12345"), "{error:#}");
    }
}

#[test]
fn secret_behind_kubelet_links_is_read_and_a_dangling_link_rejected() {
    use std::os::unix::fs::symlink;

    let directory = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    let inner = directory.path().join("..2026");
    fs::create_dir(&inner).unwrap();
    write(&inner.join("secret"), &"a".repeat(MIN_LENGTH), 0o440);
    symlink("..2026", directory.path().join("..data")).unwrap();
    let path = directory.path().join("secret");
    symlink("..data/secret", &path).unwrap();
    mode(0o1777);
    assert!(Secret::read(&path).unwrap().unwrap().matches(&"a".repeat(MIN_LENGTH)));
    mode(0o777);
    assert!(Secret::read(&path).unwrap_err().contains("world-writable directory"));
    mode(0o700);
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Secret::read(&path).unwrap_err().contains("world-writable directory"), "the target's directory");
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(inner.join("secret")).unwrap();
    let error = Secret::read_or_create(&path).unwrap_err();
    assert!(format!("{error:#}").contains("a link to a missing file"), "{error:#}");
}

#[test]
fn special_file_is_rejected_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let inner = directory.path().join("directory");
    fs::create_dir(&inner).unwrap();
    for path in [pipe, inner] {
        assert_eq!(Secret::read(&path).err().as_deref(), Some("is not a regular file"));
    }
}

#[test]
fn file_system_without_hard_links_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let error = create(&path, |_, _| Err(io::ErrorKind::PermissionDenied.into())).unwrap_err();
    assert!(format!("{error:#}").contains("refuses hard links"), "{error:#}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "no temporary file is left");
}
