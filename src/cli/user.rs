//! `portcullis user`: adding, listing and changing users.

use std::collections::BTreeSet;

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::administration::{Administration, administer};
use super::failure::Failure;
use super::output::{self, Format, shown};
use super::password::PasswordSource;
use super::user_import::Import;
use crate::auth::audit::Actor;
use crate::auth::register::NewAccount;
use crate::config::Source;
use crate::identity::user::{Role, User};
use crate::store::Page;

/// Users asked of the store at once.
const PAGE: u32 = 500;

const AFTER_HELP: &str = "\
A NAME with an `@` is looked up as an e-mail address. Disabling or deleting a user, taking a role away and setting a password \
end the user's sessions, everywhere and before the command returns.

Examples:
  portcullis user add ada --email ada@example.com --role admin
  printf %s \"$PASSWORD\" | portcullis user add ada --password-stdin
  portcullis user list --json | jq '.[] | select(.disabled_at)'
  portcullis user roles ada --add editor --remove admin
  portcullis user disable ada
  portcullis user import users.jsonl";

/// The commands about users.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(super) enum UserCommand {
    /// Add a user, whether or not registration is open
    Add(Add),
    /// List all users, in the order in which they were added
    List(Format),
    /// Sign a user out everywhere and let them in no more
    Disable {
        /// Their name or e-mail address
        name: String,
    },
    /// Let a disabled user in again
    Enable {
        /// Their name or e-mail address
        name: String,
    },
    /// Delete a user with everything that is theirs, and sign them out everywhere
    Delete {
        /// Their name or e-mail address
        name: String,
    },
    /// Take over users of another system, with their password hashes
    Import(Import),
    /// Show or change a user's roles
    Roles(Roles),
    /// Set a user's password, which signs them out everywhere
    Password {
        /// Their name or e-mail address
        name: String,
        #[command(flatten)]
        password: PasswordSource,
    },
}

/// What `user add` takes.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).multiple(true).args(["name", "email"]))]
pub(super) struct Add {
    /// The name to sign in with
    name: Option<String>,
    /// The e-mail address to sign in with, besides a name or instead of one
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A role to have beyond `auth.default_roles`; may be given several times
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',', value_parser = Role::parse)]
    roles: Vec<Role>,
    /// Given name
    #[arg(long, value_name = "NAME")]
    given_name: Option<String>,
    /// Family name
    #[arg(long, value_name = "NAME")]
    family_name: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    format: Format,
}

/// What `user roles` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Without options the roles are shown. Taking a role away signs the user out everywhere, because tokens that still \
carry it are out; a role that is added shows when the user's token is next refreshed.

Examples:
  portcullis user roles ada
  portcullis user roles ada --add admin,editor
  portcullis user roles ada --replace member")]
pub(super) struct Roles {
    /// The user's name or e-mail address
    name: String,
    /// Roles to add, separated by commas
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = Role::parse)]
    add: Vec<Role>,
    /// Roles to take away, separated by commas
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = Role::parse)]
    remove: Vec<Role>,
    /// Exactly the roles to have, separated by commas
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = Role::parse, conflicts_with_all = ["add", "remove"])]
    replace: Vec<Role>,
    /// Take every role away
    #[arg(long, conflicts_with_all = ["add", "remove", "replace"])]
    clear: bool,
    #[command(flatten)]
    format: Format,
}

/// A user for programs.
#[derive(Debug, Serialize)]
struct UserJson<'a> {
    id: String,
    username: Option<&'a str>,
    email: Option<&'a str>,
    given_name: Option<&'a str>,
    family_name: Option<&'a str>,
    roles: Vec<&'a str>,
    disabled_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl UserCommand {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        administer(source, async |office| match self {
            Self::Add(add) => add.run(office).await,
            Self::List(format) => list(office, format).await,
            Self::Disable { name } => set_disabled(office, &name, true).await,
            Self::Enable { name } => set_disabled(office, &name, false).await,
            Self::Delete { name } => delete(office, &name).await,
            Self::Import(import) => import.run(office).await,
            Self::Roles(roles) => roles.run(office).await,
            Self::Password { name, password } => set_password(office, &name, password).await,
        })
    }
}

impl Add {
    async fn run(self, office: &Administration) -> Result<(), Failure> {
        let account = NewAccount {
            username: self.name,
            email: self.email,
            password: self.password.read()?,
            given_name: self.given_name,
            family_name: self.family_name,
            roles: self.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        };
        let user = office.auth().add_user(account, &Actor::operator()).await?;
        if self.format.json {
            return output::print_json(&UserJson::from(&user));
        }
        output::print(&format!("added {} with {}", called(&user), list_of(&user.roles)))
    }
}

