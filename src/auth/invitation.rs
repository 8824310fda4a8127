//! Invitations: who has the role `invite`, and administrators, let others register, with roles, and perhaps for one address.
//!
//! Nobody gives away what they have not: administrators may give any role, others only the inviter's own and those that
//! anybody may have. That is asked again when the invitation is accepted, so that an inviter who has left or has
//! lost a role leaves no way in behind.

use std::collections::BTreeSet;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::dialect::Link;
use crate::identity::Caller;
use crate::identity::one_time_token::{OneTimeKind, OneTimeSecret, OneTimeToken};
use crate::identity::user::{Email, Role, User};
use crate::mail::{Letter, LetterKind, NoPostage};
use crate::store::StoreError;

use super::audit::{Actor, Event, Kind};
use super::mail::with_token;
use super::one_time::{Issue, Proof};
use super::outage::Outage;
use super::register::{NewAccount, RegisterError};
use super::{Auth, FieldError, Origin, Registration};

/// May give their own roles.
const INVITE: &str = "invite";
/// More than any program of ours sends; the rest of a token's row is small.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// An invitation to be made, as typed.
#[derive(Debug, Default)]
pub struct NewInvitation {
    /// Whoever accepts gets this address, and no other; the link is mailed to it if mail is configured.
    pub email: Option<String>,
    /// Roles that whoever accepts gets beyond the default ones.
    pub roles: Vec<String>,
    /// What else goes with it, for the program that has it redeemed.
    pub metadata: Map<String, Value>,
}

/// An invitation that was made.
#[derive(Debug)]
pub struct Invited {
    /// Names it. Not a secret.
    pub id: Uuid,
    /// The token.
    pub token: SecretString,
    /// The link to accept it by, if the configuration says where people reach this gateway.
    pub link: Option<SecretString>,
    /// When it can no longer be accepted.
    pub expires_at: Timestamp,
    /// Whether the link is on its way to the address. Then nobody else should be told it.
    pub mailed: bool,
}

/// Why no invitation was made.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// Nobody can register, invited or not.
    #[error("registration is closed")]
    Closed,
    /// The caller may not invite.
    #[error("inviting needs the role `{INVITE}`, or to be an administrator")]
    Forbidden,
    /// Fields break rules: all of them.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// The address was sent enough mail, or too much waits to be sent.
    #[error(transparent)]
    NoPostage(#[from] NoPostage),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// What an invitation's row says beyond its columns.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Terms {
    #[serde(default)]
    roles: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Whoever accepts reads the address' mail: nobody else was told the link.
    #[serde(default)]
    mailed: bool,
    #[serde(flatten)]
    further: Map<String, Value>,
}

impl Auth {
    /// Invites somebody in the caller's name. `link` overrides the configured one.
    ///
    /// # Errors
    /// See [`InviteError`].
    pub async fn invite(
        &self,
        caller: &Caller,
        new: NewInvitation,
        link: Option<&Link>,
        from: &Origin,
    ) -> Result<Invited, InviteError> {
        let id = self.owner(caller).ok_or(InviteError::Forbidden)?;
        // As registered now, which may be less than the caller's token says.
        let inviter = self.users.find(id).await.map_err(Outage::from)?.ok_or(InviteError::Forbidden)?;
        if !self.may_invite(&inviter) {
            return Err(InviteError::Forbidden);
        }
        self.make_invitation(new, Some(inviter), link, &Actor::caller(caller, from)).await
    }

    /// Invites somebody in the operator's name, with any roles.
    ///
    /// # Errors
    /// See [`InviteError`].
    pub async fn invite_as_operator(&self, new: NewInvitation) -> Result<Invited, InviteError> {
        self.make_invitation(new, None, None, &Actor::operator()).await
    }

    async fn make_invitation(
        &self,
        new: NewInvitation,
        inviter: Option<User>,
        link: Option<&Link>,
        by: &Actor,
    ) -> Result<Invited, InviteError> {
        if self.settings.registration == Registration::Closed {
            return Err(InviteError::Closed);
        }
        let mut errors = Vec::new();
        let email = new.email.as_deref().map(Email::parse).transpose();
        let email = email.unwrap_or_else(|rule| {
            errors.push(FieldError::new("email", rule));
            None
        });
        let may_give = |role: &Role| inviter.as_ref().is_none_or(|inviter| self.may_give(inviter, role));
        let roles = self.roles(&new.roles, may_give, &mut errors);
        if ["roles", "email", "mailed"].iter().any(|word| new.metadata.contains_key(*word)) {
            errors.push(FieldError::new("metadata", "must not say `roles`, `email` or `mailed`"));
        }
        let link = self.link(LetterKind::Invitation, link);
        let mailed = email.is_some() && link.is_some() && self.mail.is_on();
        let terms = Terms {
            // The default ones come with registration, whatever they are then.
            roles: roles.difference(&self.settings.default_roles).map(|role| role.as_str().to_owned()).collect(),
            email: email.as_ref().map(|email| email.as_typed().to_owned()),
            mailed,
            further: new.metadata,
        };
        let metadata = serde_json::to_string(&terms).expect("terms are made of texts and JSON");
        if metadata.len() > METADATA_BYTES_MAX {
            errors.push(FieldError::new("metadata", format_args!("must be at most {METADATA_BYTES_MAX} bytes")));
        }
        if !errors.is_empty() {
            return Err(InviteError::Invalid(errors));
        }
        let postage = email.as_ref().filter(|_| mailed).map(|email| self.mail.reserve(email)).transpose()?;
        let created_by = inviter.map(|inviter| inviter.id);
        let issue = Issue { user: None, email: email.as_ref(), metadata, created_by };
        let issued = self.issue_token(OneTimeKind::Invitation, issue).await?;
        let (id, token, expires_at) = issued.expect("an invitation belongs to no user who could be gone");
        let link = link.map(|link| with_token(link, &token));
        if let (Some(postage), Some(link)) = (postage, &link) {
            postage.send(Letter { kind: LetterKind::Invitation, name: None, link: link.clone(), expires_at });
        }
        let event = Event::by(Kind::InvitationCreated, by).with("invitation", id.to_string());
        self.audit(event.with("roles", new.roles).with("email", new.email).with("mailed", mailed)).await;
        Ok(Invited { id, token, link, expires_at, mailed })
    }

