//! What is wrong with a dialect, and where: whoever read it from a file knows the line.

use std::fmt;

/// One thing that is wrong, or to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialectFault {
    /// Which dialect, in the order given.
    pub dialect: usize,
    /// Which of its routes, in the order given; none for the dialect itself.
    pub route: Option<usize>,
    /// The way from there to the value.
    pub path: Vec<FaultStep>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// One step to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultStep {
    /// A member.
    Key(Box<str>),
    /// An element.
    Index(usize),
}

impl From<&str> for FaultStep {
    fn from(key: &str) -> Self {
        Self::Key(key.into())
    }
}

impl fmt::Display for DialectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dialects[{}]", self.dialect)?;
        if let Some(route) = self.route {
            write!(f, ".routes[{route}]")?;
        }
        for step in &self.path {
            match step {
                FaultStep::Key(key) => write!(f, ".{key}")?,
                FaultStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        write!(f, ": {}", self.message)
    }
}
