//! `portcullis invite`: letting somebody register.

use clap::Args;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::administration::{Administration, administer};
use super::failure::Failure;
use super::output::{self, Format};
use crate::auth::invitation::{InviteError, NewInvitation};
use crate::config::Source;
use crate::identity::user::Role;

const AFTER_HELP: &str = "\
Prints the link: whoever has it can register, once. Without `auth.public_url` there is no link, and the token is printed. \
With --email and `auth.mail` the link is also mailed.

Examples:
  portcullis invite --role editor
  portcullis invite --role editor,reviewer --email ada@example.com";

/// What `invite` takes.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Invite {
    /// A role to have beyond `auth.default_roles`; may be given several times
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',', value_parser = Role::parse)]
    roles: Vec<Role>,
    /// Whom to invite: nobody with another address can accept
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// An invitation for programs.
#[derive(Debug, Serialize)]
struct InvitationJson<'a> {
    id: String,
    token: &'a str,
    link: Option<&'a str>,
    expires_at: Timestamp,
    mailed: bool,
}

impl Invite {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        administer(source, async |office| self.invite(office).await)
    }

    async fn invite(self, office: &Administration) -> Result<(), Failure> {
        let roles = self.roles.iter().map(|role| role.as_str().to_owned()).collect();
        let new = NewInvitation { email: self.email, roles, ..NewInvitation::default() };
        let invited = office.auth().invite_as_operator(new).await?;
        let mailed = invited.mailed && office.send_mail().await;
        let (token, link) = (invited.token.expose_secret(), invited.link.as_ref().map(|link| link.expose_secret()));
        if self.format.json {
            let (id, expires_at) = (invited.id.to_string(), invited.expires_at);
            output::print_json(&InvitationJson { id, token, link, expires_at, mailed })?;
        } else {
            output::print(link.unwrap_or(token))?;
        }
        if invited.mailed && !mailed {
            eprintln!("warning: the mail server of `auth.mail` did not take the mail: hand the link over yourself");
        }
        Ok(())
    }
}

impl From<InviteError> for Failure {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::Invalid(errors) => anyhow::anyhow!("{}", super::failure::rules(&errors)).into(),
            InviteError::Outage(outage) => outage.into(),
            InviteError::Closed => {
                let help = "set `auth.registration` to \"invitation\" or \"open\", or add the user with `portcullis user add`";
                Self::new(anyhow::Error::from(error), help)
            }
            InviteError::Forbidden | InviteError::NoPostage(_) => anyhow::Error::from(error).into(),
        }
    }
}
