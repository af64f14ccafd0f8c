//! The lists and the inner messages of requests.

use super::generated::{
    BatchGetRegistryCredentialsRequest, BatchGetRegistryCredentialsResponse, GetCallerIdentityRequest,
    GetCallerIdentityResponse, GetRegistryCredentialsRequest, GetRegistryCredentialsResponse, GetStatusRequest,
    GetStatusResponse, ListRegistriesRequest, ListRegistriesResponse, WatchRegistryCredentialsRequest,
    WatchRegistryCredentialsResponse,
};
use crate::protocol::{MAX_KNOWN_IDS, MAX_REQUESTS};

/// A message that is read within bounds.
pub(crate) trait Bounded {
    /// The bounds; `None` for answers, whose size the client limits.
    const SHAPE: Option<&'static Shape> = None;
}

/// What the bounds of a message need to know of it.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The numbers of its lists, and the length of each that is read: one item more than is allowed, so that the handler refuses it.
    pub(super) lists: &'static [(u64, usize)],
    /// The numbers of its fields that are messages.
    pub(super) messages: &'static [(u64, &'static Self)],
}

const LEAF: Shape = Shape { lists: &[], messages: &[] };
const REQUEST: Shape = Shape { lists: &[], messages: &[(2, &LEAF), (3, &LEAF), (5, &LEAF)] };

impl Bounded for GetRegistryCredentialsRequest {
    const SHAPE: Option<&'static Shape> = Some(&REQUEST);
}

impl Bounded for BatchGetRegistryCredentialsRequest {
    const SHAPE: Option<&'static Shape> = Some(&Shape { lists: &[(1, MAX_REQUESTS + 1)], messages: &[(1, &REQUEST)] });
}

impl Bounded for WatchRegistryCredentialsRequest {
    const SHAPE: Option<&'static Shape> =
        Some(&Shape { lists: &[(1, MAX_REQUESTS + 1), (2, MAX_KNOWN_IDS + 1)], messages: &[(1, &REQUEST)] });
}

impl Bounded for ListRegistriesRequest {
    const SHAPE: Option<&'static Shape> = Some(&LEAF);
}

impl Bounded for GetCallerIdentityRequest {
    const SHAPE: Option<&'static Shape> = Some(&LEAF);
}

impl Bounded for GetStatusRequest {
    const SHAPE: Option<&'static Shape> = Some(&LEAF);
}

impl Bounded for GetRegistryCredentialsResponse {}
impl Bounded for BatchGetRegistryCredentialsResponse {}
impl Bounded for WatchRegistryCredentialsResponse {}
impl Bounded for ListRegistriesResponse {}
impl Bounded for GetCallerIdentityResponse {}
impl Bounded for GetStatusResponse {}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{DescriptorProto, FileDescriptorSet};

    use super::*;

    /// Compares a shape with the message of that name, and returns the number of its lists.
    fn compare(messages: &[DescriptorProto], name: &str, shape: &Shape) -> usize {
        let Some(message) = messages.iter().find(|message| message.name() == name) else {
            assert!(shape.lists.is_empty() && shape.messages.is_empty(), "{name} is of another package");
            return 0;
        };
        let numbered = |number| u64::try_from(number).expect("a field number");
        let lists = message.field.iter().filter(|field| field.label() == Label::Repeated);
        let lists: Vec<_> = lists.map(|field| numbered(field.number())).collect();
        assert_eq!(lists, shape.lists.iter().map(|(number, _)| *number).collect::<Vec<_>>(), "lists of {name}");
        let inner: Vec<_> = message.field.iter().filter(|field| field.r#type() == Type::Message).collect();
        let numbers: Vec<_> = inner.iter().map(|field| numbered(field.number())).collect();
        assert_eq!(numbers, shape.messages.iter().map(|(number, _)| *number).collect::<Vec<_>>(), "messages of {name}");
        let inner = inner
            .iter()
            .zip(shape.messages)
            .map(|(field, (_, shape))| compare(messages, field.type_name().rsplit('.').next().expect("a name"), shape));
        lists.len() + inner.sum::<usize>()
    }

    fn of<M: Bounded>() -> &'static Shape {
        M::SHAPE.expect("a request")
    }

    #[test]
    fn shapes_have_every_list_and_message_of_the_requests() {
        let set = FileDescriptorSet::decode(crate::pb::FILE_DESCRIPTOR_SET).expect("a descriptor set");
        let files = || set.file.iter().filter(|file| file.package() == "ecrbroker.v1");
        let messages: Vec<_> = files().flat_map(|file| file.message_type.clone()).collect();
        let requests = [
            ("GetRegistryCredentialsRequest", of::<GetRegistryCredentialsRequest>(), 0),
            ("BatchGetRegistryCredentialsRequest", of::<BatchGetRegistryCredentialsRequest>(), 1),
            ("WatchRegistryCredentialsRequest", of::<WatchRegistryCredentialsRequest>(), 2),
            ("ListRegistriesRequest", of::<ListRegistriesRequest>(), 0),
            ("GetCallerIdentityRequest", of::<GetCallerIdentityRequest>(), 0),
            ("GetStatusRequest", of::<GetStatusRequest>(), 0),
        ];
        for (name, shape, lists) in requests {
            assert_eq!(compare(&messages, name, shape), lists, "{name}");
        }
        let mut methods = files().flat_map(|file| &file.service).flat_map(|service| &service.method);
        let named = |input: &str| requests.iter().any(|(name, ..)| input == format!(".ecrbroker.v1.{name}"));
        assert!(methods.all(|method| named(method.input_type())), "a request has no shape");
    }
}
