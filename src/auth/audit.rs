//! The record of who did what: a closed list of events, written after the act, whatever becomes of the writing.
//!
//! Nothing secret enters it, and nothing that might be: what somebody typed as a name is kept only if it is one, as
//! people type their passwords into the wrong field.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::outage::Outage;
use super::{AGENT_BYTES_MAX, Auth, Origin};
use crate::identity::Caller;
use crate::identity::session::SessionId;
use crate::identity::user::{Email, UserId};
use crate::store::{AuditEvent, Page};

/// An event as it was written, and which of them to list: what `api` sees of the store.
pub use crate::store::{AuditEvent as Record, AuditFilter as RecordFilter};

macro_rules! words {
    ($(#[doc = $of:literal])+ $type:ident { $($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+ }) => {
        $(#[doc = $of])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[doc = $doc])+ $name,)+ }

        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word in the record.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// What a word means.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }
    };
}

words! {
    /// What happened.
    Kind {
        /// Somebody signed in.
        Login = "login",
        /// A name and a password did not belong together, or the user is disabled.
        LoginFailed = "login_failed",
        /// A login was refused unseen, because there were too many. At most one per network and minute.
        LoginThrottled = "login_throttled",
        /// Somebody registered.
        Register = "register",
        /// A used refresh token came back; the session was ended.
        RefreshReused = "refresh_reused",
        /// A session was ended by a token of its own.
        Logout = "logout",
        /// A user ended all their sessions.
        LogoutAll = "logout_all",
        /// The password was repeated within a session.
        Reauthenticated = "reauthenticated",
        /// A password was replaced by its owner, or set by an administrator.
        PasswordChanged = "password_changed",
        /// Somebody asked for a mail to reset a password.
        PasswordResetRequested = "password_reset_requested",
        /// A password was replaced with the ticket of such a mail.
        PasswordReset = "password_reset",
        /// A user was proved to read the mail of their address.
        EmailVerified = "email_verified",
        /// Somebody was invited.
        InvitationCreated = "invitation_created",
        /// Somebody registered with an invitation.
        InvitationAccepted = "invitation_accepted",
        /// A one-time token was redeemed.
        TokenRedeemed = "token_redeemed",
        /// One session, or all of a user's, was ended from another one or by an administrator.
        SessionRevoked = "session_revoked",
        /// An administrator added a user.
        UserAdded = "user_added",
        /// A user was taken over from another system.
        UserImported = "user_imported",
        /// A user's names were changed, by themselves or by an administrator.
        UserChanged = "user_changed",
        /// A user may no longer sign in.
        UserDisabled = "user_disabled",
        /// A user may sign in again.
        UserEnabled = "user_enabled",
        /// A user was deleted.
        UserDeleted = "user_deleted",
        /// A user has other roles.
        RolesChanged = "roles_changed",
        /// A client was registered.
        ClientCreated = "client_created",
        /// A client was disabled or enabled.
        ClientChanged = "client_changed",
        /// A client was deleted.
        ClientDeleted = "client_deleted",
        /// A client's proof was refused.
        ClientFailed = "client_failed",
        /// An access token was revoked, by whoever held it or by an administrator.
        TokenRevoked = "token_revoked",
        /// Another issuer said that somebody is signed out there, or seemed to.
        BackchannelLogout = "backchannel_logout",
        /// An API key was made.
        ApiKeyCreated = "api_key_created",
        /// An API key was revoked.
        ApiKeyRevoked = "api_key_revoked",
        /// The signing keys were changed.
        KeysRotated = "keys_rotated",
    }
}

words! {
    /// How it ended.
    Outcome {
        /// It was done.
        Success = "success",
        /// It was tried with wrong credentials or a wrong token.
        Failure = "failure",
        /// It is not allowed.
        Refused = "refused",
    }
}

/// Who does something to an account, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A user's id, or `operator` for whoever has the command line.
    name: String,
    session: Option<SessionId>,
    from: Origin,
}

impl Actor {
    pub(super) const OPERATOR: &str = "operator";

    /// Whoever has the command line.
    #[must_use]
    pub fn operator() -> Self {
        Self { name: Self::OPERATOR.to_owned(), session: None, from: Origin::default() }
    }

    /// Whether it is whoever has the command line.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        // No user's id reads like this.
        self.name == Self::OPERATOR
    }

    /// The user with this id, who has shown no token of a session.
    pub(super) fn user(id: UserId, from: &Origin) -> Self {
        Self { name: id.to_string(), session: None, from: from.clone() }
    }

    /// Whoever sent a token.
    #[must_use]
    pub fn caller(caller: &Caller, from: &Origin) -> Self {
        let principal = &caller.principal;
        Self { name: principal.subject.to_string(), session: Some(principal.session), from: from.clone() }
    }
}

