//! What users see and change of themselves.

use crate::identity::Caller;
use crate::identity::user::User;

use super::audit::{Event, Kind, Outcome};
use super::outage::Outage;
use super::{Auth, FieldError, Origin};

/// A change of the names: absent is as before, `Some(None)` takes the name away (RFC 7396).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamesPatch {
    /// Given name.
    pub given_name: Option<Option<String>>,
    /// Family name.
    pub family_name: Option<Option<String>>,
}

/// Why there is no profile to show or to change.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The token's subject has no account here.
    #[error("there is no such user")]
    NotFound,
    /// A name breaks a rule.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl Auth {
    /// The caller as registered now, which may be newer than what their token says.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub async fn profile(&self, caller: &Caller) -> Result<User, ProfileError> {
        let user = self.owner(caller).ok_or(ProfileError::NotFound)?;
        self.users.find(user).await.map_err(Outage::from)?.ok_or(ProfileError::NotFound)
    }

    /// Changes the caller's names.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub async fn change_names(&self, caller: &Caller, patch: NamesPatch, from: &Origin) -> Result<User, ProfileError> {
        let errors = patch.broken_rules();
        if !errors.is_empty() {
            return Err(ProfileError::Invalid(errors));
        }
        let user = patch.applied_to(self.profile(caller).await?);
        let (given, family) = (user.given_name.as_deref(), user.family_name.as_deref());
        if !self.users.set_names(user.id, given, family).await.map_err(Outage::from)? {
            return Err(ProfileError::NotFound);
        }
        self.audit(Event::by_caller(Kind::UserChanged, Outcome::Success, caller, from)).await;
        Ok(user)
    }
}
