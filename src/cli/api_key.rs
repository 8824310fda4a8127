//! `portcullis api-key`: the keys that users made for programs of theirs, and the end of one.

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::administration::{Administration, administer};
use super::failure::Failure;
use super::output::{self, Format, shown};
use crate::auth::api_keys::{ApiKey, ApiKeyError};
use crate::auth::audit::Actor;
use crate::config::Source;

const AFTER_HELP: &str = "\
Examples:
  portcullis api-key list ada
  portcullis api-key revoke 0193e3d2-9a57-7a53-9a0f-7d6d2f7f6c11";

/// The commands about API keys.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(super) enum ApiKeyCommand {
    /// List a user's keys, newest first
    List {
        /// The user's name or e-mail address
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Revoke a key: no gateway accepts it once this returns
    Revoke {
        /// The key, as `api-key list` shows it
        id: Uuid,
    },
}

/// A key for programs.
#[derive(Debug, Serialize)]
struct ApiKeyJson<'a> {
    id: String,
    name: &'a str,
    prefix: &'a str,
    scopes: &'a [String],
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl ApiKeyCommand {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        administer(source, async |office| match self {
            Self::List { name, format } => list(office, &name, format).await,
            Self::Revoke { id } => {
                office.auth().revoke_api_key(id, &Actor::operator()).await.map_err(|error| failure(id, error))?;
                office.enforce().await?;
                output::print(&format!("the api key {id} is revoked"))
            }
        })
    }
}

fn failure(id: Uuid, error: ApiKeyError) -> Failure {
    match error {
        ApiKeyError::NoSuchKey => {
            Failure::new(anyhow::anyhow!("there is no api key {id}"), "`portcullis api-key list USER` lists them")
        }
        ApiKeyError::Outage(outage) => outage.into(),
        error => anyhow::Error::from(error).into(),
    }
}

async fn list(office: &Administration, name: &str, format: Format) -> Result<(), Failure> {
    let user = office.auth().find_user(name).await.map_err(Failure::of_user(name))?;
    let keys = office.auth().user_api_keys(user.id).await?;
    if format.json {
        return output::print_json(&keys.iter().map(ApiKeyJson::from).collect::<Vec<_>>());
    }
    let instant = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), output::instant);
    let rows = keys.iter().map(|key| {
        [
            key.id.to_string(),
            shown(&key.name),
            shown(&key.prefix),
            if key.scopes.is_empty() { "-".to_owned() } else { shown(&key.scopes.join(" ")) },
            output::instant(key.created_at),
            instant(key.expires_at),
            instant(key.last_used_at),
            instant(key.revoked_at),
        ]
    });
    output::print_table(["ID", "NAME", "BEGINS WITH", "SCOPES", "MADE", "EXPIRES", "USED", "REVOKED"], rows)
}

impl<'a> From<&'a ApiKey> for ApiKeyJson<'a> {
    fn from(key: &'a ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: &key.name,
            prefix: &key.prefix,
            scopes: &key.scopes,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        }
    }
}
