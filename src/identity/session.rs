//! Sessions: one login, from credentials to its end. A session owns one chain of refresh tokens and every
//! access token issued from it.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::user::UserId;

/// A session's identifier: the `sid` of its access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub Uuid);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Identifier.
    pub id: SessionId,
    /// Whose login it is.
    pub user: UserId,
    /// When it began.
    pub created_at: Timestamp,
    /// When the credentials were last proved: at the login, or again since.
    pub authenticated_at: Timestamp,
    /// The end that no refresh can move (`session_max`).
    pub ends_at: Timestamp,
    /// Set once the session has ended: logout, reuse, revocation.
    pub ended_at: Option<Timestamp>,
    /// Which refresh token of the chain is current; the first is 0.
    pub generation: u32,
    /// When the current generation was issued.
    pub rotated_at: Timestamp,
    /// When the current refresh token expires.
    pub refresh_expires_at: Timestamp,
    /// Random bytes that enter every refresh token's MAC, so that no two sessions share a chain.
    pub nonce: [u8; 16],
    /// Where the login came from.
    pub address: Option<IpAddr>,
    /// The `User-Agent` of the login, cut to 256 bytes.
    pub agent: Option<String>,
}
