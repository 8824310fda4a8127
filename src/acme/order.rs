//! One order, from its beginning or from where another replica left it, to the certificate (RFC 8555 §7.4).

use std::time::Duration;

use instant_acme::{Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus, RetryPolicy};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use secrecy::zeroize::Zeroizing;

use super::account::Opened;
use super::failure::{Failure, described};
use super::seal::Content;
use super::{Issuance, Proof};
use crate::store::{AcmeCertificate, AcmeChallenge, AcmeName, AcmeOrder};
use crate::tls::Pair;

/// How the authority is asked whether it is done.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));
/// Longer than any authority takes to ask. What is forgotten by a replica that died goes by itself.
const CHALLENGE_LIFE: Duration = Duration::from_secs(3600);

/// An order and the key that its certificate will be for.
struct Begun {
    order: Order,
    key: KeyPair,
    sealed: Vec<u8>,
}

impl Issuance {
    /// Has a certificate issued, and remembers it.
    pub(super) async fn ordered(&self, name: &AcmeName, opened: &Opened) -> Result<Pair, Failure> {
        let of = |error| Failure::of(error, opened.asked.take());
        let begun = match self.resumed(name, opened).await? {
            Some(begun) => begun,
            None => self.begun(name, opened).await?,
        };
        let Begun { mut order, key, sealed } = begun;
        if order.state().status == OrderStatus::Pending {
            self.prove(name, &mut order, opened).await?;
        }
        if order.state().status == OrderStatus::Ready {
            let request = request(name, &key).map_err(|error| Failure::Unusable(error.to_string()))?;
            order.finalize_csr(&request).await.map_err(of)?;
        }
        let chain = match order.poll_certificate(&PATIENCE).await {
            Ok(chain) => chain,
            Err(_) if order.state().status == OrderStatus::Invalid => return Err(Failure::Refused(why_not(&mut order).await)),
            Err(error) => return Err(of(error)),
        };
        let pair = self.checked(name, &chain, &Zeroizing::new(key.serialize_pem()))?;
        self.parts.store.save_certificate(name, &AcmeCertificate { chain, key: sealed }).await?;
        Ok(pair)
    }

    /// What was issued, if clients of this host will accept it.
    fn checked(&self, name: &AcmeName, chain: &str, key: &str) -> Result<Pair, Failure> {
        let unusable = |error: crate::tls::PairError| Failure::Unusable(error.to_string());
        let pair = Pair::read(chain.as_bytes(), key.as_bytes(), &[]).map_err(unusable)?;
        if !pair.names().contains(&name.host) {
            return Err(Failure::Unusable(format!("it is for {}", pair.names().join(", "))));
        }
        pair.check_time(self.parts.clock.now()).map_err(unusable)?;
        Pair::read(chain.as_bytes(), key.as_bytes(), std::slice::from_ref(&name.host)).map_err(unusable)
    }

    /// The order that is under way, if it leads anywhere.
    async fn resumed(&self, name: &AcmeName, opened: &Opened) -> Result<Option<Begun>, Failure> {
        let Some(row) = self.parts.store.order(name).await? else { return Ok(None) };
        let key = self.parts.sealing.open(&row.key, Content::CertificateKey, name).ok();
        let key = key.and_then(|pem| KeyPair::from_pem(std::str::from_utf8(&pem).ok()?).ok());
        if let Some(key) = key {
            match opened.account.order(row.url).await.map_err(|error| Failure::of(error, opened.asked.take())) {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        tracing::info!(host = %name.host, "an order that was under way goes on");
                        return Ok(Some(Begun { order, key, sealed: row.key }));
                    }
                }
                // It is another account's, or forgotten.
                Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        self.parts.store.forget_order(name).await?;
        Ok(None)
    }

    async fn begun(&self, name: &AcmeName, opened: &Opened) -> Result<Begun, Failure> {
        let key = KeyPair::generate().map_err(|error| Failure::Unusable(error.to_string()))?;
        let pem = Zeroizing::new(key.serialize_pem());
        let sealed = self.parts.sealing.seal(pem.as_bytes(), Content::CertificateKey, name);
        let order = new_order(&opened.account, name).await.map_err(|error| Failure::of(error, opened.asked.take()))?;
        let row = AcmeOrder { url: order.url().to_owned(), key: sealed.clone(), created_at: self.parts.clock.now() };
        self.parts.store.save_order(name, &row).await?;
        Ok(Begun { order, key, sealed })
    }

    /// Has the authority find out that the host is ours.
    async fn prove(&self, name: &AcmeName, order: &mut Order, opened: &Opened) -> Result<(), Failure> {
        let mut tokens = Vec::new();
        let proved = self.answered(name, order, opened, &mut tokens).await;
        for token in tokens {
            // It expires by itself if this fails.
            drop(self.parts.store.remove_challenge(&token).await);
        }
        proved
    }

    async fn answered(
        &self,
        name: &AcmeName,
        order: &mut Order,
        opened: &Opened,
        tokens: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let of = |error| Failure::of(error, opened.asked.take());
        let (kind, word) = match self.settings.proof {
            Proof::Http => (ChallengeType::Http01, "http-01"),
            Proof::TlsAlpn => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(of)?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(Failure::Refused(format!("the authorization is {other:?}"))),
            }
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                return Err(Failure::Refused(format!("it does not offer {word}: change `server.acme.challenge`")));
            };
            let now = self.parts.clock.now();
            let row = AcmeChallenge {
                token: challenge.token.clone(),
                host: name.host.to_string(),
                key_authorization: challenge.key_authorization().as_str().to_owned(),
                expires_at: now + CHALLENGE_LIFE,
            };
            self.parts.store.add_challenge(&row, now).await?;
            tokens.push(row.token);
            challenge.set_ready().await.map_err(of)?;
        }
        let ended = order.poll_ready(&PATIENCE).await;
        let invalid = order.state().status == OrderStatus::Invalid;
        match ended {
            Ok(OrderStatus::Ready) => Ok(()),
            _ if invalid => Err(Failure::Refused(why_not(order).await)),
            Ok(other) => Err(Failure::Refused(format!("the order is {other:?}"))),
            Err(error) => Err(of(error)),
        }
    }
}

async fn new_order(account: &Account, name: &AcmeName) -> Result<Order, instant_acme::Error> {
    account.new_order(&NewOrder::new(&[Identifier::Dns(name.host.to_string())])).await
}

/// The request for the certificate (RFC 8555 §7.4: its names are the order's). A common name would say nothing more.
fn request(name: &AcmeName, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new([name.host.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// What the authority found wrong when it looked.
async fn why_not(order: &mut Order) -> String {
    let mut errors = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            errors.extend(state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()).map(described));
        }
    }
    if errors.is_empty() { "the order is invalid, and it does not say why".to_owned() } else { errors.join("; ") }
}
