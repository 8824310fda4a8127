//! Refresh tokens: one chain per session, whose links are computed and never stored.
//!
//! A token is `session id ‖ generation ‖ HMAC-SHA-256(key, label ‖ session id ‖ generation ‖ nonce)`,
//! base64url. Rotation moves the session's generation by compare-and-swap; whoever holds the predecessor
//! within the grace window is given the *same* successor, because it can be recomputed. A stolen database
//! holds no key and so no token (RFC 9700 §4.14.2).
//!
//! Where clients have no way to receive a successor, the token *stands*: it is good until it expires, and another label
//! says so. A token that rotates is none that stands, or whoever stole one could use it where nobody would notice.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use super::session::{Session, SessionId};

const LABEL: &[u8] = b"portcullis refresh token v1";
const STANDING_LABEL: &[u8] = b"portcullis standing refresh token v1";
const JTI_LABEL: &[u8] = b"portcullis access token id v1";
const ID_BYTES: usize = 16;
const GENERATION_BYTES: usize = 4;
const MAC_BYTES: usize = 32;
const TOKEN_BYTES: usize = ID_BYTES + GENERATION_BYTES + MAC_BYTES;

/// The server's key under which refresh tokens are computed. Whoever has it and the database has every token.
pub struct RefreshKey(aws_lc_rs::hmac::Key);

impl fmt::Debug for RefreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshKey(redacted)")
    }
}

/// What a presented refresh token claims, not yet proved: the MAC needs the session's nonce.
pub struct PresentedRefreshToken {
    session: SessionId,
    generation: u32,
    mac: [u8; MAC_BYTES],
}

impl fmt::Debug for PresentedRefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedRefreshToken").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Why a refresh token gets no successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefreshRefusal {
    /// Not a token of this gateway, or of this session.
    #[error("not a refresh token of this gateway")]
    Forged,
    /// The session ended, by logout or otherwise.
    #[error("the session has ended")]
    Ended,
    /// The refresh token or the session reached its end.
    #[error("the refresh token has expired")]
    Expired,
}

/// What a proved refresh token leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The current token: move to `to` by compare-and-swap.
    Advance {
        /// The next generation.
        to: u32,
    },
    /// The predecessor within the grace window: hand out the current generation again.
    Repeat,
    /// An older token: someone else holds a copy. The session must end.
    Reuse,
}

impl RefreshKey {
    /// A key of at least 32 bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bytes))
    }

    /// A key for something else, that says nothing about this one nor about those for other `purpose`s: HKDF-Expand
    /// (RFC 5869 §2.3); this key is random already, so there is nothing to extract (§3.3).
    #[must_use]
    pub fn derived(&self, purpose: &[u8]) -> [u8; 32] {
        let mut context = aws_lc_rs::hmac::Context::with_key(&self.0);
        context.update(purpose);
        context.update(&[1]);
        context.sign().as_ref().try_into().expect("SHA-256 gives 32 bytes")
    }

    fn mac(&self, label: &[u8], session: SessionId, generation: u32, nonce: &[u8; 16]) -> [u8; MAC_BYTES] {
        let mut context = aws_lc_rs::hmac::Context::with_key(&self.0);
        context.update(label);
        context.update(session.0.as_bytes());
        context.update(&generation.to_be_bytes());
        context.update(nonce);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    /// The refresh token of `generation`.
    #[must_use]
    pub fn token(&self, session: SessionId, generation: u32, nonce: &[u8; 16]) -> SecretString {
        self.labelled(LABEL, session, generation, nonce)
    }

    /// The refresh token of `generation` that may be used again and again.
    #[must_use]
    pub fn standing_token(&self, session: SessionId, generation: u32, nonce: &[u8; 16]) -> SecretString {
        self.labelled(STANDING_LABEL, session, generation, nonce)
    }

    fn labelled(&self, label: &[u8], session: SessionId, generation: u32, nonce: &[u8; 16]) -> SecretString {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..ID_BYTES].copy_from_slice(session.0.as_bytes());
        bytes[ID_BYTES..ID_BYTES + GENERATION_BYTES].copy_from_slice(&generation.to_be_bytes());
        bytes[ID_BYTES + GENERATION_BYTES..].copy_from_slice(&self.mac(label, session, generation, nonce));
        URL_SAFE_NO_PAD.encode(bytes).into()
    }

    /// The `jti` of the access token issued with `generation`: recomputable, so that a repeated refresh
    /// answers with the same token instead of minting another.
    #[must_use]
    pub fn access_token_id(&self, session: SessionId, generation: u32, nonce: &[u8; 16]) -> Uuid {
        let mac = self.mac(JTI_LABEL, session, generation, nonce);
        let mut id = [0; 16];
        id.copy_from_slice(&mac[..16]);
        uuid::Builder::from_custom_bytes(id).into_uuid()
    }
}