    /// Registers whoever shows an invitation, with its roles. Of many who accept it at once one succeeds.
    ///
    /// # Errors
    /// See [`RegisterError`]. Unless it is `BadInvitation`, the invitation is as good as before.
    pub async fn accept_invitation(&self, account: NewAccount, proof: Proof<'_>, from: &Origin) -> Result<User, RegisterError> {
        // One link would otherwise let its holder test as many names as they like.
        let is_guess = |error: &RegisterError| matches!(error, RegisterError::BadInvitation);
        let accepted = self.guessed(from, is_guess, self.accept(account, proof));
        self.counted(Kind::InvitationAccepted, from, accepted).await
    }

    async fn accept(&self, mut account: NewAccount, proof: Proof<'_>) -> Result<User, RegisterError> {
        if self.settings.registration == Registration::Closed {
            return Err(RegisterError::Closed);
        }
        let found = self.examine(proof, OneTimeKind::Invitation).await?.ok_or(RegisterError::BadInvitation)?;
        let terms = self.terms_that_stand(&found.token).await?.ok_or(RegisterError::BadInvitation)?;
        let mut errors = Vec::new();
        if !account.roles.iter().all(|asked| terms.roles.contains(asked)) {
            errors.push(FieldError::new("roles", "are those of the invitation"));
        }
        if let Some(invited) = &found.token.email {
            let typed = account.email.get_or_insert_with(|| invited.as_typed().to_owned());
            if Email::parse(typed).is_ok_and(|email| email.canonical() != invited.canonical()) {
                errors.push(FieldError::new("email", "is not the one that was invited"));
            }
        }
        account.roles = terms.roles.into_iter().collect();
        let mut new = self.new_user(account, |_| true, errors).await?;
        let now = self.now();
        if terms.mailed {
            new.user.email_verified_at = Some(now);
        }
        self.redeem_found(&found, now).await?;
        let spent = self.one_time.spend_invitation(&found.ticket, &new, now).await?;
        spent.map(|_| new.user).ok_or(RegisterError::BadInvitation)
    }

    /// Registers whoever comes with the ticket of a redeemed token: it is an invitation, or, where anybody may
    /// register, beside the point.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register_with_ticket(&self, account: NewAccount, ticket: &str, from: &Origin) -> Result<User, RegisterError> {
        if self.settings.registration == Registration::Open {
            let token = match OneTimeSecret::parse(ticket) {
                Some(secret) => self.one_time.by_ticket(&secret.hash()).await?,
                None => None,
            };
            if token.is_none_or(|token| token.kind != OneTimeKind::Invitation) {
                return self.register(account, from).await;
            }
        }
        self.accept_invitation(account, Proof::Ticket(ticket), from).await
    }

    /// What an invitation gives, unless its inviter could not make it any more.
    async fn terms_that_stand(&self, token: &OneTimeToken) -> Result<Option<Terms>, Outage> {
        let terms: Terms = serde_json::from_str(&token.metadata).map_err(|_| unreadable(token.id))?;
        let Some(inviter) = token.created_by else { return Ok(Some(terms)) };
        let stands = match self.users.find(inviter).await? {
            Some(inviter) => self.may_invite(&inviter) && self.may_give_all(&inviter, &terms.roles),
            None => false,
        };
        Ok(stands.then_some(terms))
    }

    fn may_give_all(&self, inviter: &User, roles: &BTreeSet<String>) -> bool {
        roles.iter().all(|role| Role::parse(role).is_ok_and(|role| self.may_give(inviter, &role)))
    }

    fn may_invite(&self, user: &User) -> bool {
        let may = |role: &Role| role.as_str() == INVITE || *role == self.settings.admin_role;
        user.disabled_at.is_none() && user.roles.iter().any(may)
    }

    fn may_give(&self, inviter: &User, role: &Role) -> bool {
        let settings = &self.settings;
        inviter.roles.contains(&self.settings.admin_role)
            || inviter.roles.contains(role)
            || settings.default_roles.contains(role)
            || settings.self_assigned_roles.contains(role)
    }
}

fn unreadable(id: Uuid) -> Outage {
    StoreError::Corrupt { store: "sql", what: format!("the metadata of the invitation {id}") }.into()
}
