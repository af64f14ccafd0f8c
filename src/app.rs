//! The composition root, and what a process needs beside it.

pub mod auth_material;
pub mod process;
pub mod reload;
