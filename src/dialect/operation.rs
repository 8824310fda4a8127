//! What a route can do, what each operation takes and what it yields: the tables that every dialect is checked against.

use super::place::PlaceKind;
use super::route::DialectRoute;
use super::template::{UserField, ValueName};

/// An enumeration whose variants have a word in the configuration.
macro_rules! words {
    ($(#[$doc:meta])+ $name:ident { $($(#[$variant_doc:meta])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])+ $variant,)+ }

        impl $name {
            /// Every one, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What the configuration calls it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The one that the configuration calls so.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }
    };
}

pub(super) use words;

words! {
    /// What a route performs.
    Operation {
        /// Name and password for tokens.
        Login = "login",
        /// Makes a user.
        Signup = "signup",
        /// A refresh token for an access token.
        Refresh = "refresh",
        /// Ends a session, named by any of its tokens.
        Logout = "logout",
        /// Says whether an access token is good.
        Verify = "verify",
        /// Users, without hashes.
        ListUsers = "list_users",
        /// Whether name and password match; no tokens.
        CheckPassword = "check_password",
        /// Mails a one-time token.
        CreateOneTimeToken = "create_one_time_token",
        /// A one-time token for a ticket.
        RedeemOneTimeToken = "redeem_one_time_token",
        /// A ticket and a new password.
        ResetPassword = "reset_password",
        /// A ticket that proves an address.
        VerifyEmail = "verify_email",
        /// That the gateway answers.
        Health = "health",
    }
}

words! {
    /// What operations take.
    Input {
        /// A user name.
        Username = "username",
        /// An address.
        Email = "email",
        /// A user name or an address.
        Identifier = "identifier",
        /// A password.
        Password = "password",
        /// The password once more; must equal it.
        PasswordAgain = "password_again",
        /// Profile.
        GivenName = "given_name",
        /// Profile.
        FamilyName = "family_name",
        /// Roles that a new user asks for.
        Roles = "roles",
        /// What redeeming a one-time token yielded.
        Ticket = "ticket",
        /// A refresh token.
        RefreshToken = "refresh_token",
        /// `logout`: any token of the session. `redeem_one_time_token`: the one-time token.
        Token = "token",
        /// The caller's access token; `bearer` unless set.
        AccessToken = "access_token",
        /// The kind of one-time token.
        Kind = "kind",
        /// Whom a one-time token is for.
        UserId = "user_id",
        /// A JSON object that the one-time token carries.
        Metadata = "metadata",
        /// The password to set.
        NewPassword = "new_password",
    }
}

/// The inputs by which login finds a user.
pub(super) const LOGIN_NAMES: &[Input] = &[Input::Username, Input::Email, Input::Identifier];
/// The inputs by which a new user may be called.
pub(super) const SIGNUP_NAMES: &[Input] = &[Input::Username, Input::Email];

impl Operation {
    /// Everything it can be told.
    #[must_use]
    pub const fn inputs(self) -> &'static [Input] {
        use Input::*;
        match self {
            Self::Login | Self::CheckPassword => &[Username, Email, Identifier, Password],
            Self::Signup => &[Username, Email, Password, PasswordAgain, GivenName, FamilyName, Roles, Ticket],
            Self::Refresh => &[RefreshToken],
            Self::Logout | Self::RedeemOneTimeToken => &[Token],
            Self::Verify | Self::ListUsers => &[AccessToken],
            Self::CreateOneTimeToken => &[Kind, UserId, Email, Metadata, AccessToken],
            Self::ResetPassword => &[Ticket, NewPassword],
            Self::VerifyEmail => &[Ticket],
            Self::Health => &[],
        }
    }

    /// What a route must say the place of; of each group, at least one.
    pub(super) const fn must_be_told(self) -> &'static [&'static [Input]] {
        use Input::*;
        match self {
            Self::Login | Self::CheckPassword => &[LOGIN_NAMES, &[Password]],
            Self::Signup => &[SIGNUP_NAMES, &[Password]],
            Self::Refresh => &[&[RefreshToken]],
            Self::Logout | Self::RedeemOneTimeToken => &[&[Token]],
            Self::CreateOneTimeToken => &[&[Kind]],
            Self::ResetPassword => &[&[Ticket], &[NewPassword]],
            Self::VerifyEmail => &[&[Ticket]],
            Self::Verify | Self::ListUsers | Self::Health => &[],
        }
    }

    /// Whether a `GET` may perform it. Links are followed by whoever sees them (RFC 9110 §9.2.1); redeeming is the
    /// exception, because the link in a mail is how a one-time token comes back.
    pub(super) const fn may_be_got(self) -> bool {
        matches!(self, Self::Verify | Self::ListUsers | Self::Health | Self::RedeemOneTimeToken)
    }
}

impl Input {
    /// Where it may be. Whatever is in a URL ends up in logs and histories, so no password and no token of a session
    /// is (RFC 9700 §4.3.2); a cookie is sent by the browser unasked, so it carries only what the gateway put there.
    pub(super) const fn may_be_in(self, operation: Operation) -> &'static [PlaceKind] {
        use PlaceKind::*;
        match (self, operation) {
            (Self::AccessToken, _) => &[Bearer],
            (Self::RefreshToken, _) | (Self::Token, Operation::Logout) => &[Bearer, Body, Cookie],
            (Self::Password | Self::PasswordAgain | Self::NewPassword, _) => &[Body],
            (Self::Ticket, _) => &[Cookie, Body],
            _ => &[Body, Query],
        }
    }
}

/// Whether a successful answer of `route` can carry the value.
pub(super) fn yields(route: &DialectRoute, value: ValueName) -> bool {
    use ValueName::*;
    let tokens = matches!(value, AccessToken | RefreshToken | TokenType | ExpiresIn | RefreshExpiresIn);
    match route.operation {
        Operation::Login => tokens || matches!(value, User(_)),
        Operation::Signup => matches!(value, User(_)) || (tokens && route.signs_in),
        Operation::Refresh => tokens,
        Operation::Verify => match value {
            Claims => true,
            // What an access token says; it does not say the profile.
            User(field) => !matches!(field, UserField::GivenName | UserField::FamilyName),
            _ => false,
        },
        // Whoever may not be known to the gateway learns names and nothing else.
        Operation::ListUsers => matches!(value, Item(field) if !route.public || field == UserField::Username),
        Operation::CheckPassword => matches!(value, User(_)),
        Operation::CreateOneTimeToken => matches!(value, Kind),
        Operation::RedeemOneTimeToken => matches!(value, Kind | Metadata),
        Operation::Logout | Operation::ResetPassword | Operation::VerifyEmail | Operation::Health => false,
    }
}
