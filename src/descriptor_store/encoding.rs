//! Fields as bytes: texts with their lengths, and times.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::moment::Moment;

/// Limit of the seconds of a duration, far above any time.
const MAX_SECONDS: u64 = 1 << 40;

/// Writes fields. Memory that it leaves is wiped, because a field may be a password.
#[derive(Default)]
pub(super) struct Writer(Zeroizing<Vec<u8>>);

/// Reads the fields of a [`Writer`]. Each method returns `None` if the bytes do not begin with such a field.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl Writer {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.raw(&[byte]);
    }

    /// Appends bytes whose number the reader knows. `Vec` itself would leave a copy behind when it grows.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut grown = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.0.capacity())));
            grown.extend_from_slice(&self.0);
            self.0 = grown;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Appends bytes with their number. A number that has no room makes the rest unreadable.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.raw(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Writes a text or its absence.
    pub(super) fn optional(&mut self, text: Option<&str>) {
        self.byte(text.is_some().into());
        if let Some(text) = text {
            self.text(text);
        }
    }

    pub(super) fn duration(&mut self, duration: Duration) {
        self.raw(&duration.as_secs().to_le_bytes());
        self.raw(&duration.subsec_nanos().to_le_bytes());
    }

    /// Writes a time; one before 1970 becomes 1970.
    pub(super) fn time(&mut self, time: SystemTime) {
        self.duration(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    }

    pub(super) fn moment(&mut self, moment: Moment) {
        self.time(moment.wall);
        self.duration(moment.steady);
    }
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?);
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    #[expect(clippy::option_option, reason = "the outer one is a malformed field")]
    pub(super) fn optional(&mut self) -> Option<Option<&'a str>> {
        if self.flag()? { self.text().map(Some) } else { Some(None) }
    }

    pub(super) fn duration(&mut self) -> Option<Duration> {
        let (seconds, nanos) = (u64::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        // Sums of such durations do not overflow.
        (seconds < MAX_SECONDS && nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
    }

    pub(super) fn time(&mut self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(self.duration()?)
    }

    pub(super) fn moment(&mut self) -> Option<Moment> {
        Some(Moment { wall: self.time()?, steady: self.duration()? })
    }
}
