//! The link in a mail that carries a one-time token.

use http::Uri;

/// A URL with `$token` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    before: Box<str>,
    after: Box<str>,
}

/// The text is not a link that can carry a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No `$token`, or several.
    #[error("has not exactly one $token")]
    Token,
    /// Not an absolute URL, or the token is not behind its host.
    #[error("is not a web address with $token in its path or query")]
    Url,
    /// The mail's reader would send the token in clear.
    #[error("would send the token without TLS")]
    Clear,
}

const TOKEN: &str = "$token";

impl Link {
    /// Reads `https://app.example.com/verify?token=$token`. Without TLS only this very machine can be meant.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn parse(text: &str) -> Result<Self, LinkError> {
        let (before, after) = text.split_once(TOKEN).ok_or(LinkError::Token)?;
        if after.contains(TOKEN) {
            return Err(LinkError::Token);
        }
        // The part after `#` is not sent to servers, and is no part of an `http::Uri`.
        let uri: Uri = format!("{before}x{after}").split('#').next().unwrap_or_default().parse().map_err(|_| LinkError::Url)?;
        let host = uri.host().ok_or(LinkError::Url)?;
        let behind_host = before.split("://").nth(1).is_some_and(|rest| rest.contains(['/', '?', '#']));
        let clean = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>".contains(&byte));
        match uri.scheme_str() {
            Some("https" | "http") if !behind_host || !clean => Err(LinkError::Url),
            Some("http") if !["localhost", "127.0.0.1", "[::1]"].contains(&host) => Err(LinkError::Clear),
            Some("https" | "http") => Ok(Self { before: before.into(), after: after.into() }),
            _ => Err(LinkError::Url),
        }
    }

    /// The link with a token, which must consist of URL-safe characters, as ours do.
    #[must_use]
    pub fn with(&self, token: &str) -> String {
        format!("{}{token}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_one_token_behind_its_host() {
        let link = Link::parse("https://your-app.com/auth/verify?token=$token&x=1").unwrap();
        assert_eq!(link.with("abc"), "https://your-app.com/auth/verify?token=abc&x=1");
        assert!(Link::parse("https://a.example/verify#$token").is_ok() && Link::parse("http://localhost:3000/$token").is_ok());
        for (text, error) in [
            ("https://a.example/", LinkError::Token),
            ("https://a.example/$token/$token", LinkError::Token),
            ("https://$token.example/", LinkError::Url),
            ("/verify?token=$token", LinkError::Url),
            ("javascript:alert('$token')", LinkError::Url),
            ("https://a.example/\"$token", LinkError::Url),
            ("http://a.example/?t=$token", LinkError::Clear),
        ] {
            assert_eq!(Link::parse(text), Err(error), "{text}");
        }
    }
}
