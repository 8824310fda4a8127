//! Users: names, addresses and roles, what they may look like and when two of them are the same.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

/// A user's stable identifier: the `sub` of our tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub Uuid);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A person or program that can sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Stable identifier.
    pub id: UserId,
    /// At least one of `username` and `email` is set.
    pub username: Option<Username>,
    /// At least one of `username` and `email` is set.
    pub email: Option<Email>,
    /// When the user was last proved to read the mail of `email`.
    pub email_verified_at: Option<Timestamp>,
    /// Profile, free text.
    pub given_name: Option<String>,
    /// Profile, free text.
    pub family_name: Option<String>,
    /// What the user may do.
    pub roles: BTreeSet<Role>,
    /// Set while the user may not sign in, refresh or be proxied.
    pub disabled_at: Option<Timestamp>,
    /// When the user registered.
    pub created_at: Timestamp,
}

/// Why a name, address or role is not acceptable. Shown to the person who typed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// Longer than the limit, in bytes of UTF-8.
    #[error("must be at most {0} bytes long")]
    TooLong(usize),
    /// A control character, or white space at either end.
    #[error("must not contain control characters, or white space at its ends")]
    Characters,
    /// A user name with an `@` could be taken for an address.
    #[error("must not contain `@`")]
    At,
    /// Not of the form `local@domain`.
    #[error("must be an e-mail address like ada@example.com")]
    Address,
    /// Not lower-case letters, digits, `-`, `_`, `:` or `.`.
    #[error("must consist of letters, digits, `-`, `_`, `:` or `.`")]
    Role,
    /// Not visible ASCII, or with a quote or a backslash.
    #[error("must consist of visible ASCII characters without quotes and backslashes")]
    Scope,
}

/// A name to sign in with: kept as typed, unique regardless of case and of Unicode spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username {
    typed: String,
    canonical: String,
}

/// An e-mail address: kept as typed, unique regardless of case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    typed: String,
    canonical: String,
}

/// A role: `[A-Za-z0-9._:-]{1,64}`, so that it can stand in a header's comma-separated list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role(String);

/// Names longer than this serve nobody and bloat every header and log line.
const USERNAME_BYTES_MAX: usize = 128;
/// RFC 5321 §4.5.3.1.3: a path is at most 256 octets, 254 without its angle brackets.
const EMAIL_BYTES_MAX: usize = 254;
const ROLE_BYTES_MAX: usize = 64;

/// NFKC, then lower case: one form for all spellings that a person takes for the same name.
pub(super) fn canonical(typed: &str) -> String {
    typed.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

fn plain(typed: &str, bytes_max: usize) -> Result<(), NameError> {
    if typed.trim().is_empty() {
        return Err(NameError::Empty);
    }
    if typed.len() > bytes_max {
        return Err(NameError::TooLong(bytes_max));
    }
    if typed.trim() != typed || typed.chars().any(char::is_control) {
        return Err(NameError::Characters);
    }
    Ok(())
}

impl Username {
    /// Accepts 1 to 128 bytes without control characters, surrounding white space or `@`.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(typed: &str) -> Result<Self, NameError> {
        plain(typed, USERNAME_BYTES_MAX)?;
        let canonical = canonical(typed);
        if canonical.contains('@') {
            return Err(NameError::At);
        }
        Ok(Self { typed: typed.to_owned(), canonical })
    }

    /// As typed at registration.
    #[must_use]
    pub fn as_typed(&self) -> &str {
        &self.typed
    }

    /// The form that is unique.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl Email {
    /// Accepts `local@domain` with exactly one `@`, no white space, and a dotted or single-label domain.
    /// Deliverability is proved by mail, not by syntax.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(typed: &str) -> Result<Self, NameError> {
        plain(typed, EMAIL_BYTES_MAX)?;
        let (local, domain) = typed.split_once('@').ok_or(NameError::Address)?;
        let domain_ok = idna::domain_to_ascii_strict(domain).is_ok_and(|ascii| !ascii.is_empty());
        let quoted_or_spaced = local.chars().any(|c| c.is_whitespace() || "\"(),:;<>@[\\]".contains(c));
        if local.is_empty() || quoted_or_spaced || !domain_ok {
            return Err(NameError::Address);
        }
        Ok(Self { typed: typed.to_owned(), canonical: canonical(typed) })
    }

    /// As typed at registration.
    #[must_use]
    pub fn as_typed(&self) -> &str {
        &self.typed
    }

    /// The form that is unique.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl Role {
    /// Accepts 1 to 64 of `A-Z a-z 0-9 . _ : -`.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > ROLE_BYTES_MAX {
            return Err(NameError::TooLong(ROLE_BYTES_MAX));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b)) {
            return Err(NameError::Role);
        }
        Ok(Self(text.to_owned()))
    }

    /// The role's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a person types to say who they are: a user name, or an address if it has an `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginName {
    /// Looked up by canonical user name.
    Username(Username),
    /// Looked up by canonical address.
    Email(Email),
}

impl LoginName {
    /// Text with an `@` is an address, any other text a user name.
    ///
    /// # Errors
    /// The text could not have been registered, so no user can have it.
    pub fn parse(typed: &str) -> Result<Self, NameError> {
        if typed.contains('@') { Email::parse(typed).map(Self::Email) } else { Username::parse(typed).map(Self::Username) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_is_kept_as_typed_and_compared_without_case_or_width() {
        let typed = Username::parse("Ａda").expect("full-width letters are letters");
        assert_eq!(typed.as_typed(), "Ａda");
        assert_eq!(typed.canonical(), Username::parse("aDA").expect("plain").canonical());
    }

    #[test]
    fn a_user_name_is_refused_with_the_rule_it_breaks() {
        for (typed, rule) in [
            ("", NameError::Empty),
            ("  ", NameError::Empty),
            (" ada", NameError::Characters),
            ("ada\0", NameError::Characters),
            ("a\nb", NameError::Characters),
            ("ada@example", NameError::At),
            ("ada＠example", NameError::At),
        ] {
            assert_eq!(Username::parse(typed), Err(rule), "{typed:?}");
        }
        assert!(Username::parse(&"x".repeat(128)).is_ok());
        assert_eq!(Username::parse(&"x".repeat(129)), Err(NameError::TooLong(128)));
    }

    #[test]
    fn an_address_has_one_at_sign_and_a_real_domain() {
        assert!(Email::parse("Ada@Example.com").is_ok());
        assert!(Email::parse("ada@localhost").is_ok());
        for typed in ["a@b@c", "@b", "a@", "a b@c.d", "\"a\"@b.c", "a@b c", "ada", "a@-b.c"] {
            assert_eq!(Email::parse(typed), Err(NameError::Address), "{typed:?}");
        }
        assert_eq!(Email::parse("a\0@b.c"), Err(NameError::Characters));
    }

    #[test]
    fn a_role_fits_a_header_list() {
        assert!(Role::parse("billing:read").is_ok());
        for text in ["", "a,b", "a b", "rôle", "a\n"] {
            assert!(Role::parse(text).is_err(), "{text:?}");
        }
    }
}
