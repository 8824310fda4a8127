//! Which servers there are and how they are reached: what the configuration says, in the words of this adapter.

use redis::ClientTlsConfig;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

/// The servers of the revoked set.
#[derive(Debug)]
pub struct RedisServers {
    /// Which there are.
    pub layout: RedisLayout,
    /// How the gateway introduces itself to those with data, if their URL does not say.
    pub login: RedisLogin,
    /// Whose certificates are believed; none for the public authorities.
    pub tls: Option<RedisTls>,
}

/// Which servers there are.
#[derive(Debug)]
pub enum RedisLayout {
    /// One primary, at one URL.
    Single(SecretString),
    /// A primary that sentinels watch over.
    Sentinel {
        /// The URLs of all of them, without a login. With `rediss` the primary is spoken to over TLS, too.
        sentinels: Vec<String>,
        /// What they call the primary.
        primary: String,
        /// How the gateway introduces itself to them.
        login: RedisLogin,
    },
    /// The URLs of all nodes of a cluster, without a login.
    Cluster(Vec<String>),
}

/// A name and a password, as far as they are needed.
#[derive(Debug, Default)]
pub struct RedisLogin {
    /// The user of the access control list; none for the default one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
}

/// Certificates, in PEM.
#[derive(Debug)]
pub struct RedisTls {
    /// The only authorities that are believed; none for the public ones.
    pub authorities: Option<Vec<u8>>,
    /// The gateway's own certificate with its chain, and its private key.
    pub client: Option<(Vec<u8>, SecretSlice<u8>)>,
}

impl RedisServers {
    /// One primary at `url`, which says how it is reached.
    #[must_use]
    pub fn at(url: SecretString) -> Self {
        Self { layout: RedisLayout::Single(url), login: RedisLogin::default(), tls: None }
    }
}

impl RedisTls {
    pub(super) fn client(&self) -> Option<ClientTlsConfig> {
        let (certificate, key) = self.client.as_ref()?;
        Some(ClientTlsConfig { client_cert: certificate.clone(), client_key: key.expose_secret().to_vec() })
    }
}
