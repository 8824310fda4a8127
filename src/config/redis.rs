//! `[revocation]`: which servers hold the revoked set, and how they are reached.

use secrecy::{SecretSlice, SecretString};

/// The servers that hold the revoked set.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Which there are.
    pub layout: RedisLayout,
    /// The login at those with data, unless their URL has one.
    pub login: Login,
    /// `[revocation.tls]`, its files read.
    pub tls: Option<RedisTls>,
}

/// Which servers there are.
#[derive(Debug, Clone)]
pub enum RedisLayout {
    /// `url`
    Single(SecretString),
    /// `[revocation.sentinel]`
    Sentinel {
        /// URLs without credentials.
        sentinels: Vec<String>,
        /// What they call the primary.
        primary: String,
        /// The login at them.
        login: Login,
    },
    /// `cluster`: URLs without credentials.
    Cluster(Vec<String>),
}

/// A user and a password, as far as they are needed.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// None for the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
}

/// Certificates, in PEM.
#[derive(Debug, Clone)]
pub struct RedisTls {
    /// The only authorities that are believed; none for the public ones.
    pub authorities: Option<Vec<u8>>,
    /// The gateway's own certificate with its chain, and its private key.
    pub client: Option<(Vec<u8>, SecretSlice<u8>)>,
}
