//! One-time tokens: issued to whoever reads a mail or was invited, redeemed for a ticket, spent by one deed.
//!
//! A browser redeems the token of a link and keeps the ticket in a cookie while its user fills in a form. Any other
//! client presents the token with the deed itself: it is then redeemed for its own ticket, which is spent at once.
//! Whatever is wrong with a token or a ticket, the answer is the same.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use crate::dialect::Link;
use crate::identity::one_time_token::{OneTimeKind, OneTimeSecret, OneTimeToken, TokenHash};
use crate::identity::user::{Email, UserId};
use crate::store::NewOneTimeToken;

use super::audit::{Event, Kind, Outcome};
use super::outage::Outage;
use super::throttle::{self, Throttled};
use super::{Auth, Origin};

/// Life of a ticket: long enough to fill in a form.
pub const TICKET_LIFE: Duration = Duration::from_secs(3600);

/// Lives of one-time tokens, and where their links lead.
#[derive(Debug, Clone)]
pub struct OneTimeSettings {
    /// Life of a password reset.
    pub password_reset: Duration,
    /// Life of an e-mail verification.
    pub email_verification: Duration,
    /// Life of an invitation.
    pub invitation: Duration,
    /// Life of a token that proves again who is signed in.
    pub reauthentication: Duration,
    /// Where links lead: from the configuration only, never from a request. None: there are no links.
    pub links: Option<Links>,
}

/// Where links lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// To the form for a new password.
    pub password_reset: Link,
    /// To the page that has the address verified.
    pub email_verification: Link,
    /// To the form for registration.
    pub invitation: Link,
    /// To the page that signs in again who is signed in.
    pub reauthentication: Link,
}

/// What a client shows to be let do something.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The one-time token itself.
    Token(&'a str),
    /// The ticket that a token was redeemed for.
    Ticket(&'a str),
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(redacted)",
            Self::Ticket(_) => "Ticket(redacted)",
        })
    }
}

/// Why a one-time token or ticket was of no use.
#[derive(Debug, thiserror::Error)]
pub enum OneTimeError {
    /// It is unknown, expired, used, killed by a newer one, or good for something else. Never says which.
    #[error("the one-time token or ticket is not valid")]
    Refused,
    /// Too many of no use came from this network. Says nothing about this one.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// What redeeming a token yields.
pub struct Redeemed {
    /// What the ticket is good for.
    pub kind: OneTimeKind,
    /// What goes with it: a JSON object.
    pub metadata: String,
    /// To be shown with the deed.
    pub ticket: SecretString,
    /// Life of the ticket.
    pub expires_in: Duration,
}

impl fmt::Debug for Redeemed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redeemed").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What a token is issued with.
pub(super) struct Issue<'a> {
    pub(super) user: Option<UserId>,
    pub(super) email: Option<&'a Email>,
    pub(super) metadata: String,
    pub(super) created_by: Option<UserId>,
}

/// A proof that was found good, and is not spent yet.
pub(super) struct Found {
    /// The token it goes back to.
    pub(super) token: OneTimeToken,
    /// The ticket to spend.
    pub(super) ticket: TokenHash,
    /// The token to redeem for that ticket first, if one was shown that is not redeemed.
    unredeemed: Option<TokenHash>,
}

impl Auth {
    /// Redeems a token for a ticket. Of many callers at once one succeeds.
    ///
    /// # Errors
    /// See [`OneTimeError`].
    pub async fn redeem(&self, token: &str, from: &Origin) -> Result<Redeemed, OneTimeError> {
        self.guessed(from, |error| matches!(error, OneTimeError::Refused), self.redeem_uncounted(token, from)).await
    }

