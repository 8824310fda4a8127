//! The path of a route: exact or a prefix, with `{name}` for any one segment.
//!
//! `/users/{id}` serves `/users/7` and, unless it is exact, what is below it. Nothing is captured: the name says to the
//! reader of the file what stands there.

use std::borrow::Cow;

use super::path::{CanonicalPath, PathPrefix, PathPrefixError};

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text, decoded, compared case-sensitively.
    Literal(Box<str>),
    /// Anything: one whole segment.
    Any,
}

/// Which paths a route serves.
#[derive(Debug, Clone)]
pub struct PathPattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    exact: bool,
}

/// Why the path of a route is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// `{` or `}` that does not stand around the name of a whole segment.
    #[error("`{{` and `}}` stand only around the name of a whole segment: `/users/{{id}}`")]
    Template,
    /// Not a path that a request can have.
    #[error(transparent)]
    Path(#[from] PathPrefixError),
}

/// Stands for a template's segment while the rest of the path is read.
const STAND_IN: &str = "_";

impl PathPattern {
    /// Reads a route's `path`. `/api/` and `/api` are the same.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn parse(text: &str, exact: bool) -> Result<Self, PathPatternError> {
        let mut templates = Vec::new();
        let mut plain: Vec<Cow<'_, str>> = Vec::new();
        for segment in text.split('/') {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            match name {
                Some(name) if is_name(name) => plain.push(STAND_IN.into()),
                None if !segment.contains(['{', '}']) => plain.push(segment.into()),
                _ => return Err(PathPatternError::Template),
            }
            if !segment.is_empty() {
                templates.push(name.is_some());
            }
        }
        let prefix = PathPrefix::parse(&plain.join("/"))?;
        let segments = std::iter::zip(prefix.segments(), &templates);
        let segments = segments.map(|(text, template)| if *template { Segment::Any } else { Segment::Literal(text.into()) });
        let segments: Box<[Segment]> = segments.collect();
        let text = if templates.contains(&true) { text.trim_end_matches('/') } else { prefix.as_str() };
        Ok(Self { text: text.into(), segments, exact })
    }

    /// The pattern of a plain path.
    #[must_use]
    pub fn of(path: &PathPrefix, exact: bool) -> Self {
        let segments = path.segments().map(|segment| Segment::Literal(segment.into())).collect();
        Self { text: path.as_str().into(), segments, exact }
    }

    /// Whether `path` is served.
    #[must_use]
    pub fn matches(&self, path: &CanonicalPath<'_>) -> bool {
        let mut of_path = path.segments();
        let begins = self.segments.iter().all(|segment| match (segment, of_path.next()) {
            (Segment::Literal(text), Some(other)) => **text == *other,
            (Segment::Any, Some(_)) => true,
            (_, None) => false,
        });
        begins && (!self.exact || of_path.next().is_none())
    }

    /// Whether both serve the same paths: names in templates make no difference.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.exact == other.exact && self.segments == other.segments
    }

    /// The same text for patterns that serve the same paths; seldom for others.
    #[must_use]
    pub fn shape(&self) -> Box<str> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => text,
            Segment::Any => "{}",
        });
        let exact = if self.exact { "=" } else { "" };
        segments.fold(exact.to_owned(), |shape, segment| shape + "/" + segment).into()
    }

    /// Canonical text, without a slash at its end unless it is `/`; templates as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The segments, from the left.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether nothing below the path is served.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.exact
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl Eq for PathPattern {}

#[cfg(test)]
mod tests {
    use super::super::host::Host;
    use super::super::path::Target;
    use super::*;

    fn matches(pattern: &str, exact: bool, target: &str) -> bool {
        let host = Host::parse("a", 80).expect("a host");
        let target = Target::parse(target.as_bytes(), &host).expect("a target");
        PathPattern::parse(pattern, exact).expect("a pattern").matches(&target.path())
    }

    #[test]
    fn a_template_stands_for_one_whole_segment() {
        for (target, prefix, exact) in [
            ("/users/7", true, true),
            ("/users/7/", true, true),
            ("/users/a%20b;x=1", true, true),
            ("/users/7/keys", true, false),
            ("/users", false, false),
            ("/users/", false, false),
            ("/groups/7", false, false),
        ] {
            assert_eq!(matches("/users/{id}", false, target), prefix, "{target}");
            assert_eq!(matches("/users/{id}", true, target), exact, "{target}");
        }
        assert!(matches("/{tenant}/admin", true, "/acme/admin"));
    }

    #[test]
    fn an_exact_path_serves_nothing_below_it() {
        assert!(matches("/health", true, "/health") && matches("/health", true, "/health/"));
        assert!(!matches("/health", true, "/health/x") && !matches("/", true, "/x"));
        assert!(matches("/", true, "/"));
    }

    #[test]
    fn braces_stand_around_whole_segments_only() {
        for text in ["/users/{id", "/users/id}", "/users/x{id}", "/users/{}", "/users/{a b}", "/{a}{b}", "/{{a}}"] {
            assert_eq!(PathPattern::parse(text, false), Err(PathPatternError::Template), "{text}");
        }
        assert_eq!(PathPattern::parse("users/{id}", false), Err(PathPrefixError::Form.into()));
        assert_eq!(PathPattern::parse("/users/*", false), Err(PathPrefixError::Wildcard.into()));
    }

    #[test]
    fn names_do_not_tell_patterns_apart() {
        let parse = |text, exact| PathPattern::parse(text, exact).expect("a pattern");
        assert_eq!(parse("/users/{id}", false), parse("/users/{name}/", false));
        assert_ne!(parse("/users/{id}", false), parse("/users/{id}", true));
        assert_ne!(parse("/users/{id}", false), parse("/users/_", false));
    }
}
