//! The port for certificates by ACME: what replicas share so that they order one certificate, and all show it.
//!
//! Keys come and go sealed; no store ever sees one.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::StoreError;

/// What a record is about: a host at an authority. One authority's records say nothing about another's, so that the
/// one of a rehearsal never stands in the way of the real one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcmeName {
    /// SHA-256 of the URL of the authority's directory.
    pub directory: [u8; 32],
    /// The host in lower case, at most 253 bytes; empty for the account.
    pub host: Box<str>,
}

/// The account at an authority (RFC 8555 §7.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeAccount {
    /// What the authority was last told about whom to write to.
    pub contact: String,
    /// Its URL and its key, sealed.
    pub credentials: Vec<u8>,
}

/// An order that is under way (RFC 8555 §7.1.3): whoever takes the lease goes on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeOrder {
    /// Where the authority has it.
    pub url: String,
    /// The key that the certificate will be for, sealed.
    pub key: Vec<u8>,
    /// When it began.
    pub created_at: Timestamp,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeCertificate {
    /// The chain, in PEM, the host's own certificate first.
    pub chain: String,
    /// Its key, sealed.
    pub key: Vec<u8>,
}

/// What the authority will ask for, at whichever replica it comes to (RFC 8555 §8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeChallenge {
    /// What it asks by over HTTP; at most 255 bytes.
    pub token: String,
    /// The host that it asks for.
    pub host: String,
    /// The answer. Not a secret: whoever asks gets it.
    pub key_authorization: String,
    /// From when on it is not answered any more.
    pub expires_at: Timestamp,
}

/// Accounts, orders, certificates, challenges, and who works on them.
#[async_trait]
pub trait Acme: Send + Sync {
    /// Takes the lease until `until`, unless somebody holds it at `now`. Of many callers at once one succeeds. Returns
    /// how often in a row the work failed.
    async fn take_lease(&self, name: &AcmeName, owner: Uuid, now: Timestamp, until: Timestamp)
    -> Result<Option<u32>, StoreError>;
    /// Holds the lease until `until`; false if it is somebody else's by now.
    async fn extend_lease(&self, name: &AcmeName, owner: Uuid, until: Timestamp) -> Result<bool, StoreError>;
    /// Gives the lease up after a failure: nobody takes it before `until`. Nothing happens if it is somebody else's.
    async fn rest_lease(&self, name: &AcmeName, owner: Uuid, until: Timestamp, failures: u32) -> Result<(), StoreError>;
    /// Gives the lease up after success. Nothing happens if it is somebody else's.
    async fn end_lease(&self, name: &AcmeName, owner: Uuid) -> Result<(), StoreError>;

    /// The account.
    async fn account(&self, name: &AcmeName) -> Result<Option<AcmeAccount>, StoreError>;
    /// Remembers the account, in place of an older one.
    async fn save_account(&self, name: &AcmeName, account: &AcmeAccount) -> Result<(), StoreError>;

    /// The order that is under way.
    async fn order(&self, name: &AcmeName) -> Result<Option<AcmeOrder>, StoreError>;
    /// Remembers an order, in place of an older one.
    async fn save_order(&self, name: &AcmeName, order: &AcmeOrder) -> Result<(), StoreError>;
    /// Forgets the order.
    async fn forget_order(&self, name: &AcmeName) -> Result<(), StoreError>;

    /// Every host of an authority with a certificate, and a number that grows with each one that takes its place.
    async fn versions(&self, directory: &[u8; 32]) -> Result<Vec<(String, i64)>, StoreError>;
    /// The certificate.
    async fn certificate(&self, name: &AcmeName) -> Result<Option<AcmeCertificate>, StoreError>;
    /// Remembers a certificate in place of an older one, and forgets its order, in one transaction.
    async fn save_certificate(&self, name: &AcmeName, certificate: &AcmeCertificate) -> Result<(), StoreError>;

    /// Remembers a challenge, and forgets those that expired before `now`.
    async fn add_challenge(&self, challenge: &AcmeChallenge, now: Timestamp) -> Result<(), StoreError>;
    /// The challenges that are to be answered at `now`, at most `limit`.
    async fn challenges(&self, now: Timestamp, limit: u32) -> Result<Vec<AcmeChallenge>, StoreError>;
    /// Forgets a challenge.
    async fn remove_challenge(&self, token: &str) -> Result<(), StoreError>;
}
