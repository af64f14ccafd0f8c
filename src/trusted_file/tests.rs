use std::fs::{self, Permissions};
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::PathBuf;

use super::*;

/// Says on stderr itself, which the harness does not hide, that the rest of a test needs root.
pub(super) fn skipped() {
    use std::io::Write as _;
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    writeln!(std::io::stderr(), "SKIPPED {test}: only root can give files to another user").unwrap();
}

/// A volume as kubelet lays it out: `file` -> `..data/file`, and `..data` -> `..2026`.
struct Volume {
    root: tempfile::TempDir,
}

impl Volume {
    fn new(mode: u32) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (versioned, data) = (root.path().join("..2026"), root.path().join("..data"));
        fs::create_dir(&versioned).unwrap();
        fs::write(versioned.join("file"), "text").unwrap();
        symlink("..2026", data).unwrap();
        symlink("..data/file", root.path().join("file")).unwrap();
        let volume = Self { root };
        volume.set_mode("..2026/file", 0o440);
        volume.set_mode("..2026", 0o755);
        volume.set_mode("", mode);
        volume
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self) -> Result<String, TrustedFileError> {
        read_text(&self.path("file"))
    }

    fn refused_in(&self, directory: &str) {
        let directory = fs::canonicalize(self.path(directory)).unwrap();
        assert_eq!(self.read(), Err(TrustedFileError::InWorldWritableDirectory { directory }));
    }
}

#[test]
fn kubelet_links_are_followed_in_private_and_sticky_directories() {
    for mode in [0o700, 0o755, 0o1777] {
        assert_eq!(Volume::new(mode).read().as_deref(), Ok("text"), "{mode:o}");
    }
}

#[test]
fn world_writable_directory_of_a_link_or_its_target_is_refused() {
    let volume = Volume::new(0o777);
    volume.refused_in("");
    volume.set_mode("", 0o755);
    volume.set_mode("..2026", 0o777);
    volume.refused_in("..2026");
    // Without a link: the file's own directory.
    assert!(read(&volume.path("..2026/file")).is_err());
}

/// The outer directories are private; a link in the middle of the way leads through an open one.
#[test]
fn world_writable_directory_of_a_link_on_the_way_is_refused() {
    let (volume, other) = (Volume::new(0o755), tempfile::tempdir().unwrap());
    symlink(volume.path("file"), other.path().join("hop")).unwrap();
    let path = volume.path("far");
    symlink(other.path().join("hop"), &path).unwrap();
    assert_eq!(read_text(&path).as_deref(), Ok("text"));
    fs::set_permissions(other.path(), Permissions::from_mode(0o777)).unwrap();
    let directory = fs::canonicalize(other.path()).unwrap();
    assert_eq!(read_text(&path), Err(TrustedFileError::InWorldWritableDirectory { directory }));
}

/// Only root can give files away.
#[test]
fn entry_of_another_user_in_a_sticky_directory_is_refused() {
    const OTHER: u32 = 12345;
    let volume = Volume::new(0o1777);
    if lchown(volume.path("file"), Some(OTHER), None).is_err() {
        return skipped();
    }
    let directory = fs::canonicalize(volume.path("")).unwrap();
    let refused = Err(TrustedFileError::Replaceable { directory, owner: OTHER });
    assert_eq!(volume.read(), refused, "the link");
    lchown(volume.path("file"), Some(0), None).unwrap();
    lchown(volume.path("..data"), Some(OTHER), None).unwrap();
    assert_eq!(volume.read(), refused, "the link of the directory");
    lchown(volume.path("..data"), Some(0), None).unwrap();
    assert_eq!(volume.read().as_deref(), Ok("text"));
    volume.set_mode("..2026", 0o1777);
    chown(volume.path("..2026/file"), Some(OTHER), None).unwrap();
    assert!(volume.read().is_err(), "the file");
    volume.set_mode("..2026", 0o755);
    assert_eq!(volume.read(), Err(TrustedFileError::OfOtherUser { owner: OTHER }), "its owner can write it anyway");
}

