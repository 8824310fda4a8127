//! WHO: users, passwords, sessions and tokens as pure rules. No I/O, no async, no clock: instants and
//! randomness come in as arguments. No domain type is serialisable; wire, row and file have their own twins.

pub mod access_token;
mod hashing;
mod jose;
mod key_material;
pub mod one_time_token;
pub mod password;
pub mod refresh_token;
pub mod session;
pub mod signing_keys;
pub mod user;

use std::sync::Arc;

use jiff::Timestamp;

/// Whom a verified access token speaks for. What upstreams are told, and what policies decide on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who vouches for `subject` (JWT `iss`).
    pub issuer: Arc<str>,
    /// The subject, unique per issuer (JWT `sub`): a [`user::UserId`] for our own tokens.
    pub subject: Box<str>,
    /// The name the user signs in with, as typed at registration.
    pub username: Option<Box<str>>,
    /// The e-mail address, as typed.
    pub email: Option<Box<str>>,
    /// What the principal may do, sorted, without repeats.
    pub roles: Box<[Box<str>]>,
    /// The session (JWT `sid`).
    pub session: session::SessionId,
    /// When the principal last proved a credential (JWT `auth_time`).
    pub auth_time: Timestamp,
}

/// What identifies a token for revocation: nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// JWT `iss`.
    pub issuer: Arc<str>,
    /// JWT `jti`.
    pub jti: Box<str>,
    /// JWT `sid`.
    pub session: session::SessionId,
    /// JWT `sub`.
    pub subject: Box<str>,
    /// JWT `iat`, whole seconds.
    pub issued_at: Timestamp,
    /// JWT `exp`, whole seconds.
    pub expires_at: Timestamp,
}

/// A caller whose access token was verified: signature, times, issuer, audience. Whether it was revoked since
/// is for `revocation` to say.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whom the token speaks for.
    pub principal: Principal,
    /// What identifies the token for revocation.
    pub token: TokenFacts,
}
