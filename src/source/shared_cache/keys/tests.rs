use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

fn file_of(keys: &Keys) -> String {
    keys.to_lines().iter().map(|line| line.to_string() + "\n").collect()
}

fn line(word: &str, byte: u8) -> String {
    format!("{word} {}\n", BASE64.encode(&[byte; KEY_BYTES]))
}

fn mistake(text: &str) -> String {
    Keys::parse(text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn printed_keys_are_parsed_and_all_differ() {
    let keys = Keys::random().unwrap();
    let text = file_of(&keys);
    let lengths: Vec<_> = text.lines().map(|line| line.split_once(' ').map(|(word, key)| (word, key.len()))).collect();
    assert_eq!(lengths, [Some(("names", 44)), Some(("seal", 44))]);
    assert_eq!(file_of(&Keys::parse(text.as_bytes()).unwrap()), text);
    assert!(new_seal_line().unwrap().capacity() <= LINE_BYTES, "the line did not grow");
    let more = format!("# rotation\r\n\n{}\r\n{text}", *new_seal_line().unwrap());
    let rotated = Keys::parse(more.as_bytes()).unwrap().summary();
    assert_eq!((rotated.len(), &rotated[0], &rotated[2]), (3, &keys.summary()[0], &keys.summary()[1]));
    assert_ne!(rotated[1], rotated[2]);
}

#[test]
fn first_seal_line_seals_and_an_id_is_the_start_of_a_hash() {
    let keys = Keys::parse((line("seal", 2) + &line("seal", 3) + &line("names", 1)).as_bytes()).unwrap();
    assert_eq!(keys.sealing.expose(), &[2; KEY_BYTES]);
    // As `head -c 32 /dev/zero | tr '\0' '\1' | sha256sum` prints them.
    assert_eq!(keys.summary(), ["names 72cd6e84", "seal 75877bb4", "seal 648aa5c5"]);
}

#[test]
fn p10_keys_are_in_neither_debug_nor_summary() {
    let keys = Keys::random().unwrap();
    let shown = format!("{keys:?} {:?}", keys.summary());
    assert!(keys.to_lines().iter().all(|line| !shown.contains(&line[line.len() - 12..])), "{shown}");
    assert_eq!(shown.matches("[redacted]").count(), 2, "{shown}");
}

#[test]
fn mistake_in_a_keys_file_is_named_by_its_line_without_the_key() {
    let (names, seal) = (line("names", 1), line("seal", 2));
    for (text, expected) in [
        (String::new(), "has no names key; copy the names line from another broker"),
        (seal.clone(), "has no names key; "),
        (names.clone(), "has no seal key; "),
        (format!("{names}{seal}{}", line("names", 3)), "has a second names key in line 3; "),
        (format!("{names}{seal}\n{seal}"), "has the key of line 2 again in line 4; "),
        (format!("{names}{}", line("seal", 1)), "has the key of line 1 again in line 2; "),
        (format!("{names}{names}"), "has the key of line 1 again in line 2; "),
        (format!("{names}{}", line("Seal", 2)), "has an unknown line 2: "),
        (format!("{names}{}", line("", 2)), "has an unknown line 2: "),
        (format!("{names}seal"), "has no key in line 2: "),
        (format!("{names}{}", seal.trim_end().trim_end_matches('=')), "has no key in line 2: "),
        (format!("{names}{} # new", seal.trim_end()), "has no key in line 2: "),
        (format!("{names}{}A", seal.trim_end()), "has no key in line 2: "),
        (format!("{names}seal {}", BASE64.encode(&[2; KEY_BYTES - 1])), "has no key in line 2: "),
        (format!("{names}seal {}", BASE64.encode(&[2; KEY_BYTES + 1])), "has no key in line 2: "),
        (format!("{names}seal {}", BASE64.encode(&[2; 4 * KEY_BYTES])), "has no key in line 2: "),
    ] {
        let error = mistake(&text);
        assert!(error.starts_with(expected) && error.contains("; "), "{text}: {error}");
        assert!(!error.contains("AgIC") && !error.contains("AQEB"), "{error}");
    }
}

#[test]
fn keys_file_that_others_can_read_or_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache-keys");
    fs::write(&path, file_of(&Keys::random().unwrap())).unwrap();
    let read_with = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Keys::read(&path).map(|keys| keys.summary().len())
    };
    assert_eq!((read_with(0o400), read_with(0o440), read_with(0o640)), (Ok(2), Ok(2), Ok(2)));
    assert_eq!(read_with(0o644), Err(KeysFileError::Untrusted(TrustedFileError::WorldReadable)));
    assert_eq!(read_with(0o602), Err(KeysFileError::Untrusted(TrustedFileError::WorldWritable)));
    let missing = Keys::read(&directory.path().join("none")).unwrap_err();
    assert_eq!(missing, KeysFileError::Untrusted(TrustedFileError::Missing));
}

#[test]
fn any_bytes_are_parsed_without_a_panic() {
    let line = "(names|seal|#)?[ \t]?[A-Za-z0-9+/=]{0,48}";
    proptest!(|(lines in proptest::collection::vec(line, 0..5), bytes in proptest::collection::vec(any::<u8>(), 0..99))| {
        for text in [lines.join("\n").as_bytes(), &bytes] {
            if let Ok(keys) = Keys::parse(text) {
                prop_assert_eq!(Keys::parse(file_of(&keys).as_bytes()).unwrap().summary(), keys.summary());
            }
        }
    });
}
