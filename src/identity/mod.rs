//! WHO: users, passwords, sessions and tokens as pure rules. No I/O, no async, no clock: instants and
//! randomness come in as arguments. No domain type is serialisable; wire, row and file have their own twins.

pub mod access_token;
pub mod block_list;
pub mod client_assertion;
pub mod foreign_token;
mod hashing;
mod jose;
mod kept;
mod key_material;
pub mod machine_secret;
pub mod one_time_token;
pub mod password;
pub mod public_keys;
pub mod refresh_token;
pub mod scope;
pub mod session;
pub mod signing_keys;
pub mod user;

use std::sync::Arc;

use jiff::Timestamp;

pub use kept::Kept;

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
    /// What the credential may be used for, sorted, without repeats.
    pub scopes: Box<[Box<str>]>,
    /// The session (JWT `sid`).
    pub session: session::SessionId,
    /// When the principal last proved a credential (JWT `auth_time`).
    pub auth_time: Timestamp,
    /// What was proved with it.
    pub credential: Credential,
}

/// What a principal holds, which bounds what it may ask of the gateway itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An access token of a session in which a user signed in.
    Session,
    /// An access token that a client was given in its own name: `subject` is the client's id.
    Client,
    /// A user's API key: `session` is the key's id.
    ApiKey,
    /// A token of another issuer: `subject` is the name there. It has no account here.
    Foreign,
}

/// What identifies a token for revocation: nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// JWT `iss`.
    pub issuer: Arc<str>,
    /// What it is revoked by: JWT `jti`; for a token of another issuer a hash that follows from issuer and `jti`.
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

impl TokenFacts {
    /// When the holder was given it. An API key's facts count as issued when they were read, so that what ends its
    /// owner's tokens makes it be read again; the key itself is older.
    #[must_use]
    pub fn issued_to_owner(&self, principal: &Principal) -> Timestamp {
        if principal.credential == Credential::ApiKey { principal.auth_time } else { self.issued_at }
    }
}

/// A caller whose access token was verified: signature, times, issuer, audience. Whether it was revoked since
/// is for `revocation` to say.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whom the token speaks for.
    pub principal: Principal,
    /// What identifies the token for revocation.
    pub token: TokenFacts,
    /// What is made of it once for all its requests.
    pub kept: Kept,
}
