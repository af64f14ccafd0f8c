//! The part of HPACK (RFC 7541) that finds the value of a literal `:authority`.

/// Index of `:authority` in the static table.
const AUTHORITY: u32 = 1;
/// The name as a literal. gRPC C-core sends it so since it no longer uses the static table.
const AUTHORITY_NAME: &[u8] = b":authority";
/// Maximum shift of an integer's last byte, in bits. No header needs a longer integer; a block with one is passed on unchanged.
const MAX_SHIFT: u32 = 21;

/// Parses a header block byte by byte. A block may continue over several frames.
#[derive(Debug, Default)]
pub(super) enum BlockParser {
    /// Before the first byte of a field.
    #[default]
    Field,
    /// Within an integer, least significant bits first.
    Integer { value: u32, shift: u32, of: Integer },
    /// Before the length of a string.
    Length { of: Text },
    /// Within a string of which `left` bytes are missing.
    String { left: u32, plain: bool, of: Text },
    /// The parser does not understand the bytes. From now on it rewrites nothing.
    Lost,
}

/// The meaning of an integer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Integer {
    /// An index or a table size; it ends the field.
    Whole,
    /// The name of a literal, by its index.
    Name,
    /// The length of a string.
    Length { of: Text, plain: bool },
}

/// The meaning of a string.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text {
    /// A name. `matched` counts the bytes that equal those of `:authority`; none after a difference.
    Name {
        matched: Option<usize>,
    },
    Value(Value),
}

/// The header that a value belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    /// `:authority`, before the first byte.
    Authority,
    /// `:authority` that does not begin with `/`.
    Host,
    /// `:authority` that is a path.
    Path,
    Other,
}

impl BlockParser {
    pub(super) fn rewrite(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            let next = self.step(byte);
            *self = next;
        }
    }

    fn step(&self, byte: &mut u8) -> Self {
        match *self {
            Self::Field => Self::field(*byte),
            Self::Integer { shift, .. } if shift > MAX_SHIFT => Self::Lost,
            Self::Integer { value, shift, of } => {
                let value = value + (u32::from(*byte & 0x7f) << shift);
                if *byte & 0x80 == 0 {
                    Self::after_integer(value, of)
                } else {
                    Self::Integer { value, shift: shift + 7, of }
                }
            }
            Self::Length { of } => Self::integer(*byte, 0x7f, Integer::Length { of, plain: *byte & 0x80 == 0 }),
            Self::String { left, plain, of } => {
                let of = of.followed_by(*byte, plain);
                if plain && of.must_not_have(*byte) {
                    *byte = b'-';
                }
                Self::string(left - 1, plain, of)
            }
            Self::Lost => Self::Lost,
        }
    }

    /// Returns the state after the first byte of a field, whose first bits tell its kind (RFC 7541, section 6).
    fn field(byte: u8) -> Self {
        match byte {
            0x80.. => Self::integer(byte, 0x7f, Integer::Whole),
            0x40.. => Self::integer(byte, 0x3f, Integer::Name),
            0x20.. => Self::integer(byte, 0x1f, Integer::Whole),
            _ => Self::integer(byte, 0x0f, Integer::Name),
        }
    }

    fn integer(byte: u8, prefix: u8, of: Integer) -> Self {
        let value = u32::from(byte & prefix);
        if byte & prefix == prefix { Self::Integer { value, shift: 0, of } } else { Self::after_integer(value, of) }
    }

    fn after_integer(value: u32, of: Integer) -> Self {
        match of {
            Integer::Whole => Self::Field,
            Integer::Name if value == 0 => Self::Length { of: Text::Name { matched: Some(0) } },
            Integer::Name => Self::Length { of: Text::value(value == AUTHORITY) },
            Integer::Length { of, plain } => Self::string(value, plain, of),
        }
    }

    fn string(left: u32, plain: bool, of: Text) -> Self {
        match (left, of) {
            (1.., _) => Self::String { left, plain, of },
            (0, Text::Name { matched }) => Self::Length { of: Text::value(matched == Some(AUTHORITY_NAME.len())) },
            (0, Text::Value(_)) => Self::Field,
        }
    }
}

impl Text {
    fn value(of_authority: bool) -> Self {
        Self::Value(if of_authority { Value::Authority } else { Value::Other })
    }

    /// Returns whether h2 would reject the header for this byte of its value, although the value is the path of a socket.
    fn must_not_have(self, byte: u8) -> bool {
        match self {
            Self::Value(Value::Path) => matches!(byte, b'%' | b'/'),
            Self::Value(Value::Host) => byte == b'%',
            _ => false,
        }
    }

    /// Returns what the string can still be after one more byte. Huffman-coded names are not decoded: clients that need the rewriter
    /// send the name plain.
    fn followed_by(self, byte: u8, plain: bool) -> Self {
        match self {
            Self::Name { matched: Some(matched) } if plain && AUTHORITY_NAME.get(matched) == Some(&byte) => {
                Self::Name { matched: Some(matched + 1) }
            }
            Self::Name { .. } => Self::Name { matched: None },
            Self::Value(Value::Authority) => Self::Value(if byte == b'/' { Value::Path } else { Value::Host }),
            Self::Value(value) => Self::Value(value),
        }
    }
}
