//! AWS's wire protocols as a server sees them: requests, responses and errors of every protocol, and the JSON 1.1 protocol.
//!
//! Requests and responses hold keys and tokens. Their `Debug` output shows only IDs, statuses and outcomes.

pub mod ecr;
mod error;
mod request;
mod response;
mod signature;

pub use self::error::AwsError;
pub use self::request::{AwsRequest, read_body, target};
pub use self::response::{AwsResponse, JSON_CONTENT_TYPE};
pub use self::signature::CredentialScope;
