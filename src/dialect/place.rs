//! Where in a request an input is: `body.x`, `query.x`, `cookie.x` or `bearer`.

use std::fmt;
use std::str::FromStr;

/// Where an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A member of the JSON body.
    Body(Box<str>),
    /// A parameter of the query.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// The bearer token of `Authorization`.
    Bearer,
}

/// The kinds of places, which are what rules are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceKind {
    Body,
    Query,
    Cookie,
    Bearer,
}

/// The text is not a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not one of the four kinds.
    #[error("is not a place in a request")]
    Kind,
    /// `body.` and nothing else, or a name with control characters.
    #[error("names nothing there")]
    Name,
}

impl Place {
    pub(super) fn kind(&self) -> PlaceKind {
        match self {
            Self::Body(_) => PlaceKind::Body,
            Self::Query(_) => PlaceKind::Query,
            Self::Cookie(_) => PlaceKind::Cookie,
            Self::Bearer => PlaceKind::Bearer,
        }
    }

    /// What the client calls it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Body(name) | Self::Query(name) | Self::Cookie(name) => name,
            Self::Bearer => "authorization",
        }
    }
}

impl PlaceKind {
    /// As one writes it.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Body => "\"body.x\"",
            Self::Query => "\"query.x\"",
            Self::Cookie => "\"cookie.x\"",
            Self::Bearer => "\"bearer\"",
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if text == "bearer" {
            return Ok(Self::Bearer);
        }
        // A member's name may have dots itself: only the first one separates.
        let (kind, name) = text.split_once('.').ok_or(PlaceError::Kind)?;
        let place: fn(Box<str>) -> Self = match kind {
            "body" => Self::Body,
            "query" => Self::Query,
            "cookie" => Self::Cookie,
            _ => return Err(PlaceError::Kind),
        };
        let named = !name.is_empty() && !name.chars().any(char::is_control);
        if named { Ok(place(name.into())) } else { Err(PlaceError::Name) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(name) => write!(f, "body.{name}"),
            Self::Query(name) => write!(f, "query.{name}"),
            Self::Cookie(name) => write!(f, "cookie.{name}"),
            Self::Bearer => f.write_str("bearer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_one_of_four_kinds() {
        assert_eq!("body.fName".parse(), Ok(Place::Body("fName".into())));
        assert_eq!("query.a.b".parse(), Ok(Place::Query("a.b".into())));
        assert_eq!("cookie.jqt".parse(), Ok(Place::Cookie("jqt".into())));
        assert_eq!("bearer".parse(), Ok(Place::Bearer));
        for text in ["", "body", "header.x", "Bearer", "bearer.x", "bodyx"] {
            assert_eq!(text.parse::<Place>(), Err(PlaceError::Kind), "{text:?}");
        }
        for text in ["body.", "cookie.\n"] {
            assert_eq!(text.parse::<Place>(), Err(PlaceError::Name), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_place_reads_as_it_is_written(text in "(body|query|cookie)\\.\\PC{1,12}") {
            prop_assert_eq!(text.parse::<Place>().map(|place| place.to_string()), Ok(text));
        }
    }
}
