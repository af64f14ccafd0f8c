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
/// Encoded size of one request.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
