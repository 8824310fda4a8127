//! `portcullis client`: programs that sign in as themselves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::administration::{Administration, administer};
use super::failure::Failure;
use super::output::{self, Format, shown};
use crate::auth::audit::Actor;
use crate::auth::clients::{ClientError, NewClient};
use crate::config::Source;
use crate::identity::scope::Scope;
use crate::identity::user::Role;
use crate::store::{Client, Page};

/// Clients asked of the store at once.
const PAGE: u32 = 500;

const AFTER_HELP: &str = "\
Disabling and deleting a client end its live tokens, everywhere and before the command returns.

Examples:
  portcullis client add billing --scope invoices:read --scope invoices:write
  portcullis client add reports --role reader --public-key reports.jwks.json
  portcullis client list
  portcullis client disable billing";

/// The commands about clients.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(super) enum ClientCommand {
    /// Register a client; its secret is printed once
    Add(Add),
    /// List all clients
    List(Format),
    /// End a client's tokens and let it have no more
    Disable {
        /// The client's id
        id: String,
    },
    /// Let a disabled client have tokens again
    Enable {
        /// The client's id
        id: String,
    },
    /// End a client's tokens and forget it
    Delete {
        /// The client's id
        id: String,
    },
}

/// What `client add` takes.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its `client_id`: letters, digits, `.`, `_` and `-`
    name: String,
    /// What people call it, if not by its id
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// A scope that it may ask for; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", value_parser = Scope::parse)]
    scopes: Vec<Scope>,
    /// A role of its tokens; may be given several times
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',', value_parser = Role::parse)]
    roles: Vec<Role>,
    /// Its public key, a JWK or JWK set: it then signs assertions (private_key_jwt) and gets no secret
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// A client for programs.
#[derive(Debug, Serialize)]
struct ClientJson<'a> {
    client_id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    authentication: &'static str,
    scopes: &'a [String],
    roles: Vec<&'a str>,
    disabled_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl ClientCommand {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        administer(source, async |office| match self {
            Self::Add(add) => add.run(office).await,
            Self::List(format) => list(office, format).await,
            Self::Disable { id } => {
                office.auth().set_client_disabled(&id, true, &Actor::operator()).await.map_err(Failure::of_client(&id))?;
                office.enforce().await?;
                output::print(&format!("{} is disabled; its tokens count no more", shown(&id)))
            }
            Self::Enable { id } => {
                office.auth().set_client_disabled(&id, false, &Actor::operator()).await.map_err(Failure::of_client(&id))?;
                output::print(&format!("{} is enabled", shown(&id)))
            }
            Self::Delete { id } => {
                office.auth().delete_client(&id, &Actor::operator()).await.map_err(Failure::of_client(&id))?;
                office.enforce().await?;
                output::print(&format!("{} is deleted; its tokens count no more", shown(&id)))
            }
        })
    }
}

impl Add {
    async fn run(self, office: &Administration) -> Result<(), Failure> {
        let public_keys = self.public_key.as_deref().map(read_keys).transpose()?;
        let new = NewClient {
            id: self.name.clone(),
            name: self.title,
            scopes: self.scopes.into_iter().collect::<BTreeSet<_>>(),
            roles: self.roles.into_iter().collect::<BTreeSet<_>>(),
            public_keys,
        };
        let (client, secret) = office.auth().add_client(new, &Actor::operator()).await.map_err(Failure::of_client(&self.name))?;
        let secret = secret.as_ref().map(|secret| secret.text().expose_secret());
        if self.format.json {
            return output::print_json(&ClientJson { client_secret: secret, ..ClientJson::from(&client) });
        }
        match secret {
            Some(secret) => output::print(&format!("client_id     {}\nclient_secret {secret}", client.id))?,
            None => output::print(&format!("client_id     {}", client.id))?,
        }
        if secret.is_some() {
            eprintln!("The secret is not kept and cannot be shown again.");
        }
        Ok(())
    }
}

fn read_keys(path: &Path) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?)
}

async fn list(office: &Administration, format: Format) -> Result<(), Failure> {
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let after = clients.last().map(|client| client.id.clone());
        let page = office.auth().list_clients(Page { after: after.as_deref(), limit: PAGE }).await?;
        if page.is_empty() {
            break;
        }
        clients.extend(page);
    }
    if format.json {
        return output::print_json(&clients.iter().map(ClientJson::from).collect::<Vec<_>>());
    }
    let listed = |items: &[String]| if items.is_empty() { "-".to_owned() } else { shown(&items.join(" ")) };
    let rows = clients.iter().map(|client| {
        let roles: Vec<String> = client.roles.iter().map(|role| role.as_str().to_owned()).collect();
        [
            shown(&client.id),
            shown(&client.name),
            listed(&client.scopes),
            listed(&roles),
            authentication(client).to_owned(),
            client.disabled_at.map_or_else(|| "active".to_owned(), |at| format!("disabled {}", output::instant(at))),
            output::instant(client.created_at),
        ]
    });
    output::print_table(["ID", "NAME", "SCOPES", "ROLES", "BY", "STATE", "ADDED"], rows)
}

fn authentication(client: &Client) -> &'static str {
    if client.secret_hash.is_some() { "secret" } else { "key" }
}

impl<'a> From<&'a Client> for ClientJson<'a> {
    fn from(client: &'a Client) -> Self {
        Self {
            client_id: &client.id,
            name: &client.name,
            client_secret: None,
            authentication: authentication(client),
            scopes: &client.scopes,
            roles: client.roles.iter().map(Role::as_str).collect(),
            disabled_at: client.disabled_at,
            created_at: client.created_at,
        }
    }
}

impl Failure {
    /// An operation on the client called `id` that was refused.
    fn of_client(id: &str) -> impl Fn(ClientError) -> Self {
        move |error| match error {
            ClientError::NoSuchClient => {
                let error = anyhow::anyhow!("there is no client `{}`", shown(id));
                Self::new(error, "`portcullis client list` lists them")
            }
            ClientError::Taken => Self::new(error, "choose another, or delete that client first"),
            ClientError::Keys(_) => Self::new(error, "write a JWK or a JWK set with public members only"),
            ClientError::Name(_) => anyhow::Error::from(error).into(),
            ClientError::Outage(outage) => outage.into(),
        }
    }
}
