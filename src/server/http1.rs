//! What HTTP/1.1 connections need beyond hyper.

pub(super) mod write_timeout;
