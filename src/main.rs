//! The `turnd` program.

fn main() {}
