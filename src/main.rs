//! The `mongoferry` binary: parse arguments, choose a role, map errors to exit codes.

fn main() {}