impl PresentedRefreshToken {
    /// Reads the claims of a token.
    ///
    /// # Errors
    /// [`RefreshRefusal::Forged`] for anything that this gateway cannot have issued.
    pub fn parse(text: &str) -> Result<Self, RefreshRefusal> {
        // A longer text cannot be ours; refusing first bounds the work of decoding.
        if text.len() != TOKEN_BYTES.div_ceil(3) * 4 - 2 {
            return Err(RefreshRefusal::Forged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| RefreshRefusal::Forged)?;
        let bytes: [u8; TOKEN_BYTES] = bytes.try_into().map_err(|_| RefreshRefusal::Forged)?;
        let (mut id, mut generation, mut mac) = ([0; ID_BYTES], [0; GENERATION_BYTES], [0; MAC_BYTES]);
        id.copy_from_slice(&bytes[..ID_BYTES]);
        generation.copy_from_slice(&bytes[ID_BYTES..ID_BYTES + GENERATION_BYTES]);
        mac.copy_from_slice(&bytes[ID_BYTES + GENERATION_BYTES..]);
        Ok(Self { session: SessionId(Uuid::from_bytes(id)), generation: u32::from_be_bytes(generation), mac })
    }

    /// Which session to look up. A claim until [`Self::decide`] has proved it.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Whether it is a genuine token that may be used again and again.
    #[must_use]
    pub fn stands(&self, key: &RefreshKey, session: &Session) -> bool {
        self.has_label(STANDING_LABEL, key, session)
    }

    fn has_label(&self, label: &[u8], key: &RefreshKey, session: &Session) -> bool {
        let expected = key.mac(label, self.session, self.generation, &session.nonce);
        session.id == self.session && aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &self.mac).is_ok()
    }

    /// Proves the token, standing or not, against its session and decides what it leads to where tokens rotate.
    ///
    /// # Errors
    /// The token gets no successor; the session is left as it is.
    pub fn decide(
        &self,
        key: &RefreshKey,
        session: &Session,
        now: Timestamp,
        grace: Duration,
    ) -> Result<Rotation, RefreshRefusal> {
        let genuine = self.has_label(LABEL, key, session) || self.stands(key, session);
        // A generation from the future is genuine only after the database was restored from an older copy.
        if !genuine || self.generation > session.generation {
            return Err(RefreshRefusal::Forged);
        }
        if session.ended_at.is_some() {
            return Err(RefreshRefusal::Ended);
        }
        if now >= session.ends_at || now >= session.refresh_expires_at {
            return Err(RefreshRefusal::Expired);
        }
        let behind = session.generation - self.generation;
        let in_grace = now < session.rotated_at + grace;
        Ok(match behind {
            0 => Rotation::Advance { to: session.generation.checked_add(1).ok_or(RefreshRefusal::Expired)? },
            1 if in_grace => Rotation::Repeat,
            _ => Rotation::Reuse,
        })
    }
}

#[cfg(test)]
mod tests;
