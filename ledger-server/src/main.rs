//! Arguments, allocator, signals.

fn main() {}
