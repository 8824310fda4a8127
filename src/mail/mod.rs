//! Mail: what the gateway writes to people, and how it gets to a mail server.
//!
//! Use cases know [`Mailer`] and [`Letter`] only. `outbox` is the mailer that sends: it holds a bounded number of
//! letters, off the path of any request, and tries each until it is taken, refused or of no use any more.
//! `templates` words a letter, `message` makes it a mail, `smtp` and `files` carry it. Addresses and names become
//! header fields only through lettre's types, so that none can bring a header of its own.

pub mod files;
mod message;
pub mod outbox;
mod pace;
pub mod smtp;
pub mod templates;

use std::fmt;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::identity::user::Email;
pub use message::{Mail, Sender};

/// What a letter is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterKind {
    /// How to choose a new password.
    PasswordReset,
    /// How to prove that the address is one's own.
    EmailVerification,
    /// How to register.
    Invitation,
    /// How to prove again who one is.
    Reauthentication,
}

impl LetterKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::PasswordReset, Self::EmailVerification, Self::Invitation, Self::Reauthentication];

    /// Its name, and that of its templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::EmailVerification => "email_verification",
            Self::Invitation => "invitation",
            Self::Reauthentication => "reauthentication",
        }
    }
}

/// What is to be said, except to whom: that is what the [`Postage`] is for.
#[derive(Debug)]
pub struct Letter {
    /// What it is about.
    pub kind: LetterKind,
    /// What its reader is called, if that is known.
    pub name: Option<String>,
    /// The link that it is sent for. Whoever has it can use it.
    pub link: SecretString,
    /// When the link stops working, and the letter with it.
    pub expires_at: Timestamp,
}

/// Takes letters to be sent.
pub trait Mailer: Send + Sync {
    /// Whether mail is sent at all.
    fn is_on(&self) -> bool;

    /// A place for one letter to this address. To be taken before what the letter is about is done: a letter that
    /// is not sent must not have killed the link in the one before it.
    ///
    /// # Errors
    /// See [`NoPostage`].
    fn reserve(&self, to: &Email) -> Result<Postage, NoPostage>;
}

/// Why no letter can be sent to an address now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPostage {
    /// The gateway is not configured to send mail.
    #[error("this gateway sends no mail")]
    Off,
    /// The address had as many letters as it may have for now.
    #[error("this address was sent enough mail for now")]
    TooMany,
    /// Too many letters wait to be sent.
    #[error("too much mail is waiting to be sent")]
    Full,
}

/// A place for one letter to one address, given back if it is not used.
pub struct Postage(Box<dyn FnOnce(Letter) + Send>);

impl Postage {
    /// A place whose letter goes to `send`.
    pub fn new(send: impl FnOnce(Letter) + Send + 'static) -> Self {
        Self(Box::new(send))
    }

    /// Hands the letter over. It is on its way from here on; nothing is waited for.
    pub fn send(self, letter: Letter) {
        (self.0)(letter);
    }
}

impl fmt::Debug for Postage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Postage")
    }
}

/// The mailer of a gateway that sends no mail.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMail;

impl Mailer for NoMail {
    fn is_on(&self) -> bool {
        false
    }

    fn reserve(&self, _: &Email) -> Result<Postage, NoPostage> {
        Err(NoPostage::Off)
    }
}
