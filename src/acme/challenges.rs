//! What the authority asks for, answered at whichever replica it comes to.
//!
//! It is looked for in SQL each time: the authority asks as soon as the replica that ordered has told it to. Anybody can
//! ask for what does not exist, so all who ask together share one look, and looks are rare.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use tokio::runtime::Handle;

use super::AcmeParts;
use crate::clock::Clock;
use crate::store::{Acme, AcmeChallenge};
use crate::tls;

/// Between the beginnings of two looks.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(200);
/// More than that are not under way at any time.
const CHALLENGES_MAX: u32 = 1000;
const TOKEN_BYTES_MAX: usize = 255;

/// Answers to what the authority asks.
pub struct Challenges(Arc<Inner>);

struct Inner {
    hosts: HashSet<Box<str>>,
    store: Arc<dyn Acme>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    /// What the last look found.
    pending: Mutex<Vec<AcmeChallenge>>,
    /// When the last look began. Held during a look.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").field("hosts", &self.0.hosts).finish_non_exhaustive()
    }
}

impl Challenges {
    pub(super) fn new(hosts: &[Box<str>], parts: &AcmeParts) -> Self {
        Self(Arc::new(Inner {
            hosts: hosts.iter().cloned().collect(),
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            runtime: parts.runtime.clone(),
            pending: Mutex::default(),
            looked: tokio::sync::Mutex::default(),
        }))
    }

    /// What `GET /.well-known/acme-challenge/TOKEN` is answered with at `host`, in lower case (RFC 8555 §8.3).
    pub async fn key_authorization(&self, host: &str, token: &str) -> Option<String> {
        // What is no token is not looked for (RFC 8555 §8.3: base64url).
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(is_token) {
            return None;
        }
        let token = token.to_owned();
        let challenge = self.find(host, move |challenge| challenge.token == token).await?;
        Some(challenge.key_authorization)
    }

    /// What a handshake for `host`, in lower case, is made with whose client speaks nothing but `acme-tls/1` (RFC 8737 §3).
    pub async fn handshake(&self, host: &str) -> Option<Arc<ServerConfig>> {
        let challenge = self.find(host, |_| true).await?;
        match handshake(&challenge) {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                tracing::error!(host, %error, "no certificate could be made that answers an ACME challenge");
                None
            }
        }
    }

    async fn find(&self, host: &str, wanted: impl Fn(&AcmeChallenge) -> bool) -> Option<AcmeChallenge> {
        if !self.0.hosts.contains(host) {
            return None;
        }
        // On the application's runtime: this one is a proxy's.
        let (inner, asked) = (Arc::clone(&self.0), self.0.clock.monotonic());
        self.0.runtime.spawn(async move { inner.look(asked).await }).await.ok()?;
        let pending = self.0.pending.lock().expect("nobody panics while holding this");
        pending.iter().find(|challenge| challenge.host == host && wanted(challenge)).cloned()
    }
}

impl Inner {
    /// Looks into the store, unless somebody has since `asked`.
    async fn look(&self, asked: Instant) {
        let mut looked = self.looked.lock().await;
        if let Some(before) = *looked {
            if before >= asked {
                return;
            }
            let passed = self.clock.monotonic().saturating_duration_since(before);
            tokio::time::sleep(LOOK_EVERY_MIN.saturating_sub(passed)).await;
        }
        *looked = Some(self.clock.monotonic());
        match self.store.challenges(self.clock.now(), CHALLENGES_MAX).await {
            Ok(challenges) => *self.pending.lock().expect("nobody panics while holding this") = challenges,
            Err(error) => tracing::warn!(%error, "whether an ACME challenge is to be answered is not known"),
        }
    }
}

/// RFC 8737 §3: a certificate of its own making for this one host, with the answer in it.
fn handshake(challenge: &AcmeChallenge) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let mut params = CertificateParams::new([challenge.host.clone()])?;
    let answer = digest(&SHA256, challenge.key_authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(answer.as_ref())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(tls::challenge_config(certificate.der().clone(), key.serialize_der())?)
}

#[cfg(test)]
#[path = "challenges_tests.rs"]
mod tests;
