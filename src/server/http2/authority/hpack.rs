//! As much of HPACK (RFC 7541) as it takes to find the value of a literal `:authority`.

/// `:authority` in the static table.
const AUTHORITY: u32 = 1;
/// And spelt out, as gRPC C-core has it since it gave up the static table.
const AUTHORITY_NAME: &[u8] = b":authority";
/// Longer numbers than any header needs: the block is not understood.
const LARGEST_SHIFT: u32 = 21;

/// A header block, followed byte by byte; it may go on over several frames.
#[derive(Debug, Default)]
pub(super) enum Block {
    /// The next byte begins a field.
    #[default]
    Field,
    /// The rest of a number, little end first.
    Number { value: u32, shift: u32, of: Number },
    /// The next byte begins a text's length.
    Length { of: Text },
    /// A text.
    Text { rest: u32, plain: bool, of: Text },
    /// Not HPACK as we know it; nothing is changed from here on.
    Lost,
}

/// What a number counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    /// Entries or bytes of the table: the field ends with it.
    Nothing,
    /// The name of a literal, in a table.
    Name,
    /// A text's bytes.
    Bytes { of: Text, plain: bool },
}

/// What a text is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text {
    /// A name, and how much of `:authority` it has repeated, where it has done nothing else.
    Name {
        repeated: Option<usize>,
    },
    Value {
        of_authority: bool,
    },
}

impl Block {
    pub(super) fn repair(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            let next = self.step(byte);
            *self = next;
        }
    }

    fn step(&self, byte: &mut u8) -> Self {
        match *self {
            Self::Field => Self::field(*byte),
            Self::Number { shift, .. } if shift > LARGEST_SHIFT => Self::Lost,
            Self::Number { value, shift, of } => {
                let value = value + (u32::from(*byte & 0x7f) << shift);
                if *byte & 0x80 == 0 { Self::counted(value, of) } else { Self::Number { value, shift: shift + 7, of } }
            }
            Self::Length { of } => Self::number(*byte, 0x7f, Number::Bytes { of, plain: *byte & 0x80 == 0 }),
            Self::Text { rest, plain, of } => {
                if plain && *byte == b'%' && matches!(of, Text::Value { of_authority: true }) {
                    *byte = b'-';
                }
                Self::text(rest - 1, plain, of.followed_by(*byte, plain))
            }
            Self::Lost => Self::Lost,
        }
    }

    /// RFC 7541, section 6: the kinds of field by their first bits.
    fn field(byte: u8) -> Self {
        match byte {
            0x80.. => Self::number(byte, 0x7f, Number::Nothing),
            0x40.. => Self::number(byte, 0x3f, Number::Name),
            0x20.. => Self::number(byte, 0x1f, Number::Nothing),
            _ => Self::number(byte, 0x0f, Number::Name),
        }
    }

    fn number(byte: u8, prefix: u8, of: Number) -> Self {
        let value = u32::from(byte & prefix);
        if byte & prefix == prefix { Self::Number { value, shift: 0, of } } else { Self::counted(value, of) }
    }

    fn counted(value: u32, of: Number) -> Self {
        match of {
            Number::Nothing => Self::Field,
            Number::Name if value == 0 => Self::Length { of: Text::Name { repeated: Some(0) } },
            Number::Name => Self::Length { of: Text::Value { of_authority: value == AUTHORITY } },
            Number::Bytes { of, plain } => Self::text(value, plain, of),
        }
    }

    fn text(rest: u32, plain: bool, of: Text) -> Self {
        match (rest, of) {
            (1.., _) => Self::Text { rest, plain, of },
            (0, Text::Name { repeated }) => {
                Self::Length { of: Text::Value { of_authority: repeated == Some(AUTHORITY_NAME.len()) } }
            }
            (0, Text::Value { .. }) => Self::Field,
        }
    }
}

impl Text {
    /// What the text is known to be after one more of its bytes. A name that is Huffman-coded is not looked into: those who need
    /// the repair send it plain.
    fn followed_by(self, byte: u8, plain: bool) -> Self {
        match self {
            Self::Name { repeated: Some(so_far) } if plain && AUTHORITY_NAME.get(so_far) == Some(&byte) => {
                Self::Name { repeated: Some(so_far + 1) }
            }
            Self::Name { .. } => Self::Name { repeated: None },
            Self::Value { of_authority } => Self::Value { of_authority },
        }
    }
}
