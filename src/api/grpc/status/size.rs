//! Size of an error in HTTP/2 trailers, which clients limit. A client that gets more loses the details, or the connection.

use tonic::Status;

/// Largest size of an error's trailers. Clients accept 8 KiB and more.
const MAX_BYTES: usize = 8 * 1024;
/// Allowance for the names of the trailers and their entries in HTTP/2's count.
const NAMES: usize = 320;

/// Returns whether the error fits into its trailers. In them the message is percent-encoded and the details are base64.
pub(super) fn fits(status: &Status) -> bool {
    NAMES + 3 * status.message().len() + status.details().len().div_ceil(3) * 4 <= MAX_BYTES
}
