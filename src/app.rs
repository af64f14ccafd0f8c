//! The composition root, and what a process needs beside it.

#[cfg(feature = "server")]
pub mod process;
#[cfg(feature = "server")]
pub mod reload;
pub mod signal;
