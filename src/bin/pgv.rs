//! pgv.
fn main() {}
