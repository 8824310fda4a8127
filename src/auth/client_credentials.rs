//! Clients sign in: a secret, or an assertion signed by their key, for a token that speaks for the client itself.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Map;

use crate::identity::access_token::{self, Claims};
use crate::identity::client_assertion::{self, AssertionError};
use crate::identity::machine_secret::{MachineSecret, SecretKind};
use crate::identity::one_time_token::TokenHash;
use crate::identity::public_keys::PublicKeys;
use crate::identity::scope::Scope;
use crate::identity::session::SessionId;
use crate::identity::{Credential, Principal};
use crate::store::Client;

use super::audit::{self, Event, Kind, Outcome};
use super::outage::Outage;
use super::throttle::Throttled;
use super::tokens::{rest, whole_seconds};
use super::{Auth, Origin};

/// What a client presents to prove who it is.
#[derive(Debug)]
pub enum ClientCredentials {
    /// `client_secret_basic` or `client_secret_post` (RFC 6749 §2.3.1).
    Secret {
        /// `client_id`.
        id: String,
        /// `client_secret`.
        secret: SecretString,
    },
    /// `private_key_jwt` (RFC 7523 §2.2).
    Assertion {
        /// `client_id`, which may be left out.
        id: Option<String>,
        /// `client_assertion`.
        assertion: SecretString,
    },
}

impl ClientCredentials {
    /// Who the client says that it is; nobody if it cannot be read.
    fn claimed_id(&self) -> Cow<'_, str> {
        match self {
            Self::Secret { id, .. } | Self::Assertion { id: Some(id), .. } => id.into(),
            Self::Assertion { id: None, assertion } => {
                client_assertion::claimed_client(assertion.expose_secret()).unwrap_or_default().into_string().into()
            }
        }
    }
}

/// Why a client was not recognised.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// Unknown, disabled, or not proved. Never says which.
    #[error("the client is not recognised")]
    Refused,
    /// Too many failures for this client id from this network, or from this network. Says nothing about the client.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Why a client gets no token.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// It is not recognised.
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    /// It asks for a scope that is none, or that it may not have.
    #[error("a requested scope is not one of the client's")]
    Scope,
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// What a client is answered with.
pub struct ClientToken {
    /// The access token.
    pub access_token: SecretString,
    /// The rest of its life.
    pub expires_in: Duration,
    /// What it is good for.
    pub scopes: Vec<String>,
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientToken").field("expires_in", &self.expires_in).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// What the secret of a client that has none is compared with. The comparison's result does not count.
const NO_SECRET: TokenHash = [0; 32];
/// No client id is longer in any store.
const CLIENT_ID_BYTES_MAX: usize = 128;

impl Auth {
    /// Gives a client a token for itself: for all its scopes, or for those that it asks for (RFC 6749 §4.4).
    ///
    /// # Errors
    /// See [`GrantError`].
    pub async fn grant_to_client(
        &self,
        credentials: &ClientCredentials,
        scope: Option<&str>,
        from: &Origin,
    ) -> Result<ClientToken, GrantError> {
        let (client, now) = self.admit_client(credentials, from).await?;
        let scopes = granted(&client, scope)?;
        let expires_at = whole_seconds(now) + self.settings.access_token;
        let principal = Principal {
            issuer: self.settings.tokens.issuer.clone(),
            subject: client.id.as_str().into(),
            username: None,
            email: None,
            roles: client.roles.iter().map(|role| role.as_str().into()).collect(),
            scopes: scopes.iter().map(|scope| scope.as_str().into()).collect(),
            // Every grant is a session of its own, which nothing can refresh.
            session: SessionId(self.random_id()),
            auth_time: now,
            credential: Credential::Client,
        };
        let audience = self.settings.tokens.audience.clone();
        let claims = Claims { principal, audience, jti: self.random_id(), issued_at: now, expires_at, further: Map::new() };
        let ring = self.ring.load();
        let key = ring.signer(now).ok_or(Outage::NoSigningKey)?;
        let access_token = access_token::sign(&claims, key).map_err(Outage::from)?;
        Ok(ClientToken { access_token, expires_in: rest(expires_at, now), scopes })
    }

    /// Recognises a client.
    ///
    /// # Errors
    /// See [`ClientAuthError`].
    pub async fn authenticate_client(&self, credentials: &ClientCredentials, from: &Origin) -> Result<Client, ClientAuthError> {
        Ok(self.admit_client(credentials, from).await?.0)
    }