impl Roles {
    async fn run(self, office: &Administration) -> Result<(), Failure> {
        let of_user = Failure::of_user(&self.name);
        let mut user = office.auth().find_user(&self.name).await.map_err(&of_user)?;
        let wanted = self.wanted(&user.roles);
        // Nothing to take away may be the retry of a change whose ending failed, which only the use case can tell;
        // nothing to add never ended anything.
        let only_adds = self.remove.is_empty() && self.replace.is_empty() && !self.clear;
        if !(only_adds && wanted == user.roles) {
            office.auth().set_user_roles(user.id, &wanted, &Actor::operator()).await.map_err(&of_user)?;
            office.enforce().await?;
        }
        user.roles = wanted;
        if self.format.json {
            return output::print_json(&UserJson::from(&user));
        }
        output::print(&format!("{} has {}", called(&user), list_of(&user.roles)))
    }

    fn wanted(&self, held: &BTreeSet<Role>) -> BTreeSet<Role> {
        if self.clear {
            return BTreeSet::new();
        }
        if !self.replace.is_empty() {
            return self.replace.iter().cloned().collect();
        }
        held.iter().chain(&self.add).filter(|role| !self.remove.contains(role)).cloned().collect()
    }
}

async fn list(office: &Administration, format: Format) -> Result<(), Failure> {
    let mut users: Vec<User> = Vec::new();
    loop {
        let after = users.last().map(|user| user.id);
        let page = office.auth().list_users(Page { after, limit: PAGE }).await?;
        if page.is_empty() {
            break;
        }
        users.extend(page);
    }
    if format.json {
        return output::print_json(&users.iter().map(UserJson::from).collect::<Vec<_>>());
    }
    let rows = users.iter().map(|user| {
        [
            shown(user.username.as_ref().map_or("-", |name| name.as_typed())),
            shown(user.email.as_ref().map_or("-", |address| address.as_typed())),
            if user.roles.is_empty() { "-".to_owned() } else { joined(&user.roles) },
            user.disabled_at.map_or_else(|| "active".to_owned(), |at| format!("disabled {}", output::instant(at))),
            output::instant(user.created_at),
            user.id.to_string(),
        ]
    });
    output::print_table(["NAME", "EMAIL", "ROLES", "STATE", "ADDED", "ID"], rows)
}

async fn set_disabled(office: &Administration, name: &str, disabled: bool) -> Result<(), Failure> {
    let of_user = Failure::of_user(name);
    let user = office.auth().find_user(name).await.map_err(&of_user)?;
    office.auth().set_user_disabled(user.id, disabled, &Actor::operator()).await.map_err(&of_user)?;
    if !disabled {
        return output::print(&format!("{} is enabled", called(&user)));
    }
    office.enforce().await?;
    output::print(&format!("{} is disabled and signed out everywhere", called(&user)))
}

async fn delete(office: &Administration, name: &str) -> Result<(), Failure> {
    let of_user = Failure::of_user(name);
    let user = office.auth().find_user(name).await.map_err(&of_user)?;
    office.auth().delete_user(user.id, &Actor::operator()).await.map_err(&of_user)?;
    office.enforce().await?;
    output::print(&format!("{} is deleted and signed out everywhere", called(&user)))
}

async fn set_password(office: &Administration, name: &str, password: PasswordSource) -> Result<(), Failure> {
    let of_user = Failure::of_user(name);
    // Asked first, so that nobody types a password for nobody.
    let user = office.auth().find_user(name).await.map_err(&of_user)?;
    office.auth().set_user_password(user.id, &password.read()?, &Actor::operator()).await.map_err(&of_user)?;
    office.enforce().await?;
    output::print(&format!("{} has a new password and is signed out everywhere", called(&user)))
}

impl<'a> From<&'a User> for UserJson<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username.as_ref().map(|name| name.as_typed()),
            email: user.email.as_ref().map(|address| address.as_typed()),
            given_name: user.given_name.as_deref(),
            family_name: user.family_name.as_deref(),
            roles: user.roles.iter().map(Role::as_str).collect(),
            disabled_at: user.disabled_at,
            created_at: user.created_at,
        }
    }
}

/// What people call the user.
fn called(user: &User) -> String {
    let name = user.username.as_ref().map(|name| name.as_typed());
    let address = user.email.as_ref().map(|address| address.as_typed());
    name.or(address).map_or_else(|| user.id.to_string(), shown)
}

fn list_of(roles: &BTreeSet<Role>) -> String {
    match roles.len() {
        0 => "no role".to_owned(),
        1 => format!("the role {}", joined(roles)),
        _ => format!("the roles {}", joined(roles)),
    }
}

fn joined(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(Role::as_str).collect::<Vec<_>>().join(",")
}
