//! The port for users and their password hashes.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Page, StoreError};
use crate::identity::password::PasswordHash;
use crate::identity::user::{Email, LoginName, Role, User, UserId};

/// A user as it is registered, with the hash that never leaves the store except to be verified.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// The password's hash.
    pub password: PasswordHash,
}

/// Users and their password hashes.
#[async_trait]
pub trait Users: Send + Sync {
    /// Adds a user; [`StoreError::Conflict`] if its name or address is taken in any case.
    async fn add(&self, new: &NewUser) -> Result<(), StoreError>;
    /// The user with this id.
    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError>;
    /// The user with this name or address, compared in canonical form, and their hash.
    async fn find_by_login(&self, login: &LoginName) -> Result<Option<(User, PasswordHash)>, StoreError>;
    /// The hash of this user's password.
    async fn password(&self, id: UserId) -> Result<Option<PasswordHash>, StoreError>;
    /// A page of users.
    async fn list(&self, page: Page<UserId>) -> Result<Vec<User>, StoreError>;
    /// Replaces the hash if it still equals `expected`; false if it changed meanwhile (an upgrade must not undo a change).
    async fn upgrade_password(&self, id: UserId, expected: &PasswordHash, upgraded: &PasswordHash) -> Result<bool, StoreError>;
    /// Whether anybody but this user has the role and is not disabled.
    async fn another_may(&self, except: UserId, role: &Role) -> Result<bool, StoreError>;
    /// Replaces the roles; false if there is no such user.
    async fn set_roles(&self, id: UserId, roles: &BTreeSet<Role>) -> Result<bool, StoreError>;
    /// Changes the profile names; false if there is no such user.
    async fn set_names(&self, id: UserId, given_name: Option<&str>, family_name: Option<&str>) -> Result<bool, StoreError>;
    /// Notes that the user was proved at `at` to read this address' mail; false if it is not (or no longer) theirs.
    async fn set_email_verified(&self, id: UserId, email: &Email, at: Timestamp) -> Result<bool, StoreError>;
    /// Adds users of another system, with the hashes they have there. One outcome for each that was tried, in order;
    /// the first that is not [`StoreError::Conflict`] ends it. Trying again adds only what is missing.
    async fn import(&self, users: &[NewUser]) -> Vec<Result<(), StoreError>>;
}
