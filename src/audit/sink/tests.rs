use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::audit::test_disk::Disk;

/// Follows a rotation, and writes a line.
fn write(sink: &mut Sink, line: &str) -> io::Result<()> {
    sink.follow()?;
    sink.write([line.as_bytes()].into_iter())
}

#[test]
fn line_cut_short_ends_before_the_next_and_no_line_is_empty() {
    for (room, text) in [(0, "two\n"), (2, "on\ntwo\n"), (3, "one\ntwo\n"), (4, "one\ntwo\n")] {
        let disk = Disk::with_room(room);
        let mut sink = disk.sink();
        assert_eq!(write(&mut sink, "one\n").is_ok(), room >= 4, "{room}");
        disk.set_free(100);
        write(&mut sink, "two\n").unwrap();
        assert_eq!(disk.text(), text, "{room}");
    }
}

#[test]
fn line_cut_short_by_an_earlier_process_ends_before_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    for (before, after) in [("", "one\n"), ("whole\n", "whole\none\n"), ("{\"cut", "{\"cut\none\n")] {
        fs::write(&file, before).unwrap();
        let mut sink = Sink::open(&Output::File(file.clone())).unwrap();
        write(&mut sink, "one\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), after);
        // A rotation puts another file there.
        fs::remove_file(&file).unwrap();
        fs::write(&file, before).unwrap();
        write(&mut sink, "one\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), after);
    }
}

/// As logrotate does with `create` and with `copytruncate`.
#[test]
fn rotated_files_are_followed_and_truncated_ones_are_continued() {
    let directory = tempfile::tempdir().unwrap();
    let (file, old) = (directory.path().join("audit.jsonl"), directory.path().join("audit.jsonl.1"));
    let mut sink = Sink::open(&Output::File(file.clone())).unwrap();
    write(&mut sink, "one\n").unwrap();
    fs::rename(&file, &old).unwrap();
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    write(&mut sink, "two\n").unwrap();
    let read = |path| fs::read_to_string(path).unwrap();
    assert_eq!((read(&old), read(&file)), ("one\n".to_owned(), "two\n".to_owned()));
    fs::copy(&file, &old).unwrap();
    File::options().write(true).open(&file).unwrap().set_len(0).unwrap();
    write(&mut sink, "three\n").unwrap();
    assert_eq!((read(&old), read(&file)), ("two\n".to_owned(), "three\n".to_owned()));
}

#[test]
fn file_that_any_user_could_have_swapped_is_not_written() {
    let place = tempfile::tempdir().unwrap();
    let (logs, victim) = (place.path().join("logs"), place.path().join("victim"));
    let (file, moved) = (logs.join("audit.jsonl"), logs.join("moved"));
    fs::create_dir(&logs).unwrap();
    fs::write(&victim, "").unwrap();
    let mut sink = Sink::open(&Output::File(file.clone())).unwrap();
    let set_mode = |mode| fs::set_permissions(&logs, Permissions::from_mode(mode)).unwrap();
    set_mode(0o777);
    fs::rename(&file, &moved).unwrap();
    write(&mut sink, "without\n").unwrap();
    symlink(&victim, &file).unwrap();
    write(&mut sink, "link\n").unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    write(&mut sink, "directory\n").unwrap();
    fs::remove_dir(&file).unwrap();
    fs::rename(&logs, place.path().join("gone")).unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
    write(&mut sink, "gone\n").unwrap();
    fs::rename(place.path().join("gone"), &logs).unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(Sink::open(&Output::File(file.clone())).is_err(), "the same at a start");
    set_mode(0o755);
    write(&mut sink, "mended\n").unwrap();
    let read = |path| fs::read_to_string(path).unwrap();
    assert_eq!((read(&moved), read(&file)), ("without\nlink\ndirectory\ngone\n".to_owned(), "mended\n".to_owned()));
    assert_eq!(read(&victim), "");
}
