//! The fields of a message that is not decoded yet.

use super::shape::Shape;
use crate::protocol::MAX_FIELDS;

/// Bytes of the longest number.
const MAX_VARINT: usize = 10;

/// A message has more fields than any client sends. Fields may be repeated, and each costs time to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message refused: more than {MAX_FIELDS} fields; send each field once")]
pub(super) struct TooManyFields;

/// Returns the length of the part of a message that is decoded: all of it, or up to the first item that a list has too many.
///
/// Bytes that are not a field are left to the decoder, which says what is wrong with them.
pub(super) fn readable(message: &[u8], shape: &Shape) -> Result<usize, TooManyFields> {
    let (mut reader, mut left, mut lengths) = (Reader { rest: message }, MAX_FIELDS, [0; 2]);
    while let Some(field) = reader.next() {
        count(&field, shape, &mut left)?;
        let list = shape.lists.iter().zip(&mut lengths).find(|((number, _), _)| *number == field.number);
        let Some((&(_, most), length)) = list else { continue };
        *length += 1;
        if *length == most {
            return Ok(message.len() - reader.rest.len());
        }
    }
    Ok(message.len())
}

/// Counts a field and those within it.
fn count(field: &Field<'_>, shape: &Shape, left: &mut usize) -> Result<(), TooManyFields> {
    *left = left.checked_sub(1).ok_or(TooManyFields)?;
    let inner = shape.messages.iter().find(|(number, _)| *number == field.number);
    let Some((_, inner)) = inner else { return Ok(()) };
    (Reader { rest: field.value }).try_for_each(|field| count(&field, inner, left))
}

struct Field<'a> {
    number: u64,
    /// The value, if it has a length.
    value: &'a [u8],
}

/// Reads fields up to the end, or up to what is not a field. The limits of a group count as fields.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let length = self.rest.iter().take(MAX_VARINT).position(|byte| byte & 0x80 == 0)? + 1;
        // Seven bits of each byte, the lowest first. Of more than 64 the decoder refuses the number.
        Some(self.take(length)?.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => self.varint().map(|_| &[][..]),
            1 => self.take(8).map(|_| &[][..]),
            2 => usize::try_from(self.varint()?).ok().and_then(|length| self.take(length)),
            3 | 4 => Some(&[][..]),
            5 => self.take(4).map(|_| &[][..]),
            _ => None,
        };
        Some(Field { number: key >> 3, value: value? })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::generated::get_registry_credentials_request::Target;
    use super::super::generated::{
        BatchGetRegistryCredentialsRequest as Batch, GetRegistryCredentialsRequest as Get, PrivateRegistry,
        WatchRegistryCredentialsRequest as Watch,
    };
    use super::super::shape::Bounded;
    use super::*;
    use crate::protocol::{MAX_KNOWN_IDS, MAX_REQUESTS};

    fn read<M: Bounded + prost::Message + Default>(bytes: &[u8]) -> Result<M, TooManyFields> {
        let length = readable(bytes, M::SHAPE.expect("a request"))?;
        Ok(M::decode(&bytes[..length]).expect("a message"))
    }

    /// A request with every field.
    fn full() -> Get {
        let registry = PrivateRegistry {
            account_id: "123456789012".into(),
            region: "eu-central-1".into(),
            fips: true,
            dual_stack: true,
        };
        Get {
            target: Some(Target::PrivateRegistry(registry)),
            profile: "p".repeat(32),
            min_validity: Some(prost_types::Duration { seconds: i64::MAX, nanos: -1 }),
            rejected_credential_id: "f".repeat(32),
        }
    }

    /// A field with a length.
    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(value.len() as u64, &mut field);
        [field, value.to_vec()].concat()
    }

    #[test]
    fn largest_valid_messages_are_read_whole() {
        let batch = Batch { requests: vec![full(); MAX_REQUESTS] };
        assert_eq!(read(&batch.encode_to_vec()), Ok(batch));
        let known_credential_ids = vec!["f".repeat(32); MAX_KNOWN_IDS];
        let watch = Watch { requests: vec![full(); MAX_REQUESTS], known_credential_ids };
        assert_eq!(read(&watch.encode_to_vec()), Ok(watch));
        let get = Get { target: Some(Target::Registry("a".repeat(60_000))), ..full() };
        assert_eq!(read(&get.encode_to_vec()), Ok(get));
    }

    #[test]
    fn lists_are_read_up_to_one_item_too_many() {
        let batch: Batch = read(&field(1, &[]).repeat(32_700)).unwrap();
        assert_eq!(batch.requests.len(), MAX_REQUESTS + 1);
        let watch: Watch = read(&field(2, &[]).repeat(32_700)).unwrap();
        assert_eq!((watch.requests.len(), watch.known_credential_ids.len()), (0, MAX_KNOWN_IDS + 1));
        let mixed: Watch = read(&[field(2, &[]), field(1, &[])].concat().repeat(16_350)).unwrap();
        assert_eq!((mixed.requests.len(), mixed.known_credential_ids.len()), (MAX_REQUESTS + 1, MAX_REQUESTS + 1));
    }

    #[test]
    fn fields_of_any_kind_are_limited() {
        let many = |field: &[u8]| field.repeat(MAX_FIELDS + 1);
        for (name, message) in [
            ("numbers", many(&[9 << 3, 1])),
            ("texts", many(&field(9, &[]))),
            ("groups", many(&[9 << 3 | 3, 9 << 3 | 4])),
            ("texts in an item", field(1, &many(&field(4, &[])))),
            ("durations in an item", field(1, &many(&field(5, &[])))),
            ("numbers of a duration in an item", field(1, &field(5, &many(&[1 << 3, 1])))),
        ] {
            assert_eq!(read::<Batch>(&message), Err(TooManyFields), "{name}");
        }
    }

    #[test]
    fn bytes_that_are_not_fields_are_left_to_the_decoder() {
        for bytes in [&[0x0a, 200][..], &[0xff; 20], &[0x0f], &[0x0d, 1], &[0x09, 1], &[0x08]] {
            assert_eq!(readable(bytes, Batch::SHAPE.expect("a request")), Ok(bytes.len()), "{bytes:?}");
        }
    }
}