    /// The client, and an instant before it was read: a disabling that this reading does not see comes after that instant,
    /// and covers what is issued at it.
    async fn admit_client(&self, credentials: &ClientCredentials, from: &Origin) -> Result<(Client, Timestamp), ClientAuthError> {
        let attempt = self.throttle.client(&credentials.claimed_id(), from.address).await?;
        let now = self.now();
        let recognised = match credentials {
            ClientCredentials::Secret { id, secret } => self.by_secret(id, secret).await,
            ClientCredentials::Assertion { id, assertion } => self.by_assertion(id.as_deref(), assertion).await,
        };
        match recognised {
            Ok(client) => {
                attempt.succeeded().await;
                Ok((client, now))
            }
            Err(error) => {
                match &error {
                    ClientAuthError::Refused => {
                        attempt.failed();
                        self.record_failure(&credentials.claimed_id(), from).await;
                    }
                    ClientAuthError::Throttled(_) | ClientAuthError::Outage(_) => attempt.give_back().await,
                }
                Err(error)
            }
        }
    }

    /// A client's secret has the letters of an id, so that only the id of a client that there is may be kept whole: any
    /// other may be a secret in the wrong field.
    async fn record_failure(&self, claimed: &str, from: &Origin) {
        let known = self.find_client(claimed).await.is_ok_and(|client| client.is_some());
        let named = if known { claimed.to_owned() } else { audit::shown(claimed) };
        self.audit(Event::new(Kind::ClientFailed, Outcome::Failure, from).with("client", named)).await;
    }

    /// The same work for clients that there are and that there are not.
    async fn by_secret(&self, id: &str, secret: &SecretString) -> Result<Client, ClientAuthError> {
        // What does not even look like a secret of ours is compared, too: as a hash that no client has.
        let presented = MachineSecret::parse(SecretKind::Client, secret.expose_secret());
        let presented = presented.map_or([0xff; 32], |secret| secret.hash());
        let client = self.find_client(id).await?;
        let stored = client.as_ref().and_then(|client| client.secret_hash);
        let equal = aws_lc_rs::constant_time::verify_slices_are_equal(&presented, &stored.unwrap_or(NO_SECRET)).is_ok();
        client.filter(|client| equal && stored.is_some() && client.disabled_at.is_none()).ok_or(ClientAuthError::Refused)
    }

    async fn by_assertion(&self, id: Option<&str>, assertion: &SecretString) -> Result<Client, ClientAuthError> {
        let assertion = assertion.expose_secret();
        let claimed = client_assertion::claimed_client(assertion).ok_or(ClientAuthError::Refused)?;
        if id.is_some_and(|id| *id != *claimed) {
            return Err(ClientAuthError::Refused);
        }
        let client = self.find_client(&claimed).await?;
        let keys = client.as_ref().and_then(|client| client.public_keys.as_deref());
        // Somebody's keys in any case, so that a client that there is costs no more than one that there is not.
        let keys = keys.map_or_else(|| Ok(PublicKeys::nobodys()), PublicKeys::parse).map_err(|_| ClientAuthError::Refused)?;
        let verified = client_assertion::verify(assertion, &claimed, &keys, &self.settings.assertions, self.now());
        let proof = verified.map_err(|error: AssertionError| {
            // An operator who sets a client up needs to know; the client itself learns nothing.
            if let Some(client) = &client {
                tracing::debug!(client = client.id, %error, "a client assertion was refused");
            }
            ClientAuthError::Refused
        })?;
        let live = client.filter(|client| client.public_keys.is_some() && client.disabled_at.is_none());
        let client = live.ok_or(ClientAuthError::Refused)?;
        // Last: what is refused for another reason uses nothing up.
        if !self.clients.use_assertion(&proof.id, proof.expires_at).await.map_err(Outage::from)? {
            tracing::warn!(client = client.id, "a client assertion came a second time: somebody holds a copy");
            return Err(ClientAuthError::Refused);
        }
        Ok(client)
    }

    async fn find_client(&self, id: &str) -> Result<Option<Client>, Outage> {
        if id.len() > CLIENT_ID_BYTES_MAX {
            return Ok(None);
        }
        Ok(self.clients.find(id).await?)
    }
}

/// The scopes to be granted, sorted: all of the client's, or those asked for if all of them are the client's.
fn granted(client: &Client, scope: Option<&str>) -> Result<Vec<String>, GrantError> {
    let mut scopes: Vec<String> = match scope {
        None => client.scopes.clone(),
        Some(list) => {
            let asked = Scope::parse_list(list).map_err(|_| GrantError::Scope)?;
            asked.iter().map(|scope| scope.as_str().to_owned()).collect()
        }
    };
    if !scopes.iter().all(|scope| client.scopes.contains(scope)) {
        return Err(GrantError::Scope);
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}
