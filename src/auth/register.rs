//! Registration: by anyone where it is open; `invitation` lets in who was invited. Roles come from the configuration, and from the request only as far
//! as the configuration lists them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use crate::identity::user::{Email, NameError, Role, User, UserId, Username};
use crate::store::{NewUser, StoreError, Unique};

use super::audit::{self, Event, Outcome};
use super::hashing::HashingError;
use super::outage::Outage;
use super::terms::SessionTerms;
use super::throttle::{Kind, Throttled};
use super::tokens::Tokens;
use super::{Auth, FieldError, Origin, Registration};

/// Who is to be registered, as typed.
#[derive(Debug)]
pub struct NewAccount {
    /// At least one of `username` and `email`.
    pub username: Option<String>,
    /// At least one of `username` and `email`.
    pub email: Option<String>,
    /// The password.
    pub password: SecretString,
    /// Profile.
    pub given_name: Option<String>,
    /// Profile.
    pub family_name: Option<String>,
    /// Roles to have beyond the default ones.
    pub roles: Vec<String>,
}

/// Why nobody was registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Users are added by the operator.
    #[error("registration is closed")]
    Closed,
    /// Whoever registers must have been invited.
    #[error("registration needs an invitation")]
    NotInvited,
    /// The invitation is unknown, expired, used, or no longer stands. Never says which.
    #[error("the invitation is not valid")]
    BadInvitation,
    /// Fields break rules: all of them.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// The name or the address is in use: `username` or `email`.
    #[error("the {0} is taken")]
    Taken(&'static str),
    /// Too many accounts, or too many taken names, from this network.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<StoreError> for RegisterError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(Unique::Username) => Self::Taken("username"),
            StoreError::Conflict(Unique::Email) => Self::Taken("email"),
            error => Outage::from(error).into(),
        }
    }
}

/// The longest given or family name, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// More roles in one request than anybody has.
pub(super) const ROLES_MAX: usize = 64;

