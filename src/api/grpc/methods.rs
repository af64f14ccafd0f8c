//! The table of RPCs that the gRPC port answers. Spans, authentication, the drain and message timeouts read it.
//!
//! A test compares the table with the descriptors of the served services, so a new RPC cannot be left out.

/// An RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Method {
    /// The request path without its leading slash, as telemetry names the RPC.
    pub(crate) name: &'static str,
    /// Which sides send a stream of messages.
    pub(crate) streaming: Streaming,
    /// Whether the handler needs to know the caller. A bearer token is verified only for these RPCs.
    pub(crate) authenticated: bool,
    /// The index in [`METHOD_NAMES`].
    pub(crate) index: usize,
}

/// Which sides of an RPC send a stream of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streaming {
    /// A single request message and a single response message.
    Unary,
    /// A single request message, and a response stream without an end.
    Server,
    /// A request stream and a response stream, both without an end.
    Both,
}

impl Method {
    /// Returns the RPC at a request path; [`OTHER`] for a path that is not in the table.
    pub(crate) fn of(path: &str) -> &'static Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        let unknown = if name.starts_with("grpc.") { &OTHER_STANDARD } else { &OTHER };
        METHODS.iter().find(|method| method.name == name).unwrap_or(unknown)
    }

    /// Returns whether responses go on until one side ends them, so that the drain must end them.
    pub(crate) fn streams_responses(&self) -> bool {
        self.streaming != Streaming::Unary
    }

    /// Returns whether the call watches the health of a service.
    pub(crate) fn is_health_watch(&self) -> bool {
        self.streaming == Streaming::Server && !self.authenticated
    }

    /// Returns whether the client may send messages for as long as it likes, so that no message timeout applies.
    pub(crate) fn streams_requests(&self) -> bool {
        self.streaming == Streaming::Both
    }
}

/// Replaces every path that is not in the table. Clients could otherwise fill telemetry with names of their choice.
///
/// It counts as authenticated: a method that is missing from the table must not run for the wrong caller.
pub(crate) const OTHER: Method =
    Method { name: "_OTHER", streaming: Streaming::Unary, authenticated: true, index: METHODS.len() };

/// Replaces the paths of gRPC's own services that are not in the table. They end with UNIMPLEMENTED, and a bad token beside them
/// must not count against its origin.
const OTHER_STANDARD: Method = Method { authenticated: false, ..OTHER };

/// The RPC that clients call most.
pub(crate) const GET_REGISTRY_CREDENTIALS: &Method = &METHODS[0];

const METHODS: [Method; 10] = indexed([
    broker("ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials", Streaming::Unary),
    broker("ecrbroker.v1.RegistryCredentialsService/BatchGetRegistryCredentials", Streaming::Unary),
    broker("ecrbroker.v1.RegistryCredentialsService/WatchRegistryCredentials", Streaming::Server),
    broker("ecrbroker.v1.RegistryCredentialsService/ListRegistries", Streaming::Unary),
    broker("ecrbroker.v1.RegistryCredentialsService/GetCallerIdentity", Streaming::Unary),
    broker("ecrbroker.v1.OperatorService/GetStatus", Streaming::Unary),
    anonymous("grpc.health.v1.Health/Check", Streaming::Unary),
    anonymous("grpc.health.v1.Health/Watch", Streaming::Server),
    anonymous("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Streaming::Both),
    anonymous("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Streaming::Both),
]);

/// The names of all methods by their index, that of every other path last.
pub(crate) const METHOD_NAMES: [&str; METHODS.len() + 1] = {
    let mut names = [OTHER.name; METHODS.len() + 1];
    let mut index = 0;
    while index < METHODS.len() {
        names[index] = METHODS[index].name;
        index += 1;
    }
    names
};

const fn indexed<const N: usize>(mut methods: [Method; N]) -> [Method; N] {
    let mut index = 0;
    while index < N {
        methods[index].index = index;
        index += 1;
    }
    methods
}

const fn broker(name: &'static str, streaming: Streaming) -> Method {
    Method { name, streaming, authenticated: true, index: 0 }
}

const fn anonymous(name: &'static str, streaming: Streaming) -> Method {
    Method { name, streaming, authenticated: false, index: 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};

    use super::*;
    use crate::pb;

    #[test]
    fn table_lists_every_method_of_the_served_descriptors() {
        let sets = [
            pb::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let described: BTreeMap<_, _> = sets.into_iter().flat_map(methods).collect();
        let listed: BTreeMap<_, _> =
            METHODS.iter().map(|method| (method.name.to_owned(), Some(method.streaming))).collect();
        assert_eq!(listed, described);
        assert_eq!(listed.len(), METHODS.len(), "a method is listed twice");
    }

    #[test]
    fn every_method_of_the_broker_is_authenticated_and_no_other() {
        for method in METHODS {
            assert_eq!(method.authenticated, method.name.starts_with("ecrbroker."), "{}", method.name);
        }
        assert!(Method::of("/ecrbroker.v1.RegistryCredentialsService/New").authenticated);
    }

    #[test]
    fn method_of_an_unknown_path_is_other() {
        assert_eq!(Method::of("/grpc.health.v1.Health/Watch").streaming, Streaming::Server);
        for path in ["", "/", "//x", "/ecrbroker.v1.RegistryCredentialsService/New"] {
            assert_eq!(*Method::of(path), OTHER, "{path}");
        }
        for path in ["/grpc.health.v1.Health/Watch/", "/grpc.health.v1.Health/Watc%68", "/grpc.health.v1.Health/List"] {
            assert_eq!(*Method::of(path), OTHER_STANDARD, "{path}");
        }
    }

    fn methods(set: &[u8]) -> Vec<(String, Option<Streaming>)> {
        let set = FileDescriptorSet::decode(set).expect("a descriptor set");
        let mut methods = Vec::new();
        for file in set.file {
            for service in &file.service {
                let name =
                    |method: &MethodDescriptorProto| format!("{}.{}/{}", file.package(), service.name(), method.name());
                methods.extend(service.method.iter().map(|method| (name(method), streaming(method))));
            }
        }
        methods
    }

    fn streaming(method: &MethodDescriptorProto) -> Option<Streaming> {
        match (method.client_streaming(), method.server_streaming()) {
            (false, false) => Some(Streaming::Unary),
            (false, true) => Some(Streaming::Server),
            (true, true) => Some(Streaming::Both),
            (true, false) => None,
        }
    }
}
