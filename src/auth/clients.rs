//! What operators do with clients: programs that sign in as themselves (RFC 6749 §4.4).
//!
//! A client's tokens are accounted for by no session, so whoever ends them revokes everything of the client up to an
//! instant. A token that is being issued meanwhile must not slip through: see `end_client`.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use crate::identity::machine_secret::{MachineSecret, SecretKind};
use crate::identity::public_keys::{PublicKeys, PublicKeysError};
use crate::identity::scope::Scope;
use crate::identity::user::Role;
use crate::store::{Client, Covers, Page, Revocation, StoreError};

use super::Auth;
use super::audit::{Actor, Event, Kind};
use super::outage::Outage;
use super::users::words;

/// A client to be registered.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// `client_id`: 1 to 64 of `A-Z a-z 0-9 . _ -`, no UUID, which are users' ids, and not `operator`.
    pub id: String,
    /// What people call it; the id unless given.
    pub name: Option<String>,
    /// What it may ask for.
    pub scopes: BTreeSet<Scope>,
    /// What its tokens may do.
    pub roles: BTreeSet<Role>,
    /// A JWK or a JWK set: the client then signs assertions (RFC 7523) and has no secret.
    pub public_keys: Option<String>,
}

/// Why an operator's command about a client was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody has this id.
    #[error("there is no such client")]
    NoSuchClient,
    /// Somebody has it.
    #[error("the client id is taken")]
    Taken,
    /// The id, or the name, breaks the rules.
    #[error("{0}")]
    Name(&'static str),
    /// The keys cannot be used.
    #[error("the public key cannot be used: {0}")]
    Keys(#[from] PublicKeysError),
    /// Not the command's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) => Self::Taken,
            error => Self::Outage(error.into()),
        }
    }
}

const ID_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 128;

impl Auth {
    /// Registers a client. The secret is returned here and never again; there is none for a client with keys.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn add_client(&self, new: NewClient, by: &Actor) -> Result<(Client, Option<MachineSecret>), ClientError> {
        if !is_client_id(&new.id) {
            return Err(ClientError::Name(
                "a client id is 1 to 64 of the characters A-Z a-z 0-9 . _ -, not a UUID and not `operator`",
            ));
        }
        let name = new.name.unwrap_or_else(|| new.id.clone());
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(ClientError::Name("a name is 1 to 128 bytes without control characters"));
        }
        let secret = match &new.public_keys {
            Some(keys) => PublicKeys::parse(keys).map(|_| None)?,
            None => Some(MachineSecret::new(SecretKind::Client, self.random(), self.random())),
        };
        let client = Client {
            id: new.id,
            name,
            secret_hash: secret.as_ref().map(MachineSecret::hash),
            public_keys: new.public_keys,
            scopes: new.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            roles: new.roles,
            created_at: self.now(),
            disabled_at: None,
        };
        self.clients.add(&client).await?;
        let event = Event::by(Kind::ClientCreated, by).with("client", client.id.clone());
        self.audit(event.with("scopes", client.scopes.clone()).with("roles", words(&client.roles))).await;
        Ok((client, secret))
    }

    /// A page of clients, by id.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn list_clients(&self, page: Page<&str>) -> Result<Vec<Client>, Outage> {
        Ok(self.clients.list(page).await?)
    }

    /// Disables a client, which ends its live tokens at once, or enables it again. Until the clocks of all replicas
    /// have passed the instant of the disabling (`clock_skew` and a second), tokens issued after it do not count either.
    ///
    /// # Errors
    /// See [`ClientError`]. Trying again is safe.
    pub async fn set_client_disabled(&self, id: &str, disabled: bool, by: &Actor) -> Result<(), ClientError> {
        if disabled {
            self.end_client(id).await?;
        } else {
            let changed = self.clients.set_disabled(id, false, &self.ending(self.now(), Vec::new())).await?;
            changed.ok_or(ClientError::NoSuchClient)?;
        }
        self.audit(Event::by(Kind::ClientChanged, by).with("client", id).with("disabled", disabled)).await;
        Ok(())
    }

    /// Forgets a client, after its live tokens were ended.
    ///
    /// # Errors
    /// See [`ClientError`]. Trying again is safe.
    pub async fn delete_client(&self, id: &str, by: &Actor) -> Result<(), ClientError> {
        // First: were the publication to fail after the row is gone, a retry would find nothing to publish for.
        self.end_client(id).await?;
        let now = self.now();
        let deleted = self.clients.delete(id, &self.ending(now, vec![self.everything_of_client(id, now)])).await?;
        self.publish(&deleted.ok_or(ClientError::NoSuchClient)?).await?;
        self.audit(Event::by(Kind::ClientDeleted, by).with("client", id)).await;
        Ok(())
    }

    /// Disables a client and revokes all that it was issued.
    ///
    /// Twice: a token whose issuer read the client before the first round has committed may bear an instant after
    /// that round's, but none after the second's, which is read when no further token can be issued.
    async fn end_client(&self, id: &str) -> Result<(), ClientError> {
        for _ in 0..2 {
            let now = self.now();
            let ending = self.ending(now, vec![self.everything_of_client(id, now)]);
            let ended = self.clients.set_disabled(id, true, &ending).await?.ok_or(ClientError::NoSuchClient)?;
            self.publish(&ended).await?;
        }
        Ok(())
    }

    /// Covers every token of a client that any replica can have issued by `now`.
    ///
    /// `iat` is cut to the second, and the clock that issued a token may be ahead of this one by the skew.
    fn everything_of_client(&self, id: &str, now: jiff::Timestamp) -> Revocation {
        let before = now + self.settings.tokens.skew + Duration::from_secs(1);
        let issuer = self.settings.tokens.issuer.as_ref().into();
        Revocation { covers: Covers::Principal { issuer, subject: id.into(), before }, expires_at: self.access_until(before) }
    }
}

/// Whether a client may be called so. The subject of a client's token must not be taken for a user's (RFC 9068 §5), and
/// in the record nobody else may be called like whoever has the command line.
fn is_client_id(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (1..=ID_BYTES_MAX).contains(&text.len()) && plain && Uuid::try_parse(text).is_err() && text != Actor::OPERATOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_plain_and_never_like_a_users() {
        for id in ["billing", "Billing-worker.v2_x", &"x".repeat(64)] {
            assert!(is_client_id(id), "{id}");
        }
        let uuid = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
        for id in ["", "a b", "a:b", "ä", "a\0", &"x".repeat(65), uuid, &uuid.replace('-', ""), &uuid.to_uppercase(), "operator"]
        {
            assert!(!is_client_id(id), "{id}");
        }
    }
}
