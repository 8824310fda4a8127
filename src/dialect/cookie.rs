//! Cookies that a dialect sets: never readable by scripts, and as narrow as the system they come from allows.

use std::fmt::Write as _;
use std::time::Duration;

use super::operation::words;
use crate::policy::path::PathPrefix;

/// A cookie as it is set (RFC 6265 §4.1). Always `HttpOnly`, never with a `Domain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieSpec {
    /// Its name.
    pub name: Box<str>,
    /// The paths that the browser sends it to.
    pub path: PathPrefix,
    /// Whether the browser sends it from pages of other sites.
    pub same_site: SameSite,
    /// Whether the browser sends it over TLS only; browsers make an exception for localhost.
    pub secure: bool,
    /// How long the browser keeps it; until it is closed unless given.
    pub max_age: Option<Duration>,
}

words! {
    /// `SameSite` (RFC 6265bis §5.6.7).
    SameSite {
        /// Never from another site.
        Strict = "strict",
        /// From another site when the user follows a link.
        Lax = "lax",
        /// Always.
        None = "none",
    }
}

impl CookieSpec {
    /// The `Set-Cookie` value that sets it. `value` is a token of ours: letters, digits, `-`, `_` and `.`.
    #[must_use]
    pub fn set(&self, value: &str) -> String {
        let mut text = format!("{}={value}", self.name);
        if let Some(age) = self.max_age {
            write!(text, "; Max-Age={}", age.as_secs()).expect("writing to a string cannot fail");
        }
        self.attributes(&mut text);
        text
    }

    /// The `Set-Cookie` value that removes it.
    #[must_use]
    pub fn clear(&self) -> String {
        let mut text = format!("{}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT", self.name);
        self.attributes(&mut text);
        text
    }

    fn attributes(&self, text: &mut String) {
        let same_site = match self.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        let secure = if self.secure { "; Secure" } else { "" };
        write!(text, "; Path={}; HttpOnly{secure}; SameSite={same_site}", self.path.as_str())
            .expect("writing to a string cannot fail");
    }

    /// Whether the browser sends it with requests for `path`.
    pub(super) fn reaches(&self, path: &PathPrefix) -> bool {
        let mut of_path = path.segments();
        self.path.segments().all(|segment| of_path.next().is_some_and(|other| other == segment))
    }

    /// What keeps browsers from accepting it, with what to write instead.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(token) {
            return Some(("name", "is not a cookie's name", "write letters, digits, `-` and `_`, like \"refreshToken\""));
        }
        if self.path.as_str().bytes().any(|byte| byte == b';') {
            return Some(("path", "a cookie's path has no `;`", "write a path like \"/token\""));
        }
        if self.name.starts_with("__Host-") && (!self.secure || self.path.as_str() != "/") {
            return Some(("name", "browsers refuse a `__Host-` cookie that is not secure and for \"/\"", "choose another name"));
        }
        if (self.name.starts_with("__Secure-") || self.same_site == SameSite::None) && !self.secure {
            return Some(("secure", "browsers refuse this cookie unless it is secure", "remove `secure = false`"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie() -> CookieSpec {
        CookieSpec {
            name: "refreshToken".into(),
            path: PathPrefix::parse("/").unwrap(),
            same_site: SameSite::Strict,
            secure: true,
            max_age: Some(Duration::from_hours(24 * 7)),
        }
    }

    #[test]
    fn a_cookie_is_set_and_removed() {
        assert_eq!(cookie().set("x.y"), "refreshToken=x.y; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Strict");
        let expected =
            "refreshToken=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; Secure; SameSite=Strict";
        assert_eq!(cookie().clear(), expected);
        let plain = CookieSpec { secure: false, same_site: SameSite::Lax, max_age: None, ..cookie() };
        assert_eq!(plain.set("x"), "refreshToken=x; Path=/; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn a_cookie_that_browsers_refuse_is_told() {
        let path = PathPrefix::parse("/a").unwrap();
        for (cookie, at) in [
            (CookieSpec { name: "a b".into(), ..cookie() }, Some("name")),
            (CookieSpec { name: "a=b".into(), ..cookie() }, Some("name")),
            (CookieSpec { name: "".into(), ..cookie() }, Some("name")),
            (CookieSpec { name: "__Host-r".into(), path, ..cookie() }, Some("name")),
            (CookieSpec { name: "__Host-r".into(), ..cookie() }, None),
            (CookieSpec { same_site: SameSite::None, secure: false, ..cookie() }, Some("secure")),
            (CookieSpec { secure: false, ..cookie() }, None),
        ] {
            assert_eq!(cookie.fault().map(|(key, ..)| key), at, "{cookie:?}");
        }
    }

    #[test]
    fn a_cookie_reaches_its_path_and_what_is_below() {
        let path = |text| PathPrefix::parse(text).unwrap();
        let renew = CookieSpec { path: path("/token/renew"), ..cookie() };
        assert!(renew.reaches(&path("/token/renew")) && renew.reaches(&path("/token/renew/x")));
        assert!(!renew.reaches(&path("/token")) && !renew.reaches(&path("/token/renewal")) && cookie().reaches(&path("/")));
    }
}
