//! The `hugefolio` program.
fn main() {}
