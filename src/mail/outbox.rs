//! The mailer that sends: so many letters at a time, each tried until it is taken, refused or of no use any more.
//!
//! Letters are kept in memory: whoever waits for one that a crash took asks again. While the gateway stops, what
//! waits for its next try is tried once more at once.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::message::{Mail, Sender};
use super::pace::Pace;
use super::templates::{Facts, Templates};
use super::{Letter, Mailer, NoPostage, Postage};
use crate::clock::{Clock, Entropy};
use crate::identity::user::Email;
use crate::store::backoff::Backoff;
use crate::telemetry::labels::MailResult;
use crate::telemetry::metrics::Metrics;

/// Connections to the mail server at the same time.
pub(super) const CONNECTIONS_MAX: u32 = 4;
/// The first wait after a failure, and the longest: a mail server that restarts is back within a minute, one that
/// puts strangers off (greylisting) wants to be asked again after some.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Links of invitations live longer than a letter should be held in memory.
const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Carries mail.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Hands a mail over. Once it returns, the mail is somebody else's to keep.
    async fn carry(&self, mail: &Mail) -> Result<(), NotCarried>;
}

/// Why a mail was not carried.
#[derive(Debug, thiserror::Error)]
pub enum NotCarried {
    /// Trying again may work.
    #[error("not yet")]
    Yet(#[source] Box<dyn Error + Send + Sync>),
    /// It never will.
    #[error("refused")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}

/// How letters are written and how many.
#[derive(Debug, Clone)]
pub struct OutboxSettings {
    /// Whom mail comes from.
    pub sender: Sender,
    /// Its words.
    pub templates: Templates,
    /// What letters call the place that their link leads to.
    pub service: String,
    /// Letters that may wait; more are refused.
    pub letters_max: usize,
    /// Letters to one address within any hour.
    pub each_hourly_max: usize,
}

/// What an [`Outbox`] works with.
#[expect(missing_debug_implementations, reason = "ports have nothing to show")]
pub struct OutboxParts {
    /// Carries mail.
    pub transport: Arc<dyn Transport>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Ids of mails.
    pub entropy: Arc<dyn Entropy>,
    /// Counts what becomes of letters.
    pub metrics: Arc<Metrics>,
    /// How letters are written and how many.
    pub settings: OutboxSettings,
}

/// The mailer that sends.
pub struct Outbox {
    office: Arc<Office>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    pace: Mutex<Pace>,
}

/// What every letter on its way needs.
struct Office {
    parts: OutboxParts,
    connections: Semaphore,
    stopping: CancellationToken,
    lost: AtomicUsize,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new(parts: OutboxParts) -> Self {
        let settings = &parts.settings;
        Self {
            places: Arc::new(Semaphore::new(settings.letters_max)),
            pace: Mutex::new(Pace::new(settings.each_hourly_max)),
            tasks: TaskTracker::new(),
            office: Arc::new(Office {
                parts,
                connections: Semaphore::new(CONNECTIONS_MAX as usize),
                stopping: CancellationToken::new(),
                lost: AtomicUsize::new(0),
            }),
        }
    }

    /// Tries every letter that waits once more, and returns when none is on its way: how many were lost since the
    /// start, because no server took them.
    pub async fn finish(&self) -> usize {
        self.office.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.office.lost.load(Ordering::Relaxed)
    }

    /// Letters on their way.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.tasks.len()
    }
}

impl Mailer for Outbox {
    fn is_on(&self) -> bool {
        true
    }

    fn reserve(&self, to: &Email) -> Result<Postage, NoPostage> {
        let metrics = &self.office.parts.metrics;
        let refuse = |why| {
            metrics.mailed(MailResult::Dropped);
            why
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| refuse(NoPostage::Full))?;
        let now = self.office.parts.clock.now();
        // A panic between two steps of it would leave at worst one letter too many in the count.
        if !self.pace.lock().unwrap_or_else(PoisonError::into_inner).allows(to.canonical(), now) {
            return Err(refuse(NoPostage::TooMany));
        }
        let (office, tasks, to) = (Arc::clone(&self.office), self.tasks.clone(), to.clone());
        Ok(Postage::new(move |letter| {
            let waiting = office.parts.metrics.letter_waits();
            tasks.spawn(async move {
                let result = office.send(&to, letter).await;
                office.parts.metrics.mailed(result);
                if result != MailResult::Sent {
                    office.lost.fetch_add(1, Ordering::Relaxed);
                }
                drop((place, waiting));
            });
        }))
    }
}

impl Office {
    async fn send(&self, to: &Email, letter: Letter) -> MailResult {
        let kind = letter.kind.as_str();
        let of_use_until = letter.expires_at.min(self.parts.clock.now() + KEPT_MAX);
        let mail = match self.write(to, letter) {
            Ok(mail) => mail,
            Err(error) => {
                tracing::error!(kind, error = &*error as &dyn Error, "a letter cannot be written");
                return MailResult::Failed;
            }
        };
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut tries = 0_u32;
        loop {
            // Read before the try, so that a stop during it still leaves the letter its last one.
            let last = self.stopping.is_cancelled();
            match self.carry(&mail).await {
                Ok(()) => {
                    tracing::debug!(kind, mail = %mail.id, "mail sent");
                    return MailResult::Sent;
                }
                Err(NotCarried::Refused(error)) => {
                    tracing::warn!(kind, mail = %mail.id, error = &*error as &dyn Error, "mail refused by its server");
                    return MailResult::Failed;
                }
                Err(NotCarried::Yet(error)) if last || self.parts.clock.now() >= of_use_until => {
                    tracing::warn!(kind, mail = %mail.id, error = &*error as &dyn Error, "mail given up: its time is over");
                    return MailResult::Dropped;
                }
                // Once for each mail is enough to be looked into.
                Err(NotCarried::Yet(error)) if tries == 0 => {
                    tracing::warn!(kind, mail = %mail.id, error = &*error as &dyn Error, "mail not sent yet; trying again");
                }
                Err(NotCarried::Yet(error)) => {
                    tracing::debug!(kind, mail = %mail.id, tries, error = &*error as &dyn Error, "mail not sent yet");
                }
            }
            tries += 1;
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    async fn carry(&self, mail: &Mail) -> Result<(), NotCarried> {
        let _connection = self.connections.acquire().await.expect("the semaphore is never closed");
        self.parts.transport.carry(mail).await
    }

    fn write(&self, to: &Email, letter: Letter) -> Result<Mail, Box<dyn Error + Send + Sync>> {
        let settings = &self.parts.settings;
        let expires = shown(letter.expires_at);
        let facts = Facts {
            link: letter.link.expose_secret(),
            email: to.as_typed(),
            name: letter.name.as_deref(),
            expires: &expires,
            service: &settings.service,
        };
        let words = settings.templates.word(letter.kind, &facts)?;
        let mut random = [0; 16];
        self.parts.entropy.fill(&mut random);
        let id = uuid::Builder::from_random_bytes(random).into_uuid();
        Ok(self.stamp(to, letter.name, words, id)?)
    }

    fn stamp(
        &self,
        to: &Email,
        name: Option<String>,
        words: super::templates::Worded,
        id: Uuid,
    ) -> Result<Mail, super::message::MessageError> {
        Mail::new(&self.parts.settings.sender, to, name, words, (id, self.parts.clock.now()))
    }
}

/// An instant for people all over the world.
fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests;