impl Auth {
    /// Registers a user who asked for it.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register(&self, account: NewAccount, from: &Origin) -> Result<User, RegisterError> {
        self.register_asking(&self.settings.self_assigned_roles, account, from).await
    }

    /// The same where new users may ask for these roles.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register_asking(
        &self,
        roles: &BTreeSet<Role>,
        account: NewAccount,
        from: &Origin,
    ) -> Result<User, RegisterError> {
        match self.settings.registration {
            Registration::Closed => return Err(RegisterError::Closed),
            Registration::Invitation => return Err(RegisterError::NotInvited),
            Registration::Open => {}
        }
        let may_ask_for = |role: &Role| roles.contains(role) || self.settings.default_roles.contains(role);
        self.counted(audit::Kind::Register, from, self.add(account, may_ask_for)).await
    }

    /// Does `work`, which makes a user, unless as many were made from there as may be.
    pub(super) async fn counted(
        &self,
        recorded_as: audit::Kind,
        from: &Origin,
        work: impl Future<Output = Result<User, RegisterError>>,
    ) -> Result<User, RegisterError> {
        let making = self.throttle.check_network(Kind::Register, from.address).await?;
        // That a name is taken is worth as much to a guesser as a refused login.
        let guess = self.throttle.check_network(Kind::Guess, from.address).await;
        let guess = match guess {
            Ok(guess) => guess,
            Err(throttled) => {
                making.give_back().await;
                return Err(throttled.into());
            }
        };
        let outcome = work.await;
        if !matches!(outcome, Err(RegisterError::Taken(_))) {
            guess.give_back().await;
        }
        if outcome.is_err() {
            making.give_back().await;
        }
        match &outcome {
            Ok(user) => {
                let event = Event::new(recorded_as, Outcome::Success, from);
                self.audit(event.actor(&user.id.to_string()).about(user.id)).await;
            }
            Err(RegisterError::Taken(field)) => {
                self.audit(Event::new(recorded_as, Outcome::Refused, from).with("taken", *field)).await;
            }
            Err(_) => {}
        }
        outcome
    }

    /// The same, with the first tokens of a session; none if the user was disabled in between.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register_and_sign_in(
        &self,
        roles: &BTreeSet<Role>,
        account: NewAccount,
        terms: &SessionTerms,
        from: &Origin,
    ) -> Result<(User, Option<Tokens>), RegisterError> {
        let user = self.register_asking(roles, account, from).await?;
        let tokens = self.sign_in(terms, &user, from, user.created_at).await?;
        Ok((user, tokens))
    }

    /// Adds a user with the default roles and those of the account that `may_have` allows.
    pub(super) async fn add(&self, account: NewAccount, may_have: impl Fn(&Role) -> bool) -> Result<User, RegisterError> {
        let new = self.new_user(account, may_have, Vec::new()).await?;
        self.users.add(&new).await?;
        Ok(new.user)
    }

    /// A user as they are to be added, if neither the account nor what was found before breaks a rule.
    pub(super) async fn new_user(
        &self,
        account: NewAccount,
        may_have: impl Fn(&Role) -> bool,
        mut errors: Vec<FieldError>,
    ) -> Result<NewUser, RegisterError> {
        let now = self.now();
        let names = [account.username.as_deref(), account.email.as_deref()];
        let password = self.new_password("password", account.password.expose_secret(), &names, &mut errors);
        let user = self.described(&account, may_have, now, &mut errors);
        let Some(password) = password.filter(|_| errors.is_empty()) else { return Err(RegisterError::Invalid(errors)) };
        let password = match self.hashing.hash(password, self.random()).await {
            Err(HashingError::Refused(rule)) => return Err(RegisterError::Invalid(vec![FieldError::new("password", rule)])),
            hashed => hashed.map_err(Outage::from)?,
        };
        Ok(NewUser { user, password })
    }

    /// The user that an account describes; notes every rule that it breaks.
    pub(super) fn described(
        &self,
        account: &NewAccount,
        may_have: impl Fn(&Role) -> bool,
        now: Timestamp,
        errors: &mut Vec<FieldError>,
    ) -> User {
        if account.username.is_none() && account.email.is_none() {
            errors.push(FieldError::new("username", "is required unless there is an email"));
        }
        User {
            id: UserId(self.ordered_id(now)),
            username: parse("username", account.username.as_deref(), Username::parse, errors),
            email: parse("email", account.email.as_deref(), Email::parse, errors),
            email_verified_at: None,
            given_name: parse("given_name", account.given_name.as_deref(), display_name, errors),
            family_name: parse("family_name", account.family_name.as_deref(), display_name, errors),
            roles: self.roles(&account.roles, may_have, errors),
            disabled_at: None,
            created_at: now,
        }
    }

    pub(super) fn roles(
        &self,
        asked: &[String],
        may_have: impl Fn(&Role) -> bool,
        errors: &mut Vec<FieldError>,
    ) -> BTreeSet<Role> {
        let mut roles = self.settings.default_roles.clone();
        if asked.len() > ROLES_MAX {
            errors.push(FieldError::new("roles", format_args!("must be at most {ROLES_MAX}")));
            return roles;
        }
        for text in asked {
            match Role::parse(text) {
                Ok(role) if may_have(&role) => drop(roles.insert(role)),
                Ok(role) => errors.push(FieldError::new("roles", format_args!("may not include `{}`", role.as_str()))),
                Err(rule) => errors.push(FieldError::new("roles", rule)),
            }
        }
        roles
    }
}

fn parse<T>(
    field: &'static str,
    typed: Option<&str>,
    rule: impl Fn(&str) -> Result<T, NameError>,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    rule(typed?).map_err(|broken| errors.push(FieldError::new(field, broken))).ok()
}

/// A given or family name: free text on one line.
pub(super) fn display_name(typed: &str) -> Result<String, NameError> {
    if typed.trim().is_empty() {
        return Err(NameError::Empty);
    }
    if typed.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(NAME_BYTES_MAX));
    }
    if typed.trim() != typed || typed.chars().any(char::is_control) {
        return Err(NameError::Characters);
    }
    Ok(typed.to_owned())
}
