//! The operations on one-time tokens, as routes name them: the one place where they meet their use cases.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::Done;
use super::refusal::Refusal;
use crate::auth::invitation::{METADATA_BYTES_MAX, NewInvitation};
use crate::auth::mail::Enclosure;
use crate::auth::one_time::{Proof, Redeemed};
use crate::auth::password_reset::Forgetful;
use crate::auth::register::NewAccount;
use crate::auth::{Auth, Origin};
use crate::dialect::{Input, InputFault, Link};
use crate::identity::Caller;
use crate::identity::one_time_token::OneTimeKind;
use crate::identity::user::{User, UserId};
use crate::reason::Reason;

/// A one-time token to be mailed, as asked for.
pub(super) struct Wanted<'a> {
    pub(super) kind: String,
    pub(super) user_id: Option<String>,
    pub(super) email: Option<String>,
    pub(super) metadata: Option<Value>,
    /// Who asks, if somebody does.
    pub(super) caller: Option<Arc<Caller>>,
    /// Where the mail points.
    pub(super) link: Option<&'a Link>,
    /// From where.
    pub(super) from: Origin,
}

/// Mails a one-time token. A reset may be asked for by anybody, and the answer is the same for everybody; all others by
/// the user themselves. Yields `kind`.
pub(super) async fn create(auth: &Arc<Auth>, wanted: Wanted<'_>) -> Result<Done, Refusal> {
    let kind = OneTimeKind::ALL.into_iter().find(|kind| same(kind.as_str(), &wanted.kind));
    let kind = kind.ok_or_else(|| invalid(Input::Kind, "is not a kind of one-time token"))?;
    match kind {
        OneTimeKind::PasswordReset => {
            let who = wanted.forgetful().ok_or_else(|| invalid(Input::UserId, "cannot be missing or empty"))?;
            auth.request_password_reset(who, wanted.enclosure()?, wanted.from).await?;
        }
        OneTimeKind::EmailVerification => auth.send_verification(wanted.themselves()?, &wanted.enclosure()?).await?,
        OneTimeKind::Reauthentication => auth.send_reauthentication(wanted.themselves()?, &wanted.enclosure()?).await?,
        OneTimeKind::Invitation => invite(auth, &wanted).await?,
    }
    Ok(Done { kind: Some(kind.as_str().to_owned()), ..Done::default() })
}

async fn invite(auth: &Arc<Auth>, wanted: &Wanted<'_>) -> Result<(), Refusal> {
    let caller = wanted.themselves()?;
    let mut metadata = wanted.metadata.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    let roles = roles(&mut metadata)?;
    let address = metadata.remove("email").and_then(|email| email.as_str().map(str::to_owned));
    // The answer carries no token: without an address nobody would ever learn it.
    let email = wanted.email.clone().or(address).ok_or_else(|| invalid(Input::Metadata, "must have an `email`"))?;
    if !auth.sends_mail() {
        return Err(Refusal::new(Reason::Forbidden).with_detail("this gateway sends no mail"));
    }
    auth.invite(caller, NewInvitation { email: Some(email), roles, metadata }, wanted.link, &wanted.from).await?;
    Ok(())
}

/// The roles to invite with: `role`, which stays there for whoever redeems the token, or `roles`.
fn roles(metadata: &mut Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let texts = |value: Value| match value {
        Value::String(role) => Some(vec![role]),
        Value::Array(roles) => roles.into_iter().map(|role| role.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let asked = metadata.remove("roles").or_else(|| metadata.get("role").cloned());
    asked.map_or(Some(Vec::new()), texts).ok_or_else(|| invalid(Input::Metadata, "must have its roles as strings"))
}

/// Exchanges a one-time token for a ticket. Yields `kind`, `metadata` and `ticket`.
pub(super) async fn redeem(auth: &Arc<Auth>, token: &SecretString, from: &Origin) -> Result<Done, Refusal> {
    let Redeemed { kind, metadata, ticket, .. } = auth.redeem(token.expose_secret(), from).await?;
    let metadata = serde_json::from_str(&metadata).ok();
    Ok(Done { kind: Some(kind.as_str().to_owned()), metadata, ticket: Some(ticket), ..Done::default() })
}

/// Sets the password of the ticket's user. Yields `spends_ticket`.
pub(super) async fn reset_password(
    auth: &Arc<Auth>,
    ticket: &SecretString,
    new_password: &SecretString,
    from: &Origin,
) -> Result<Done, Refusal> {
    auth.reset_password(Proof::Ticket(ticket.expose_secret()), new_password.expose_secret(), from).await?;
    Ok(Done { spends_ticket: true, ..Done::default() })
}

/// Marks the address of the ticket's user as proved. Yields `spends_ticket`.
pub(super) async fn verify_email(auth: &Arc<Auth>, ticket: &SecretString, from: &Origin) -> Result<Done, Refusal> {
    auth.verify_email(Proof::Ticket(ticket.expose_secret()), from).await?;
    Ok(Done { spends_ticket: true, ..Done::default() })
}

/// Makes the user whom the ticket invites, with the roles that it grants; others that are asked for are refused.
pub(super) async fn sign_up(
    auth: &Arc<Auth>,
    ticket: &SecretString,
    account: NewAccount,
    from: &Origin,
) -> Result<User, Refusal> {
    Ok(auth.register_with_ticket(account, ticket.expose_secret(), from).await?)
}

impl Wanted<'_> {
    fn enclosure(&self) -> Result<Enclosure, Refusal> {
        let metadata = match &self.metadata {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(metadata)) => metadata.clone(),
            Some(_) => return Err(invalid(Input::Metadata, "must be an object")),
        };
        if Value::Object(metadata.clone()).to_string().len() > METADATA_BYTES_MAX {
            return Err(invalid(Input::Metadata, "must be at most 16 KiB"));
        }
        Ok(Enclosure { link: self.link.cloned(), metadata })
    }

    /// Whose password is forgotten. An id that is none is nobody's, which the answer does not say.
    fn forgetful(&self) -> Option<Forgetful> {
        let by_id = |id: &String| id.parse().map_or_else(|_| Forgetful::Email(String::new()), |id| Forgetful::User(UserId(id)));
        self.email.clone().map(Forgetful::Email).or_else(|| self.user_id.as_ref().map(by_id))
    }

    /// The caller, who asks for themselves.
    fn themselves(&self) -> Result<&Caller, Refusal> {
        let caller = self.caller.as_deref().ok_or_else(|| Refusal::new(Reason::MissingToken))?;
        match &self.user_id {
            Some(id) if **id != *caller.principal.subject => Err(Refusal::new(Reason::Forbidden)),
            _ => Ok(caller),
        }
    }
}

/// Whether two words are one but for how they are joined: `re_authentication`.
fn same(ours: &str, theirs: &str) -> bool {
    let letters = |word: &str| word.replace(['_', '-'], "");
    letters(ours) == letters(theirs)
}

fn invalid(input: Input, rule: &'static str) -> Refusal {
    Refusal::invalid(InputFault::new(input.word(), rule))
}
