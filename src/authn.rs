//! Authentication: who makes a call, by what the connection proved, or by the bearer token of the call.
//!
//! A call has one caller. A bearer token replaces what the client cannot help presenting, its Unix user or loopback: the sender
//! speaks for the token's subject, as kubelet does for a pod. A client certificate is presented on purpose, so a token beside it
//! must name the same SPIFFE ID. A child broker forwards its callers beside its own certificate: see `forwarded.rs`.

pub mod jwt;
pub mod tls;

mod authenticator;
mod bearer;
mod forwarded;
mod kept_token;
mod peer;
mod state;
mod tcp;
mod unix;

pub use self::kept_token::KeptToken;
pub use self::peer::Peer;

pub(crate) use self::authenticator::Authenticator;
pub(crate) use self::bearer::{Bearer, take_bearer};
pub(crate) use self::forwarded::{Forwarded, NO_CHILD_CERTIFICATE, take_forwarded};
pub(crate) use self::state::AuthnState;
pub(crate) use self::tcp::{TcpAuthn, TcpPeer};
pub(crate) use self::unix::UnixPeer;