#[test]
fn special_and_world_writable_files_are_refused_and_devices_are_texts() {
    let volume = Volume::new(0o755);
    volume.set_mode("..2026/file", 0o442);
    assert_eq!(volume.read(), Err(TrustedFileError::WorldWritable));
    let pipe = volume.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for special in [pipe, volume.path(""), "/".into()] {
        assert_eq!(read(&special), Err(TrustedFileError::NotRegular), "{special:?}");
    }
    let null = Path::new("/dev/null");
    assert_eq!((read_text(null).as_deref(), read(null)), (Ok(""), Err(TrustedFileError::NotRegular)));
}

#[test]
fn missing_files_dangling_links_and_circles_have_their_reasons() {
    let volume = Volume::new(0o755);
    assert_eq!(read(&volume.path("none")), Err(TrustedFileError::Missing));
    assert_eq!(read(&volume.path("none/../file")), Err(TrustedFileError::Missing));
    assert_eq!(read(&volume.path("..2026/../file")).as_deref(), Ok("text".as_bytes()));
    symlink("circle", volume.path("circle")).unwrap();
    assert!(matches!(read(&volume.path("circle")), Err(TrustedFileError::Unreadable(_))));
    fs::remove_file(volume.path("..2026/file")).unwrap();
    assert_eq!(volume.read(), Err(TrustedFileError::Dangling));
    volume.set_mode("", 0o1777);
    let missing = read(&volume.path("none"));
    assert!(matches!(missing, Err(TrustedFileError::InWorldWritableDirectory { .. })), "any user could create it");
}

#[test]
fn relative_path_is_followed_from_the_working_directory() {
    // Another user may own the checkout.
    let any_user = Owners { any_user: true, ..Owners::of_process() };
    assert_eq!(
        open_for(Path::new("Cargo.toml"), &any_user).unwrap().metadata.len(),
        fs::metadata("Cargo.toml").unwrap().len()
    );
    assert!(read(Path::new("")).is_err());
}

#[test]
fn errors_name_what_mends_a_kubernetes_volume() {
    let directory = PathBuf::from("/d");
    for (error, fixes) in [
        (TrustedFileError::Forbidden, ["defaultMode: 0440", "fsGroup"]),
        (TrustedFileError::InWorldWritableDirectory { directory }, ["chmod o-w", "projected volume"]),
        (TrustedFileError::WorldWritable, ["defaultMode: 0440", "chmod o-w"]),
        (TrustedFileError::WorldReadable, ["(Kubernetes: defaultMode: 0440", "Swarm: mode, uid"]),
        (TrustedFileError::InGroupWritableDirectory { directory: "/d".into(), group: 5 }, ["chmod g-w", "group 5"]),
        (TrustedFileError::InDirectoryOfOtherUser { directory: "/d".into(), owner: 5 }, ["chown", "user 5"]),
        (TrustedFileError::InDirectoryWithAccessList { directory: "/d".into() }, ["setfacl -b", "/d"]),
        (TrustedFileError::WritableByAccessList, ["setfacl -b", "chmod g-w"]),
        (TrustedFileError::OfOtherUser { owner: 5 }, ["chown", "root"]),
        (TrustedFileError::GroupWritable { group: 5 }, ["chmod g-w", "group 5"]),
    ] {
        let text = error.to_string();
        assert!(fixes.iter().all(|fix| text.contains(fix)) && text.len() <= 120, "{} {text}", text.len());
    }
}

/// A file of root, three directories deep, and a change to one step of the way.
struct Change {
    step: &'static str,
    owner: u32,
    group: u32,
    mode: u32,
    /// The start of the refusal after the directory; none: the file is read.
    refused: Option<&'static str>,
}

