//! `portcullis session`: where users are signed in, and the end of it.

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::administration::{Administration, administer};
use super::failure::Failure;
use super::output::{self, Format, shown};
use crate::auth::audit::Actor;
use crate::config::Source;
use crate::identity::session::{Session, SessionId};

const AFTER_HELP: &str = "\
Examples:
  portcullis session list ada
  portcullis session revoke 3f0e3d2c-9a57-4a53-9a0f-7d6d2f7f6c11
  portcullis session revoke --user ada";

/// The commands about sessions.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(super) enum SessionCommand {
    /// List where a user is signed in, newest first
    List {
        /// The user's name or e-mail address
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// End one session, or all of a user's: no gateway accepts a token of them once this returns
    Revoke(Revoke),
}

/// What `session revoke` takes.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "user"]))]
pub(super) struct Revoke {
    /// The session, as `session list` and the claim `sid` show it
    id: Option<Uuid>,
    /// Every session of the user with this name or e-mail address
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// A session for programs.
#[derive(Debug, Serialize)]
struct SessionJson<'a> {
    id: String,
    user: String,
    created_at: Timestamp,
    refreshed_at: Timestamp,
    refresh_expires_at: Timestamp,
    ends_at: Timestamp,
    address: Option<String>,
    agent: Option<&'a str>,
}

impl SessionCommand {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        administer(source, async |office| match self {
            Self::List { name, format } => list(office, &name, format).await,
            Self::Revoke(revoke) => revoke.run(office).await,
        })
    }
}

impl Revoke {
    async fn run(self, office: &Administration) -> Result<(), Failure> {
        let done = match (self.id, self.user) {
            (Some(id), _) => {
                office.auth().end_session(SessionId(id), &Actor::operator()).await?;
                format!("the session {id} is revoked")
            }
            (None, Some(name)) => {
                let user = office.auth().find_user(&name).await.map_err(Failure::of_user(&name))?;
                office.auth().end_user_sessions(user.id, &Actor::operator()).await?;
                format!("every session of {} is revoked", shown(&name))
            }
            (None, None) => return Err(Failure::Usage("name a session, or a user with --user".to_owned())),
        };
        office.enforce().await?;
        output::print(&done)
    }
}

async fn list(office: &Administration, name: &str, format: Format) -> Result<(), Failure> {
    let user = office.auth().find_user(name).await.map_err(Failure::of_user(name))?;
    let sessions = office.auth().user_sessions(user.id).await?;
    if format.json {
        return output::print_json(&sessions.iter().map(SessionJson::from).collect::<Vec<_>>());
    }
    let rows = sessions.iter().map(|session| {
        [
            session.id.to_string(),
            output::instant(session.created_at),
            output::instant(session.rotated_at),
            output::instant(session.refresh_expires_at.min(session.ends_at)),
            session.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            shown(session.agent.as_deref().unwrap_or("-")),
        ]
    });
    output::print_table(["ID", "SIGNED IN", "REFRESHED", "EXPIRES", "ADDRESS", "AGENT"], rows)
}

impl<'a> From<&'a Session> for SessionJson<'a> {
    fn from(session: &'a Session) -> Self {
        Self {
            id: session.id.to_string(),
            user: session.user.to_string(),
            created_at: session.created_at,
            refreshed_at: session.rotated_at,
            refresh_expires_at: session.refresh_expires_at,
            ends_at: session.ends_at,
            address: session.address.map(|address| address.to_string()),
            agent: session.agent.as_deref(),
        }
    }
}
