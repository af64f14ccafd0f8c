use proptest::prelude::*;

use super::*;
use crate::seal::KeyBytes;

fn key_bytes(byte: u8) -> KeyBytes {
    KeyBytes::try_from(&[byte; 32][..]).expect("32 bytes")
}

fn key(byte: u8) -> SealingKey {
    SealingKey::new(&key_bytes(byte)).expect("a key")
}

fn new_slots() -> Slots {
    Slots::new(memfd::create("slots").expect("a file in memory"), key(1))
}

fn write(slots: &mut Slots, text: &[u8]) {
    slots.write(Zeroizing::new(text.to_vec())).expect("room");
}

/// Opens the file as the next process does.
fn reopen(slots: &Slots) -> Result<Vec<u8>, Unreadable> {
    let file = slots.file.try_clone().expect("a descriptor");
    Slots::open(file, key(1)).map(|(_, contents)| contents.to_vec())
}

/// Returns the bytes of a slot.
fn slot_bytes(slots: &Slots, slot: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES + length + TAG_BYTES];
    slots.file.read_exact_at(&mut bytes, start_of(slot)).expect("a written slot");
    bytes
}

#[test]
fn newest_contents_are_read_and_the_other_slot_is_written_next() {
    let mut slots = new_slots();
    assert_eq!(reopen(&slots), Err(Unreadable::Empty));
    for text in [b"first, and longer".as_slice(), b"second", b"third", b""] {
        write(&mut slots, text);
        assert_eq!(reopen(&slots).as_deref(), Ok(text));
    }
    let file = slots.file.try_clone().expect("a descriptor");
    let (mut opened, _) = Slots::open(file, key(1)).expect("contents");
    assert_eq!(opened.newest, Some(Place { slot: 1, generation: 4 }));
    write(&mut opened, b"fifth");
    assert_eq!(opened.newest, Some(Place { slot: 0, generation: 5 }));
    assert_eq!(reopen(&slots).as_deref(), Ok(b"fifth".as_slice()));
}

#[test]
fn shorter_contents_give_memory_back() {
    let mut slots = new_slots();
    write(&mut slots, &vec![7; 40_000]);
    write(&mut slots, &vec![7; 40_000]);
    let blocks = |slots: &Slots| slots.file.metadata().expect("a file").blocks();
    assert!(blocks(&slots) >= 160);
    write(&mut slots, b"short");
    write(&mut slots, b"short");
    assert!(blocks(&slots) <= 16, "{}", blocks(&slots));
}

#[test]
fn contents_open_with_their_key_only() {
    let mut slots = new_slots();
    write(&mut slots, &[7; 1_000]);
    let open = |key| Slots::open(slots.file.try_clone().expect("a descriptor"), key).map(|(_, found)| found.len());
    assert_eq!((open(key(1)), open(key(2))), (Ok(1_000), Err(Unreadable::Damaged)));
}

#[test]
fn length_beyond_the_file_takes_no_memory() {
    let mut slots = new_slots();
    write(&mut slots, &[7; 1_000]);
    slots.file.write_all_at(&(1_u64 << 40).to_le_bytes(), 20).expect("room");
    slots.file.set_len(1 << 41).expect("a hole");
    assert_eq!(reopen(&slots), Err(Unreadable::Damaged));
}

#[test]
fn slots_of_another_version_are_not_read() {
    let mut slots = new_slots();
    write(&mut slots, b"first");
    slots.file.write_all_at(&(VERSION + 1).to_le_bytes(), 8).expect("room");
    assert_eq!(reopen(&slots), Err(Unreadable::OtherVersion));
    write(&mut slots, b"second");
    assert_eq!(reopen(&slots).as_deref(), Ok(b"second".as_slice()));
    slots.file.write_all_at(&(VERSION - 1).to_le_bytes(), STRIDE + 8).expect("room");
    assert_eq!(reopen(&slots), Err(Unreadable::OtherVersion));
}

#[test]
fn slot_does_not_open_in_the_place_of_the_other() {
    let mut slots = new_slots();
    write(&mut slots, b"first");
    let first = slot_bytes(&slots, 0, 5);
    slots.file.write_all_at(&first, STRIDE).expect("room");
    slots.file.write_all_at(&[0; HEADER_BYTES], 0).expect("room");
    assert_eq!(reopen(&slots), Err(Unreadable::Damaged));
}

/// A write that ends anywhere leaves the contents before it, or its own. The ciphertext is written first, then the header.
#[test]
fn p15_torn_write_leaves_the_contents_before() {
    let contents = || proptest::collection::vec(any::<u8>(), 0..300);
    let written = (0..400_usize, 0..=HEADER_BYTES);
    proptest!(|(old in contents(), new in contents(), (of_ciphertext, of_header) in written)| {
        let mut slots = new_slots();
        write(&mut slots, b"oldest");
        write(&mut slots, &old);
        let before = slot_bytes(&slots, 0, 6);
        write(&mut slots, &new);
        let after = slot_bytes(&slots, 0, new.len());
        let (header, ciphertext) = after.split_at(HEADER_BYTES);
        let of_ciphertext = of_ciphertext.min(ciphertext.len());
        slots.file.write_all_at(&before, 0).unwrap();
        slots.file.write_all_at(&ciphertext[..of_ciphertext], HEADER_BYTES as u64).unwrap();
        prop_assert_eq!(reopen(&slots), Ok(old.clone()));
        if of_ciphertext == ciphertext.len() {
            slots.file.write_all_at(&header[..of_header], 0).unwrap();
            let found = reopen(&slots).unwrap();
            prop_assert!(found == new || (found == old && of_header < HEADER_BYTES));
        }
    });
}

/// Whatever is changed, what opens was written.
#[test]
fn p15_changed_slots_open_as_what_was_written_or_not_at_all() {
    let contents = || proptest::collection::vec(any::<u8>(), 0..100);
    let changes = proptest::collection::vec((0..2_u64, 0..160_u64, any::<u8>()), 1..8);
    let cut = proptest::option::of(0..STRIDE + 160);
    proptest!(|(first in contents(), second in contents(), changes in changes, cut in cut)| {
        let mut slots = new_slots();
        write(&mut slots, &first);
        write(&mut slots, &second);
        for (slot, at, byte) in changes {
            slots.file.write_all_at(&[byte], slot * STRIDE + at).unwrap();
        }
        if let Some(length) = cut {
            slots.file.set_len(length).unwrap();
        }
        if let Ok(found) = reopen(&slots) {
            prop_assert!(found == first || found == second);
        }
    });
}
