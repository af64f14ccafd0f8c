//! The access levels of a profile.

/// The access of a credential to images, within what its role allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
    /// Everything that the role allows.
    Full,
}
