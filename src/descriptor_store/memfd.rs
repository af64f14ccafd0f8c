//! Files in memory, without a path: what a service manager can keep without a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::seal::{KEY_BYTES, KeyBytes};

/// Begins the file of the key, so that another file is not used as one.
const KEY_MAGIC: [u8; 8] = *b"ecrbkey1";
/// Size of the file of the key.
const KEY_FILE_BYTES: usize = KEY_MAGIC.len() + KEY_BYTES;

/// Creates an empty file. No child process inherits it, and it cannot be executed.
pub(super) fn create(name: &str) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC;
    let created = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the flag.
        Err(Errno::INVAL) => memfd_create(name, flags),
        created => created,
    };
    Ok(created?.into())
}

/// Gives back the memory from `start` on.
pub(super) fn release(file: &File, start: u64, length: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, length)?)
}

/// Writes a key into its file.
pub(super) fn write_key(file: &File, key: &KeyBytes) -> io::Result<()> {
    let mut bytes = Zeroizing::new([0; KEY_FILE_BYTES]);
    bytes[..KEY_MAGIC.len()].copy_from_slice(&KEY_MAGIC);
    bytes[KEY_MAGIC.len()..].copy_from_slice(key.expose());
    file.write_all_at(&*bytes, 0)
}

/// Reads the key; `None` if the file is not that of a key.
pub(super) fn read_key(file: &File) -> Option<KeyBytes> {
    let mut bytes = Zeroizing::new([0; KEY_FILE_BYTES]);
    file.read_exact_at(&mut *bytes, 0).ok()?;
    let is_key = bytes.starts_with(&KEY_MAGIC) && file.metadata().is_ok_and(|found| found.len() == bytes.len() as u64);
    KeyBytes::try_from(&bytes[KEY_MAGIC.len()..]).ok().filter(|_| is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_read_from_a_whole_file_of_its_kind_only() {
        let file = create("key").expect("a file in memory");
        assert!(read_key(&file).is_none(), "an empty file");
        let key = KeyBytes::random().expect("randomness");
        write_key(&file, &key).expect("room");
        assert_eq!(read_key(&file).expect("a key").expose(), key.expose());
        file.write_all_at(b"more", KEY_FILE_BYTES as u64).expect("room");
        assert!(read_key(&file).is_none(), "a longer file");
        file.set_len(KEY_FILE_BYTES as u64 - 1).expect("a cut");
        assert!(read_key(&file).is_none(), "a shorter file");
        write_key(&file, &key).expect("room");
        file.write_all_at(b"E", 0).expect("room");
        assert!(read_key(&file).is_none(), "another kind of file");
    }
}
