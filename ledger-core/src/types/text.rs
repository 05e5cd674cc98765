//! Texts and bytes that a caller attaches to a command.

/// What a caller attaches to a transaction: opaque bytes, 1 ..= 4096 of them, given back as they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata<'a>(&'a [u8]);

impl<'a> Metadata<'a> {
    /// The most bytes that one transaction carries.
    pub const BYTES_MAX: usize = 4096;

    /// `None` outside 1 ..= 4096 bytes.
    pub fn new(bytes: &'a [u8]) -> Option<Metadata<'a>> {
        (1..=Self::BYTES_MAX).contains(&bytes.len()).then_some(Metadata(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// Where a withdrawal is paid to, as the bank understands it: 1 ..= 255 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination<'a>(&'a str);

impl<'a> Destination<'a> {
    /// The longest destination, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// `None` outside 1 ..= 255 bytes.
    pub fn new(destination: &'a str) -> Option<Destination<'a>> {
        (1..=Self::BYTES_MAX).contains(&destination.len()).then_some(Destination(destination))
    }

    /// The destination.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// What an operator goes by when he decides a withdrawal, for people to read: 1 ..= 1024 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence<'a>(&'a str);

impl<'a> Evidence<'a> {
    /// The longest evidence, in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// `None` outside 1 ..= 1024 bytes.
    pub fn new(evidence: &'a str) -> Option<Evidence<'a>> {
        (1..=Self::BYTES_MAX).contains(&evidence.len()).then_some(Evidence(evidence))
    }

    /// The evidence.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// The name of an operator: 1 ..= 255 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operator<'a>(&'a str);

impl<'a> Operator<'a> {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// `None` outside 1 ..= 255 bytes.
    pub fn new(name: &'a str) -> Option<Operator<'a>> {
        (1..=Self::BYTES_MAX).contains(&name.len()).then_some(Operator(name))
    }

    /// The name.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}