    async fn redeem_uncounted(&self, token: &str, from: &Origin) -> Result<Redeemed, OneTimeError> {
        let token = OneTimeSecret::parse(token).ok_or(OneTimeError::Refused)?.hash();
        let ticket = OneTimeSecret::new(self.random());
        let now = self.now();
        let redeemed = self.one_time.redeem(&token, &ticket.hash(), now + TICKET_LIFE, now).await.map_err(Outage::from)?;
        let OneTimeToken { kind, metadata, user, .. } = redeemed.ok_or(OneTimeError::Refused)?;
        let event = Event::new(Kind::TokenRedeemed, Outcome::Success, from).about(user);
        self.audit(event.with("kind", kind.as_str())).await;
        Ok(Redeemed { kind, metadata, ticket: ticket.text(), expires_in: TICKET_LIFE })
    }

    /// Does `work`, which begins with a one-time token or ticket, unless too many that were of no use came from there.
    ///
    /// Nobody guesses 256 bits. This bounds what guessing costs the database, and what somebody learns who tries
    /// tokens from wherever they found them.
    pub(super) async fn guessed<T, E: From<Throttled>>(
        &self,
        from: &Origin,
        is_guess: impl Fn(&E) -> bool,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let attempt = self.throttle.check_network(throttle::Kind::OneTimeToken, from.address).await?;
        let outcome = work.await;
        match &outcome {
            Err(error) if is_guess(error) => attempt.failed(),
            _ => attempt.give_back().await,
        }
        outcome
    }

    /// Issues a token and returns its id, its secret and its expiry. None if its user is gone.
    pub(super) async fn issue_token(
        &self,
        kind: OneTimeKind,
        issue: Issue<'_>,
    ) -> Result<Option<(Uuid, SecretString, Timestamp)>, Outage> {
        let now = self.now();
        let settings = &self.settings.one_time;
        let life = match kind {
            OneTimeKind::PasswordReset => settings.password_reset,
            OneTimeKind::EmailVerification => settings.email_verification,
            OneTimeKind::Invitation => settings.invitation,
            OneTimeKind::Reauthentication => settings.reauthentication,
        };
        let secret = OneTimeSecret::new(self.random());
        let new = NewOneTimeToken {
            id: self.ordered_id(now),
            kind,
            token_hash: secret.hash(),
            user: issue.user,
            email: issue.email.cloned(),
            metadata: issue.metadata,
            created_by: issue.created_by,
            created_at: now,
            expires_at: now + life,
        };
        Ok(self.one_time.issue(&new).await?.then(|| (new.id, secret.text(), new.expires_at)))
    }

    /// What a proof goes back to, if it is good for this kind of deed now. Nothing is spent yet: what else the deed
    /// needs is checked first, and a mistake in it costs nobody their link.
    pub(super) async fn examine(&self, proof: Proof<'_>, kind: OneTimeKind) -> Result<Option<Found>, Outage> {
        let (Proof::Token(text) | Proof::Ticket(text)) = proof;
        let Some(secret) = OneTimeSecret::parse(text) else { return Ok(None) };
        let now = self.now();
        let good = |token: &OneTimeToken| token.kind == kind;
        let unredeemed = match proof {
            Proof::Ticket(_) => None,
            Proof::Token(_) => self.one_time.find(&secret.hash()).await?.filter(good).filter(|token| token.is_redeemable(now)),
        };
        let ticket = if matches!(proof, Proof::Token(_)) { secret.own_ticket().hash() } else { secret.hash() };
        // Asked in any case: how long a refusal takes does not say what is wrong.
        let redeemed = self.one_time.by_ticket(&ticket).await?.filter(good).filter(|token| token.is_spendable(now));
        Ok(match (unredeemed, redeemed) {
            (Some(token), _) => Some(Found { token, ticket, unredeemed: Some(secret.hash()) }),
            (None, Some(token)) => Some(Found { token, ticket, unredeemed: None }),
            (None, None) => None,
        })
    }

    /// Makes the ticket of what was found one that can be spent. Whether this caller may spend it is decided by
    /// spending it: another one may have come first with the same token.
    pub(super) async fn redeem_found(&self, found: &Found, now: Timestamp) -> Result<(), Outage> {
        if let Some(token) = &found.unredeemed {
            self.one_time.redeem(token, &found.ticket, found.token.expires_at, now).await?;
        }
        Ok(())
    }
}
