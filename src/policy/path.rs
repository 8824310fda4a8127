//! Request targets: one canonical path, decided on and forwarded alike.

/// A path that has one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath(Box<str>);

/// The path of a route: matches whole segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix(Box<str>);