/// An event on its way into the record.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an event that is not written is forgotten"]
pub struct Event {
    kind: Kind,
    outcome: Outcome,
    actor: Option<String>,
    subject: Option<UserId>,
    session: Option<SessionId>,
    from: Origin,
    detail: Map<String, Value>,
}

impl Event {
    /// Something happened, asked for from there.
    pub fn new(kind: Kind, outcome: Outcome, from: &Origin) -> Self {
        let from = from.clone();
        Self { kind, outcome, actor: None, subject: None, session: None, from, detail: Map::new() }
    }

    /// Somebody did something.
    pub fn by(kind: Kind, actor: &Actor) -> Self {
        let event = Self::new(kind, Outcome::Success, &actor.from);
        Self { actor: Some(actor.name.clone()), session: actor.session, ..event }
    }

    /// Users did something to their own account, within a session.
    pub fn by_caller(kind: Kind, outcome: Outcome, caller: &Caller, from: &Origin) -> Self {
        let principal = &caller.principal;
        let event = Self::new(kind, outcome, from).about(principal.subject.parse().ok().map(UserId));
        event.actor(&principal.subject).within(principal.session)
    }

    /// Who did it.
    pub fn actor(self, actor: &str) -> Self {
        Self { actor: Some(actor.to_owned()), ..self }
    }

    /// To whom it was done.
    pub fn about(self, subject: impl Into<Option<UserId>>) -> Self {
        Self { subject: subject.into(), ..self }
    }

    /// In which session.
    pub fn within(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }

    /// What else is to be known. Never a secret.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }
}

/// A name as somebody typed it, for the record: an address, or the beginning of what may be anything.
///
/// An `@` alone makes no address: it is the first character that people put into a password. What has a domain with a
/// dot and a top level of letters behind it is taken for one.
pub(super) fn shown(typed: &str) -> String {
    let top_level = typed.rsplit_once('@').and_then(|(_, domain)| domain.rsplit_once('.')).map(|(_, top_level)| top_level);
    let public = top_level.is_some_and(|name| name.chars().count() >= 2 && name.chars().all(char::is_alphabetic));
    if public && Email::parse(typed).is_ok() { typed.to_owned() } else { typed.chars().take(2).chain(['…']).collect() }
}

impl Auth {
    /// Writes an event, after what it tells of. A record that cannot be written undoes nothing.
    pub async fn audit(&self, event: Event) {
        let now = self.now();
        let Event { kind, outcome, actor, subject, session, from, detail } = event;
        let event = AuditEvent {
            id: self.ordered_id(now),
            at: now,
            kind: kind.word().to_owned(),
            outcome: outcome.word().to_owned(),
            actor: actor.map(|actor| actor[..actor.floor_char_boundary(AGENT_BYTES_MAX)].to_owned()),
            subject,
            session,
            address: from.address,
            agent: from.agent.map(|agent| agent[..agent.floor_char_boundary(AGENT_BYTES_MAX)].to_owned()),
            detail: Value::Object(detail).to_string(),
        };
        if let Err(error) = self.audit_log.write(&event).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, kind = kind.word(), outcome = outcome.word(), "an event is missing in the audit log");
        }
    }

    /// At most so many events, newest first, and only those after (that is, older than) the given one.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn audit_events(&self, filter: &RecordFilter, after: Option<Uuid>, limit: u32) -> Result<Vec<Record>, Outage> {
        Ok(self.audit_log.list(filter, Page { after, limit }).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_unique_and_fits_its_column() {
        let kinds: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
        assert!(kinds.iter().all(|word| word.len() <= 64));
        assert!(Kind::ALL.iter().all(|kind| Kind::parse(kind.word()) == Some(*kind)));
        assert_eq!(Kind::parse("LOGIN"), None);
    }

    #[test]
    fn what_may_be_a_password_is_not_kept() {
        assert_eq!(shown("correct horse"), "co…");
        assert_eq!(shown("ada@example.com"), "ada@example.com");
        assert_eq!(shown("ada@bücher.example"), "ada@bücher.example");
        for secret in ["p@ssw0rd", "p@ss.w0rd", "p@ss@word.com", "p@ word.com", "p@ssword.", "p@.com"] {
            assert_eq!(shown(secret), format!("{}…", &secret[..2]), "{secret}");
        }
        assert_eq!(shown(""), "…");
    }
}
