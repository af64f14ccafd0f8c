use std::fs::{self, Permissions};
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::PathBuf;

use super::*;

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
        return;
    }
    let directory = fs::canonicalize(volume.path("")).unwrap();
    let refused = Err(TrustedFileError::OfOtherUser { directory, owner: OTHER });
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
    assert_eq!(volume.read().as_deref(), Ok("text"), "a private directory protects it");
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
    assert!(read_text(Path::new("Cargo.toml")).unwrap().starts_with("[package]"));
    assert!(read(Path::new("")).is_err());
}

#[test]
fn errors_name_what_mends_a_kubernetes_volume() {
    let directory = PathBuf::from("/d");
    for (error, fixes) in [
        (TrustedFileError::Forbidden, ["defaultMode: 0440", "fsGroup"]),
        (TrustedFileError::InWorldWritableDirectory { directory }, ["defaultMode: 0440", "fsGroup"]),
        (TrustedFileError::WorldWritable, ["defaultMode: 0440", "chmod o-w"]),
    ] {
        let text = error.to_string();
        assert!(fixes.iter().all(|fix| text.contains(fix)) && text.len() <= 120, "{} {text}", text.len());
    }
}
