//! Where a value was written, and what it is called: the two ways in which a problem points at it.

use std::fmt;
use std::ops::Range;

/// A stretch of one of the configuration's texts: the file, a `--set` argument or an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Index into [`super::document::Document::sources`]; 0 is the file.
    pub(super) source: usize,
    /// Bytes of that text.
    pub(super) span: Range<usize>,
}

/// One step from a table or array to a value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A member of a table.
    Key(String),
    /// An element of an array.
    Index(usize),
}

/// The name of a value: `auth.access_token`, `routes[2].path`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// The whole file.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// A member of the table at this path.
    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// An element of the array at this path.
    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The table or array that holds the value at this path, and the step from there; none for the whole file.
    pub(super) fn split_last(&self) -> Option<(Self, &Step)> {
        let (last, rest) = self.0.split_last()?;
        Some((Self(rest.to_vec()), last))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                    if bare { f.write_str(key)? } else { write!(f, "{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_key_that_one_would_set() {
        let path = Path::root().key("routes").index(2).key("path");
        assert_eq!(path.to_string(), "routes[2].path");
        assert_eq!(Path::root().key("upstreams").key("a b").to_string(), "upstreams.\"a b\"");
    }
}
