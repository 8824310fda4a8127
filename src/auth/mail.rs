//! Mail that use cases send: a one-time token and the letter that carries it. And errands: work that a request asks
//! for and is answered before, so that neither the answer nor its time says whether there was anything to do.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::dialect::Link;
use crate::identity::Caller;
use crate::identity::one_time_token::OneTimeKind;
use crate::identity::user::{Email, User};
pub use crate::mail::NoPostage;
use crate::mail::{Letter, LetterKind};

use super::Auth;
use super::one_time::Issue;
use super::outage::Outage;
use super::throttle::Throttled;

/// Errands that may wait; each is a user's request that costs us at least a look-up.
const ERRANDS_MAX: usize = 256;
/// Errands done at once: few, so that a storm of them leaves the database to those who sign in.
const ERRANDS_AT_ONCE: usize = 2;

/// Why a letter with a token was not sent.
#[derive(Debug, thiserror::Error)]
pub enum NotMailed {
    /// Never or not now.
    #[error(transparent)]
    NoPostage(#[from] NoPostage),
    /// Too many were asked for from this network.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Why a user who asked for a link was sent none.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The token's subject has no account here.
    #[error("there is no such user")]
    NotFound,
    /// The user has no address.
    #[error("the user has no e-mail address")]
    NoAddress,
    /// It is verified already.
    #[error("the e-mail address is verified already")]
    Verified,
    /// No letter was sent.
    #[error(transparent)]
    NotMailed(#[from] NotMailed),
}

impl From<Outage> for NotSent {
    fn from(outage: Outage) -> Self {
        Self::NotMailed(outage.into())
    }
}

/// What a program sends along with a token that it has mailed.
#[derive(Debug, Clone, Default)]
pub struct Enclosure {
    /// Where the link leads, instead of where the configuration says.
    pub link: Option<Link>,
    /// What whoever redeems the token is told. Not for secrets.
    pub metadata: Map<String, Value>,
}

/// Work that nobody waits for, so much of it at a time.
pub(super) struct Errands {
    places: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Default for Errands {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(ERRANDS_MAX)),
            at_once: Arc::new(Semaphore::new(ERRANDS_AT_ONCE)),
            tasks: TaskTracker::new(),
        }
    }
}

impl Errands {
    /// Has `errand` done soon.
    pub(super) fn run(&self, errand: impl Future<Output = ()> + Send + 'static) -> Result<(), Outage> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Outage::QueueFull)?;
        let at_once = Arc::clone(&self.at_once);
        self.tasks.spawn(async move {
            let _turn = at_once.acquire().await;
            errand.await;
            drop(place);
        });
        Ok(())
    }
}

impl Auth {
    /// Whether this gateway sends mail.
    #[must_use]
    pub fn sends_mail(&self) -> bool {
        self.mail.is_on()
    }

    /// Waits until everything is done that was asked for and not waited for. What is asked for meanwhile counts, too.
    pub async fn finish_errands(&self) {
        self.errands.tasks.close();
        self.errands.tasks.wait().await;
        self.errands.tasks.reopen();
    }

    /// The caller as registered, and the address that links for them are sent to.
    pub(super) async fn addressee(&self, caller: &Caller) -> Result<(User, Email), NotSent> {
        let id = self.owner(caller).ok_or(NotSent::NotFound)?;
        let user = self.users.find(id).await.map_err(Outage::from)?.ok_or(NotSent::NotFound)?;
        let email = user.email.clone().ok_or(NotSent::NoAddress)?;
        Ok((user, email))
    }

    /// Issues a token to a user and mails it to their address.
    pub(super) async fn mail_token(
        &self,
        kind: LetterKind,
        user: &User,
        email: &Email,
        enclosure: &Enclosure,
    ) -> Result<(), NotMailed> {
        let link = self.link(kind, enclosure.link.as_ref()).ok_or(NoPostage::Off)?;
        // Before the token is issued, because that kills the one in the letter before.
        let postage = self.mail.reserve(email)?;
        let metadata = serde_json::to_string(&enclosure.metadata).expect("JSON is written as JSON");
        let issue = Issue { user: Some(user.id), email: Some(email), metadata, created_by: None };
        let Some((_, secret, expires_at)) = self.issue_token(of_letter(kind), issue).await? else {
            return Ok(()); // The user was deleted meanwhile.
        };
        let name = user.given_name.clone().or_else(|| user.username.as_ref().map(|name| name.as_typed().to_owned()));
        postage.send(Letter { kind, name, link: with_token(link, &secret), expires_at });
        Ok(())
    }

    /// Where a letter's link leads; none if the configuration does not say where people reach this gateway.
    pub(super) fn link<'a>(&'a self, kind: LetterKind, link: Option<&'a Link>) -> Option<&'a Link> {
        let configured = || {
            let links = self.settings.one_time.links.as_ref()?;
            Some(match kind {
                LetterKind::PasswordReset => &links.password_reset,
                LetterKind::EmailVerification => &links.email_verification,
                LetterKind::Invitation => &links.invitation,
                LetterKind::Reauthentication => &links.reauthentication,
            })
        };
        link.or_else(configured)
    }
}

pub(super) fn with_token(link: &Link, secret: &SecretString) -> SecretString {
    link.with(secret.expose_secret()).into()
}

/// The kind of token that a letter carries.
fn of_letter(kind: LetterKind) -> OneTimeKind {
    match kind {
        LetterKind::PasswordReset => OneTimeKind::PasswordReset,
        LetterKind::EmailVerification => OneTimeKind::EmailVerification,
        LetterKind::Invitation => OneTimeKind::Invitation,
        LetterKind::Reauthentication => OneTimeKind::Reauthentication,
    }
}
