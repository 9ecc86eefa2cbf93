//! The `mongoferry` binary.
fn main() {}
