//! The account at the authority (RFC 8555 §7.3): made once for all replicas, found in SQL by all others.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::{Account, AccountBuilder, AccountCredentials, ExternalAccountKey, NewAccount};
use secrecy::ExposeSecret as _;

use super::Issuance;
use super::failure::Failure;
use super::http::{Http, RetryAfter};
use super::seal::Content;
use crate::store::{AcmeAccount, AcmeName};

/// How long the account is another replica's to make, and how often to look whether it has.
const LEASE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOKS_MAX: u32 = 20;

/// An account, and what the authority says about coming back later.
pub(super) struct Opened {
    pub(super) account: Account,
    pub(super) asked: RetryAfter,
    /// By what it is known in SQL: a digest of the sealed credentials.
    pub(super) print: [u8; 32],
}

impl Issuance {
    /// The account, made if there is none. `unknown` is one that the authority does not know any more.
    pub(super) async fn account(&self, unknown: Option<[u8; 32]>) -> Result<Opened, Failure> {
        let name = self.name("");
        for _ in 0..LOOKS_MAX {
            if let Some(found) = self.found_account(&name, unknown).await? {
                return Ok(found);
            }
            let now = self.parts.clock.now();
            if let Some(failures) = self.parts.store.take_lease(&name, self.owner, now, now + LEASE).await? {
                // Between the look and the lease another replica may have made it.
                let made = match self.found_account(&name, unknown).await {
                    Ok(None) => self.made_account(&name).await,
                    Ok(Some(found)) => Ok(found),
                    Err(failure) => Err(failure),
                };
                self.give_up(&name, failures, made.as_ref().err()).await;
                return made;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let what = "the account is being made by another replica, or could not be made a while ago: see that line".to_owned();
        Err(Failure::Outage { what, retry_after: None })
    }

    async fn found_account(&self, name: &AcmeName, unknown: Option<[u8; 32]>) -> Result<Option<Opened>, Failure> {
        let Some(mut row) = self.parts.store.account(name).await? else { return Ok(None) };
        let print = print(&row.credentials);
        if unknown == Some(print) {
            return Ok(None);
        }
        let Ok(opened) = self.parts.sealing.open(&row.credentials, Content::Account, name) else {
            tracing::error!("the key of the ACME account cannot be opened with this key file: another account is made");
            return Ok(None);
        };
        let Ok(credentials) = serde_json::from_slice::<AccountCredentials>(&opened) else { return Ok(None) };
        let (builder, asked) = self.builder()?;
        let account = builder.from_credentials(credentials).await.map_err(|error| Failure::of(error, asked.take()))?;
        let contact = self.contact();
        if row.contact != contact.join(",") {
            let words: Vec<&str> = contact.iter().map(String::as_str).collect();
            // The certificate matters more than whom the authority writes to.
            match account.update_contacts(&words).await {
                Ok(()) => {
                    row.contact = contact.join(",");
                    self.parts.store.save_account(name, &row).await?;
                }
                Err(error) => {
                    let error = Failure::of(error, None);
                    tracing::warn!(%error, "the authority was not told the new `server.acme.contact`");
                }
            }
        }
        Ok(Some(Opened { account, asked, print }))
    }

    async fn made_account(&self, name: &AcmeName) -> Result<Opened, Failure> {
        let contact = self.contact();
        let words: Vec<&str> = contact.iter().map(String::as_str).collect();
        // Without the operator's agreement the configuration is refused.
        let new = NewAccount { contact: &words, terms_of_service_agreed: true, only_return_existing: false };
        let external = self.settings.external_account.as_ref();
        let external = external.map(|known| ExternalAccountKey::new(known.key_id.clone(), known.key.expose_secret()));
        let (builder, asked) = self.builder()?;
        let made = builder.create(&new, self.settings.directory.clone(), external.as_ref()).await;
        let (account, credentials) = made.map_err(|error| Failure::of(error, asked.take()))?;
        let plain = serde_json::to_vec(&credentials).map_err(|error| Failure::Unusable(error.to_string()))?;
        let plain = secrecy::zeroize::Zeroizing::new(plain);
        let credentials = self.parts.sealing.seal(&plain, Content::Account, name);
        let print = print(&credentials);
        self.parts.store.save_account(name, &AcmeAccount { contact: contact.join(","), credentials }).await?;
        tracing::info!(directory = self.settings.directory, account = account.id(), "an ACME account was made");
        Ok(Opened { account, asked, print })
    }

    fn builder(&self) -> Result<(AccountBuilder, RetryAfter), Failure> {
        let client = Http::new(&self.authorities, std::sync::Arc::clone(&self.parts.clock));
        let client = client.map_err(|what| Failure::Outage { what, retry_after: None })?;
        let asked = client.retry_after();
        Ok((Account::builder_with_http(Box::new(client)), asked))
    }

    fn contact(&self) -> Vec<String> {
        self.settings.contact.iter().map(|address| format!("mailto:{address}")).collect()
    }
}

fn print(sealed: &[u8]) -> [u8; 32] {
    digest(&SHA256, sealed).as_ref().try_into().expect("SHA-256 gives 32 bytes")
}
