//! One-time tokens: secrets that a mail or an invitation carries, good for one thing, once.
//!
//! A token is redeemed for a ticket, and the ticket is spent by the deed: what opens the mail (and what scans it)
//! is not what changes the password. Both are 32 random bytes, written base64url; a store keeps only their SHA-256.
//! A hash without salt or stretching is enough, because nobody can guess 256 bits.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use super::user::{Email, UserId};

const SECRET_BYTES: usize = 32;
/// 32 bytes in base64url without padding.
const SECRET_CHARS: usize = 43;

/// SHA-256 of a secret of 256 random bits: what is stored, and looked up, instead of it.
pub type TokenHash = [u8; 32];

/// What a one-time token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OneTimeKind {
    /// Proves that its holder reads an address' mail.
    EmailVerification,
    /// Lets its holder set a new password.
    PasswordReset,
    /// Lets its holder register, with the roles that the inviter chose.
    Invitation,
    /// Lets a user who is signed in prove it again.
    Reauthentication,
}

impl OneTimeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::EmailVerification, Self::PasswordReset, Self::Invitation, Self::Reauthentication];

    /// The kind's word in the API and in stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmailVerification => "email_verification",
            Self::PasswordReset => "password_reset",
            Self::Invitation => "invitation",
            Self::Reauthentication => "reauthentication",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The secret of a one-time token, or of the ticket it is redeemed for.
pub struct OneTimeSecret([u8; SECRET_BYTES]);

impl fmt::Debug for OneTimeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeSecret(redacted)")
    }
}

impl OneTimeSecret {
    /// The secret of these random bytes.
    #[must_use]
    pub fn new(random: [u8; SECRET_BYTES]) -> Self {
        Self(random)
    }

    /// Reads what was presented. None for anything that no secret of ours looks like.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // A longer text cannot be ours; refusing first bounds the work of decoding.
        if text.len() != SECRET_CHARS {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The text to hand out.
    #[must_use]
    pub fn text(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(self.0).into()
    }

    /// What is stored.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        let mut hash = TokenHash::default();
        hash.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        hash
    }
}

impl OneTimeSecret {
    /// The ticket of a token that is presented for the deed itself, without being redeemed first. It follows from the
    /// token, so that a deed that failed for no fault of its caller can be tried again with the same token; a token
    /// that was redeemed for a random ticket never fits it.
    #[must_use]
    pub fn own_ticket(&self) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"portcullis: the own ticket of a one-time token\0");
        context.update(&self.0);
        let mut ticket = [0; SECRET_BYTES];
        ticket.copy_from_slice(context.finish().as_ref());
        Self(ticket)
    }
}

/// A one-time token as it is remembered: issued, then redeemed for a ticket, then spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneTimeToken {
    /// Identifier, for lists and logs. Not a secret.
    pub id: Uuid,
    /// What it is good for.
    pub kind: OneTimeKind,
    /// Whom it is for, if they are registered.
    pub user: Option<UserId>,
    /// The address it was sent to, or that it invites.
    pub email: Option<Email>,
    /// What goes with it, as JSON: the roles of an invitation.
    pub metadata: String,
    /// Who issued it, where a user did. They may be gone.
    pub created_by: Option<UserId>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// From when on it cannot be redeemed any more.
    pub expires_at: Timestamp,
    /// When it was redeemed.
    pub redeemed_at: Option<Timestamp>,
    /// From when on its ticket cannot be spent any more.
    pub ticket_expires_at: Option<Timestamp>,
    /// When its ticket was spent.
    pub spent_at: Option<Timestamp>,
}

impl OneTimeToken {
    /// Whether it can be redeemed at `now`.
    #[must_use]
    pub fn is_redeemable(&self, now: Timestamp) -> bool {
        self.redeemed_at.is_none() && now < self.expires_at
    }

    /// Whether its ticket can be spent at `now`.
    #[must_use]
    pub fn is_spendable(&self, now: Timestamp) -> bool {
        self.spent_at.is_none() && self.ticket_expires_at.is_some_and(|expires_at| now < expires_at)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_written_and_hashes_alike() {
        let secret = OneTimeSecret::new([0xab; 32]);
        let text = secret.text();
        assert_eq!(text.expose_secret().len(), SECRET_CHARS);
        let read = OneTimeSecret::parse(text.expose_secret()).expect("its own text");
        assert_eq!(read.hash(), secret.hash());
        assert_ne!(secret.hash(), OneTimeSecret::new([0xac; 32]).hash());
    }

    #[test]
    fn one_secret_has_one_spelling() {
        let text = OneTimeSecret::new([0; 32]).text();
        let text = text.expose_secret();
        // The last character carries two bits that belong to no byte.
        let other_end = format!("{}B", &text[..SECRET_CHARS - 1]);
        for spelling in
            [other_end, format!("{text}="), format!("{text}\0"), format!(" {text}"), text.replace('A', "+"), String::new()]
        {
            assert!(OneTimeSecret::parse(&spelling).is_none(), "{spelling:?}");
        }
    }

    #[test]
    fn the_own_ticket_follows_from_its_token_and_says_nothing_of_it() {
        let own = |byte| OneTimeSecret::new([byte; 32]).own_ticket().hash();
        assert_eq!(own(7), own(7));
        assert_ne!(own(7), own(8));
        assert_ne!(own(7), OneTimeSecret::new([7; 32]).hash(), "a stolen hash of the token is not the hash of its ticket");
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", OneTimeSecret::new([7; 32])), "OneTimeSecret(redacted)");
    }

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        for kind in OneTimeKind::ALL {
            assert_eq!(OneTimeKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(OneTimeKind::parse("Invitation"), None);
    }

    #[test]
    fn a_token_and_its_ticket_are_good_until_they_expire_or_are_used() {
        let at = |second| Timestamp::from_second(second).expect("an instant");
        let issued = OneTimeToken {
            id: Uuid::nil(),
            kind: OneTimeKind::PasswordReset,
            user: None,
            email: None,
            metadata: "{}".to_owned(),
            created_by: None,
            created_at: at(0),
            expires_at: at(10),
            redeemed_at: None,
            ticket_expires_at: None,
            spent_at: None,
        };
        assert!(issued.is_redeemable(at(9)) && !issued.is_redeemable(at(10)));
        assert!(!issued.is_spendable(at(9)), "it was not redeemed");
        let redeemed = OneTimeToken { redeemed_at: Some(at(9)), ticket_expires_at: Some(at(20)), ..issued };
        assert!(!redeemed.is_redeemable(at(9)));
        assert!(redeemed.is_spendable(at(19)) && !redeemed.is_spendable(at(20)));
        assert!(!OneTimeToken { spent_at: Some(at(15)), ..redeemed }.is_spendable(at(19)));
    }
}
