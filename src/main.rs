//! The executable: arguments, logging, exit code; nothing else.

fn main() {}