/// Only root can give files away.
#[test]
fn every_directory_on_the_way_and_the_file_are_judged() {
    const fn change(
        step: &'static str,
        (owner, group, mode): (u32, u32, u32),
        refused: Option<&'static str>,
    ) -> Change {
        Change { step, owner, group, mode, refused }
    }
    let changes = [
        change("a", (0, 0, 0o755), None),
        change("a", (0, 0, 0o777), Some("is in the world-writable directory ROOT/a;")),
        change("a/b", (0, 0, 0o777), Some("is in the world-writable directory ROOT/a/b;")),
        change("a/b/c", (0, 0, 0o777), Some("is in the world-writable directory ROOT/a/b/c;")),
        change("a", (0, 0, 0o1777), None),
        change("a", (4_242, 0, 0o1777), Some("is in ROOT/a, which belongs to user 4242;")),
        change("a", (4_242, 4_242, 0o755), Some("is in ROOT/a, which belongs to user 4242;")),
        change("a/b/c", (4_242, 0, 0o700), Some("is in ROOT/a/b/c, which belongs to user 4242;")),
        change("a/b", (0, 4_242, 0o775), Some("is in ROOT/a/b, which group 4242 can write,")),
        change("a/b", (0, 0, 0o775), None),
        change("a/b", (0, 4_242, 0o755), None),
        change("a/b", (0, 4_242, 0o1775), None),
        change("a/b/c/file", (0, 0, 0o664), None),
        change("a/b/c/file", (0, 4_242, 0o640), None),
        change("a/b/c/file", (0, 4_242, 0o660), Some("is writable by group 4242,")),
        change("a/b/c/file", (4_242, 0, 0o600), Some("belongs to user 4242,")),
        change("a/b/c/file", (0, 0, 0o646), Some("is world-writable,")),
    ];
    let place = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(place.path()).unwrap();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join("a/b/c/file"), "text").unwrap();
    for Change { step, owner, group, mode, refused } in changes {
        let path = root.join(step);
        let plain = if step.ends_with("file") { 0o644 } else { 0o755 };
        if chown(&path, Some(owner), Some(group)).is_err() {
            return skipped();
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let read = read_text(&root.join("a/b/c/file"));
        let refused = refused.map(|refused| refused.replace("ROOT", root.to_str().unwrap()));
        match refused {
            None => assert_eq!(read.as_deref(), Ok("text"), "{step} {owner}:{group} {mode:o}"),
            Some(refused) => {
                let error = read.unwrap_err().to_string();
                assert!(error.starts_with(&refused), "{step} {owner}:{group} {mode:o}: {error}");
            }
        }
        chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(plain)).unwrap();
    }
}

/// A check by another user than the broker's does not judge owners, but modes.
#[test]
fn files_of_another_user_are_read_where_any_owner_is_accepted() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let directory = place.path().join("own");
    let file = directory.join("file");
    fs::create_dir(&directory).unwrap();
    fs::write(&file, "text").unwrap();
    let broker = Owners { user: 4_242, group: 4_242, any_user: false, groups_above: false };
    if chown(&file, Some(4_242), None).is_err() || chown(&directory, Some(4_242), None).is_err() {
        return skipped();
    }
    open_for(&file, &broker).unwrap();
    let other = Owners { user: 4_343, group: 4_343, any_user: false, groups_above: false };
    assert!(matches!(open_for(&file, &other), Err(TrustedFileError::InDirectoryOfOtherUser { owner: 4_242, .. })));
    let any = Owners { any_user: true, ..other };
    open_for(&file, &any).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(open_for(&file, &any), Err(TrustedFileError::InWorldWritableDirectory { .. })));
}

#[test]
fn longer_files_and_devices_are_refused_without_reading_them() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    let length = usize::try_from(MAX_BYTES).unwrap();
    fs::write(&file, vec![b'x'; length]).unwrap();
    assert_eq!(read_text(&file).map(|text| text.len()), Ok(length));
    fs::write(&file, vec![b'x'; length + 1]).unwrap();
    assert_eq!(read_text(&file), Err(TrustedFileError::TooLong { limit: super::MAX_BYTES }));
    for device in ["/dev/zero", "/dev/tty", "/dev/random"] {
        let link = place.path().join("link");
        symlink(device, &link).unwrap();
        assert!(read_text(&link).is_err(), "{device}");
        fs::remove_file(link).unwrap();
    }
    assert_eq!(read_text(Path::new("/dev/zero")), Err(TrustedFileError::NotRegular));
}

#[test]
fn secret_that_every_user_can_read_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("key");
    fs::write(&file, "key").unwrap();
    for (mode, expected) in [(0o600, true), (0o440, true), (0o604, false), (0o644, false)] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        assert_eq!(read_secret(&file).is_ok(), expected, "{mode:o}");
        assert!(read(&file).is_ok());
    }
}
