//! Limits of the gRPC API that broker and clients share. `proto/` documents them.

/// Requests in one batch, and registries that one watch names.
pub const MAX_REQUESTS: usize = 100;
/// Registries that one watch follows if its request names none.
pub const MAX_WATCHED: usize = 1_000;
/// IDs in `known_credential_ids` of one watch.
pub const MAX_KNOWN_IDS: usize = 1_000;
/// Entries of one page of a list.
pub const MAX_PAGE_SIZE: i32 = 1_000;
/// Entries of one page of a list if its request gives no size.
pub const DEFAULT_PAGE_SIZE: i32 = 100;
/// Keys of one page of the status.
pub const MAX_STATUS_KEYS: i32 = 500;
/// Keys of one page of the status if its request gives no size.
pub const DEFAULT_STATUS_KEYS: i32 = 100;
/// Encoded size of one request.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Fields of one request, those of inner messages included: the largest valid one has fewer.
pub const MAX_FIELDS: usize = MAX_KNOWN_IDS + 20 * MAX_REQUESTS;
/// Beginning of the metadata by which a child broker names one of its callers. No other metadata begins so.
pub const CALLER_METADATA: &str = "x-ecr-broker-caller";
/// Metadata with the bearer token of the child's caller, which proves to the parent who it is.
pub const CALLER_TOKEN: &str = "x-ecr-broker-caller-token";
/// Metadata with the name of the child's caller, of which the child has no proof that the parent could verify.
pub const CALLER_ASSERTED: &str = "x-ecr-broker-caller-asserted";
/// Metadata with the brokers that forwarded the caller to the child, from the first to the last, separated by commas.
pub const CALLER_VIA: &str = "x-ecr-broker-caller-via";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proto_states_every_limit() {
        let proto = include_str!("../proto/ecrbroker/v1/registry_credentials.proto");
        let thousands = |number: usize| format!("{},{:03}", number / 1_000, number % 1_000);
        let max_page_size = usize::try_from(MAX_PAGE_SIZE).expect("a size");
        for text in [
            format!("1 to {MAX_REQUESTS} requests; any other number is REQUEST_INVALID"),
            format!("Registries to watch: at most {MAX_REQUESTS},"),
            format!("or of more than {}, is REQUEST_INVALID", thousands(MAX_WATCHED)),
            format!("already has: at most {},", thousands(MAX_KNOWN_IDS)),
            format!("1 to {}; larger values count as {0}. Default: {DEFAULT_PAGE_SIZE}.", thousands(max_page_size)),
            format!(
                "A request above {} KiB, one of more than {} fields",
                MAX_REQUEST_BYTES / 1024,
                thousands(MAX_FIELDS)
            ),
        ] {
            assert!(proto.contains(&text), "{text}");
        }
        let proto = include_str!("../proto/ecrbroker/v1/operator.proto");
        let text = format!("Default: {DEFAULT_STATUS_KEYS}. Maximum: {MAX_STATUS_KEYS};");
        assert!(proto.contains(&text), "{text}");
    }
}
