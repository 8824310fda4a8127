//! What each operation is told, complete and typed, and what is said about a request that does not tell it.

use std::borrow::Cow;
use std::fmt;

use secrecy::SecretString;
use serde_json::Value;

use super::operation::Input;

/// What each operation is told.
#[derive(Debug)]
pub enum Inputs {
    /// Signs in; with the route's `signs_up`, an unknown name is a new user.
    Login(Credentials),
    /// Makes a user; with the route's `signs_in`, signs in.
    Signup(NewUser),
    /// Exchanges a refresh token.
    Refresh {
        /// The refresh token.
        refresh_token: SecretString,
    },
    /// Ends a session.
    Logout {
        /// Any token of it: its form says which.
        token: SecretString,
    },
    /// Judges an access token.
    Verify {
        /// The access token.
        access_token: SecretString,
    },
    /// Lists users.
    ListUsers {
        /// Who asks; none only on a public route.
        access_token: Option<SecretString>,
    },
    /// Compares a password.
    CheckPassword(Credentials),
    /// Mails a one-time token.
    CreateOneTimeToken {
        /// As sent.
        kind: String,
        /// As sent.
        user_id: Option<String>,
        /// As sent.
        email: Option<String>,
        /// A JSON object.
        metadata: Option<Value>,
        /// Who asks, if anybody says so: which kinds need it is the operation's to say.
        access_token: Option<SecretString>,
    },
    /// Exchanges a one-time token for a ticket.
    RedeemOneTimeToken {
        /// The one-time token.
        token: SecretString,
    },
    /// Sets a password.
    ResetPassword {
        /// The ticket.
        ticket: SecretString,
        /// The password to set.
        new_password: SecretString,
    },
    /// Proves an address.
    VerifyEmail {
        /// The ticket.
        ticket: SecretString,
    },
    /// Nothing is needed.
    Health,
}

/// Name and password.
#[derive(Debug)]
pub struct Credentials {
    /// A user name or an address.
    pub name: String,
    /// Which of the two the route takes it for.
    pub name_is: Input,
    /// The password.
    pub password: SecretString,
}

/// A user to be made.
#[derive(Debug)]
pub struct NewUser {
    /// As sent.
    pub username: Option<String>,
    /// As sent.
    pub email: Option<String>,
    /// The password; if it was sent twice, the two were equal.
    pub password: SecretString,
    /// Profile.
    pub given_name: Option<String>,
    /// Profile.
    pub family_name: Option<String>,
    /// Roles asked for: to be refused unless the dialect's `signup_roles` has them, or the ticket grants them.
    pub roles: Vec<String>,
    /// The ticket of an invitation.
    pub ticket: Option<SecretString>,
}

/// A request without the inputs that its operation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedInputs {
    /// The word of the refusal: `malformed`, `invalid`, `missing_token`, `bad_token` or `bad_ticket`.
    pub code: &'static str,
    /// With `invalid`, the inputs that break rules.
    pub faults: Vec<InputFault>,
}

/// An input that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFault {
    /// Our name of it; templates show the client's.
    pub input: Cow<'static, str>,
    /// The rule, to be read after the name: `must be a string`. One that begins with a capital is a sentence by itself.
    pub rule: Cow<'static, str>,
}

impl InputFault {
    /// An input breaks a rule.
    pub fn new(input: impl Into<Cow<'static, str>>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self { input: input.into(), rule: rule.into() }
    }

    /// The rule as a sentence about the field that the client calls `name`.
    pub(super) fn sentence(&self, name: &str) -> String {
        if self.rule.starts_with(|first: char| first.is_uppercase()) {
            self.rule.to_string()
        } else {
            format!("{} {}", Label(name), self.rule)
        }
    }
}

/// `confirmPassword` for people: `Confirm password`.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, char) in self.0.char_indices() {
            match char {
                _ if at == 0 => write!(f, "{}", char.to_uppercase())?,
                '_' | '-' => f.write_str(" ")?,
                _ if char.is_uppercase() => write!(f, " {}", char.to_lowercase())?,
                _ => write!(f, "{char}")?,
            }
        }
        Ok(())
    }
}
