use std::fs;

use super::*;
use crate::audit::test_disk::Disk;

#[test]
fn line_cut_short_ends_before_the_next_and_no_line_is_empty() {
    for (room, text) in [(0, "two\n"), (2, "on\ntwo\n"), (3, "one\ntwo\n"), (4, "one\ntwo\n")] {
        let disk = Disk::with_room(room);
        let mut sink = disk.sink();
        assert_eq!(sink.write(b"one\n").is_ok(), room >= 4, "{room}");
        disk.set_free(100);
        sink.write(b"two\n").unwrap();
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
        sink.write(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), after);
        // A rotation puts another file there.
        fs::remove_file(&file).unwrap();
        fs::write(&file, before).unwrap();
        sink.write(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), after);
    }
}
