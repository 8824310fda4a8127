//! `portcullis audit`: who did what to which account.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::administration::{Administration, administer};
use super::failure::Failure;
use super::output::{self, Format, shown};
use crate::auth::audit::{Kind, Record, RecordFilter};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Source;
use crate::identity::user::UserId;

const AFTER_HELP: &str = "\
Examples:
  portcullis audit list --user ada
  portcullis audit list --kind login_failed --since 1h
  portcullis audit list --since 2026-01-01T00:00:00Z --limit 1000 --json";

/// Events asked of the store at once.
const PAGE: u32 = 500;

/// The commands about the record.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(super) enum AuditCommand {
    /// List what happened to accounts, newest first
    #[command(after_help = AFTER_HELP)]
    List(List),
}

/// What `audit list` takes.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only what was done to this user: their id, name or e-mail address; the id also of one who is deleted
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only events of this kind, such as `login_failed`
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<Kind>,
    /// Only events since then: an instant like 2026-01-01T00:00:00Z, or how long ago, like 24h
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    since: Option<Timestamp>,
    /// Only events before then
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    until: Option<Timestamp>,
    /// At most so many
    #[arg(long, value_name = "EVENTS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    format: Format,
}

/// An event for programs.
#[derive(Debug, Serialize)]
struct EventJson<'a> {
    id: Uuid,
    at: Timestamp,
    kind: &'a str,
    outcome: &'a str,
    actor: Option<&'a str>,
    user: Option<String>,
    session: Option<String>,
    address: Option<String>,
    user_agent: Option<&'a str>,
    detail: Value,
}

impl AuditCommand {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        let Self::List(list) = self;
        administer(source, async |office| list.run(office).await)
    }
}

impl List {
    async fn run(self, office: &Administration) -> Result<(), Failure> {
        let subject = match &self.user {
            Some(name) => Some(user(office, name).await?),
            None => None,
        };
        let kind = self.kind.map(|kind| kind.word().to_owned());
        let filter = RecordFilter { subject, kind, since: self.since, until: self.until };
        let mut events: Vec<Record> = Vec::new();
        while let Some(left) = self.limit.checked_sub(u32::try_from(events.len()).unwrap_or(u32::MAX)).filter(|left| *left > 0) {
            let after = events.last().map(|event| event.id);
            let page = office.auth().audit_events(&filter, after, left.min(PAGE)).await?;
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        if self.format.json {
            return output::print_json(&events.iter().map(EventJson::from).collect::<Vec<_>>());
        }
        let rows = events.iter().map(|event| {
            [
                output::instant(event.at),
                event.kind.clone(),
                event.outcome.clone(),
                shown(event.actor.as_deref().unwrap_or("-")),
                event.subject.map_or_else(|| "-".to_owned(), |user| user.to_string()),
                event.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
                shown(if event.detail == "{}" { "" } else { &event.detail }),
            ]
        });
        output::print_table(["AT", "KIND", "OUTCOME", "BY", "USER", "FROM", "DETAIL"], rows)
    }
}

/// A user by id, who may be deleted, or by name.
async fn user(office: &Administration, name: &str) -> Result<UserId, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(UserId(id));
    }
    Ok(office.auth().find_user(name).await.map_err(Failure::of_user(name))?.id)
}

fn kind(word: &str) -> Result<Kind, String> {
    Kind::parse(word).ok_or_else(|| {
        let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        format!("there are: {}", known.join(", "))
    })
}

fn instant(text: &str) -> Result<Timestamp, String> {
    match (text.parse::<Timestamp>(), humantime::parse_duration(text)) {
        (Ok(instant), _) => Ok(instant),
        (_, Ok(ago)) => SystemClock.now().checked_sub(ago).map_err(|_| "that is before time began".to_owned()),
        _ => Err("write an instant like 2026-01-01T00:00:00Z, or how long ago, like 24h".to_owned()),
    }
}

impl<'a> From<&'a Record> for EventJson<'a> {
    fn from(event: &'a Record) -> Self {
        Self {
            id: event.id,
            at: event.at,
            kind: &event.kind,
            outcome: &event.outcome,
            actor: event.actor.as_deref(),
            user: event.subject.map(|user| user.to_string()),
            session: event.session.map(|session| session.to_string()),
            address: event.address.map(|address| address.to_string()),
            user_agent: event.agent.as_deref(),
            detail: serde_json::from_str(&event.detail).unwrap_or_default(),
        }
    }
}
