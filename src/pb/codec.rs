//! Codec that looks at a message before it decodes it: two bytes are enough for an empty item of a list, which takes a hundred times
//! the memory once it is decoded.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::fields::readable;
use super::shape::Bounded;

/// Messages of this length have too few fields to be looked at: a field takes two bytes.
const SMALL: usize = 200;

/// Encodes `T`, and decodes `U` within its bounds.
#[derive(Debug)]
pub(crate) struct BoundedCodec<T, U>(PhantomData<(T, U)>);

#[derive(Debug)]
pub(crate) struct BoundedDecoder<U>(PhantomData<U>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Bounded + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder(PhantomData)
    }
}

impl<U: Message + Default + Bounded> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let length = buffer.remaining();
        let readable = match U::SHAPE.filter(|_| length > SMALL) {
            // tonic's buffer is in one piece.
            Some(shape) => {
                readable(buffer.chunk(), shape).map_err(|error| Status::invalid_argument(error.to_string()))?
            }
            None => length,
        };
        let message = U::decode((&mut *buffer).take(readable));
        buffer.advance(buffer.remaining());
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
