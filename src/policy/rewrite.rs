//! Another path or host than the client asked for: sent to the upstream, or told to the client.
//!
//! Whatever comes out is read again like any request target: a rewrite can bring about nothing that a client could not
//! have sent. Where a redirect leads is written in the file; a request adds only what follows its prefix, and its query.

use http::{HeaderValue, StatusCode};

use super::host::Host;
use super::path::{PathPrefix, Target, TargetError};
use super::pattern::PathPattern;

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// The segments that the route names are replaced by these.
    Prefix(PathPrefix),
    /// The whole path is replaced.
    Whole(PathPrefix),
}

/// What is sent instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Another path; the query stays.
    pub path: Option<PathRewrite>,
    /// Another host. `X-Forwarded-Host` tells the upstream which one was asked for.
    pub host: Option<Host>,
}

/// What a request is sent as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Another host than was asked for.
    pub host: Option<Host>,
    /// Another target than was asked for.
    pub target: Option<Target<'static>>,
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `https://host:port`; none for the same origin, told by a path alone.
    pub origin: Option<Box<str>>,
    /// Another path; the same unless set.
    pub path: Option<PathRewrite>,
}

impl PathRewrite {
    /// The path and the query to send for `target`, which `route` serves.
    ///
    /// # Errors
    /// What would come out has no single reading.
    pub fn apply(&self, route: &PathPattern, target: &Target<'_>, host: &Host) -> Result<Target<'static>, TargetError> {
        let mut text = match self {
            Self::Whole(path) => path.as_str().to_owned(),
            Self::Prefix(prefix) => {
                let rest = after(target.path().as_str(), route.segments().len());
                let joined = format!("{}{rest}", prefix.as_str().trim_end_matches('/'));
                if joined.is_empty() { "/".to_owned() } else { joined }
            }
        };
        if let Some(query) = target.query() {
            text.push('?');
            text.push_str(query);
        }
        Target::parse(text.as_bytes(), host).map(Target::into_owned)
    }

    /// Which paths can come out, for requests that `route` serves.
    #[must_use]
    pub fn outcome(&self, route: &PathPattern) -> PathPattern {
        match self {
            Self::Whole(path) => PathPattern::of(path, true),
            Self::Prefix(prefix) => PathPattern::of(prefix, route.is_exact()),
        }
    }
}

impl Rewrite {
    /// What a request for `target` of `host` is sent as.
    ///
    /// # Errors
    /// What would come out has no single reading.
    pub fn apply(&self, route: &PathPattern, target: &Target<'_>, host: &Host) -> Result<Outgoing, TargetError> {
        let target = self.path.as_ref().map(|path| path.apply(route, target, host)).transpose()?;
        Ok(Outgoing { host: self.host.clone(), target })
    }
}

impl Redirect {
    /// The value of `Location` for a request for `target`.
    ///
    /// Begins with an origin of the file or with a single slash, since no canonical path begins with two: it leads to no
    /// host that a request names.
    ///
    /// # Errors
    /// What would come out has no single reading.
    pub fn location(&self, route: &PathPattern, target: &Target<'_>, host: &Host) -> Result<HeaderValue, TargetError> {
        let changed = self.path.as_ref().map(|path| path.apply(route, target, host)).transpose()?;
        let target = changed.as_ref().unwrap_or(target).path_and_query();
        let location = format!("{}{target}", self.origin.as_deref().unwrap_or_default());
        Ok(HeaderValue::try_from(location).expect("origins and targets are visible ASCII"))
    }
}

/// What follows the first `count` segments of a canonical path, with its slash.
fn after(path: &str, count: usize) -> &str {
    if count == 0 {
        return path;
    }
    let slash = path.match_indices('/').nth(count);
    slash.map_or("", |(at, _)| &path[at..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host() -> Host {
        Host::parse("a", 80).expect("a host")
    }

    fn sent(route: &str, rewrite: &PathRewrite, target: &str) -> String {
        let route = PathPattern::parse(route, false).expect("a pattern");
        let target = Target::parse(target.as_bytes(), &host()).expect("a target");
        assert!(route.matches(&target.path()), "{route:?} {target:?}");
        rewrite.apply(&route, &target, &host()).expect("one reading").path_and_query().to_owned()
    }

    fn prefix(text: &str) -> PathRewrite {
        PathRewrite::Prefix(PathPrefix::parse(text).expect("a path"))
    }

    #[test]
    fn a_prefix_is_replaced_by_whole_segments() {
        for (route, to, target, expected) in [
            ("/api", "/", "/api", "/"),
            ("/api", "/", "/api/", "/"),
            ("/api", "/", "/api/users?x=/api", "/users?x=/api"),
            ("/api", "/v2", "/api", "/v2"),
            ("/api", "/v2", "/api/", "/v2/"),
            ("/api", "/v2/", "/api/users/7/", "/v2/users/7/"),
            ("/", "/v2", "/", "/v2/"),
            ("/", "/v2", "/users", "/v2/users"),
            ("/t/{id}/api", "/", "/t/7/api/x", "/x"),
            // Parameters go with the segment that they belong to.
            ("/api", "/", "/api;v=1/x;y=2", "/x;y=2"),
            ("/api", "/", "/%61pi/x%2C", "/x%2C"),
        ] {
            assert_eq!(sent(route, &prefix(to), target), expected, "{route} {target}");
        }
        let whole = PathRewrite::Whole(PathPrefix::parse("/status").expect("a path"));
        assert_eq!(sent("/api", &whole, "/api/x/y?z=1"), "/status?z=1");
    }

    #[test]
    fn a_redirect_leads_to_no_host_that_a_request_names() {
        let route = PathPattern::parse("/old", false).expect("a pattern");
        let redirect = |origin: Option<&str>, path| Redirect { status: StatusCode::FOUND, origin: origin.map(Into::into), path };
        let location = |redirect: &Redirect, target: &str| {
            let target = Target::parse(target.as_bytes(), &host()).expect("a target");
            redirect.location(&route, &target, &host()).expect("one reading").to_str().expect("ASCII").to_owned()
        };
        let here = redirect(None, Some(prefix("/")));
        assert_eq!(location(&here, "/old/evil.example/x?next=//evil.example"), "/evil.example/x?next=//evil.example");
        assert_eq!(location(&here, "/old/@evil.example"), "/@evil.example");
        assert_eq!(location(&here, "/old"), "/");
        let there = redirect(Some("https://new.example"), None);
        assert_eq!(location(&there, "/old/x?y"), "https://new.example/old/x?y");
        for target in ["/old//evil.example", "/old/..//evil.example", "/old/%5cevil.example", "/old/%0d%0aset-cookie:x"] {
            assert!(Target::parse(target.as_bytes(), &host()).is_err(), "{target}");
        }
    }

    proptest! {
        /// Case 73: what comes out is canonical, has the new prefix and keeps the rest.
        #[test]
        fn a_rewrite_brings_about_nothing_that_has_two_readings(
            rest in prop::collection::vec("[a-z.;=%0-9A-F~-]{1,6}", 0..5),
            to in prop::sample::select(vec!["/", "/v2", "/v2/x"]),
        ) {
            let text = format!("/api/{}", rest.join("/"));
            let Ok(target) = Target::parse(text.as_bytes(), &host()) else { return Ok(()) };
            let route = PathPattern::parse("/api", false).expect("a pattern");
            let sent = prefix(to).apply(&route, &target, &host()).expect("one reading");
            let again = Target::parse(sent.path_and_query().as_bytes(), &host()).expect("canonical");
            prop_assert_eq!(again.path_and_query(), sent.path_and_query());
            let kept: Vec<_> = target.path().segments().skip(1).map(std::borrow::Cow::into_owned).collect();
            let segments: Vec<_> = sent.path().segments().map(std::borrow::Cow::into_owned).collect();
            let added = to.split('/').filter(|segment| !segment.is_empty()).count();
            prop_assert_eq!(&segments[added..], &kept[..]);
        }
    }
}
