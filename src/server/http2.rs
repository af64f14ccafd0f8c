//! What HTTP/2 connections need beyond hyper.

pub(super) mod authority;
pub(super) mod body;
pub(super) mod frames;
pub(super) mod peer_stream;
pub(super) mod peer_watchdog;
