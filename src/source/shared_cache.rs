//! Shared cache: credentials that several brokers share, sealed by keys that only the brokers have.

pub mod entry_key;
pub mod envelope;
pub mod keys;
pub mod memory;
pub mod tier;
pub mod valkey;
