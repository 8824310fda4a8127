//! Looks after the certificates: shows what is in SQL, whoever ordered it, and orders what is missing or soon over.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Issuance;
use super::failure::Failure;
use super::seal::Content;
use crate::store::{AcmeName, StoreError};
use crate::telemetry::labels::{AcmeOutcome, AcmeState};
use crate::tls::{Certificates, Pair};

/// How often to look for what other replicas have ordered: one small question to the database.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A replica that dies leaves its work for so long; and how often one that lives says so. The clocks of replicas may
/// differ by the difference.
const LEASE: Duration = Duration::from_secs(15);
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// From this failure in a row on somebody has to act, even if the certificate has weeks to go.
const FAILURES_BORNE: u32 = 3;

/// Looks after the certificates of one configuration.
#[derive(Debug)]
pub struct Worker {
    issuance: Arc<Issuance>,
    shown: Arc<Certificates>,
    held: BTreeMap<Box<str>, Held>,
    /// What was last said about the database, until it answers again.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Held {
    version: i64,
    /// None if what is in the database cannot be used.
    pair: Option<Pair>,
}

/// Orders for hosts, one after the other.
type Errand = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Worker {
    /// Shows the certificates of `issuance` among the others of `shown`.
    #[must_use]
    pub fn new(issuance: Arc<Issuance>, shown: Arc<Certificates>) -> Self {
        Self { issuance, shown, held: BTreeMap::new(), trouble: None }
    }

    /// Shows what is in the database already. To be called before the first client comes.
    pub async fn open(&mut self) {
        self.adopt().await;
        self.count();
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let mut rounds = tokio::time::interval(LOOK_EVERY);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut errand: Option<Errand> = None;
        loop {
            let next_round = match &mut errand {
                Some(work) => tokio::select! {
                    () = work => {
                        errand = None;
                        false
                    }
                    _ = rounds.tick() => true,
                },
                None => {
                    rounds.tick().await;
                    true
                }
            };
            self.adopt().await;
            self.count();
            let due = self.due();
            // Never right after the one before: whoever is not to be tried yet is still due.
            if next_round && errand.is_none() && !due.is_empty() && self.trouble.is_none() {
                errand = Some(Box::pin(attend(Arc::clone(&self.issuance), due)));
            }
        }
    }

    /// Shows what has changed in the database.
    async fn adopt(&mut self) {
        match self.changes().await {
            Ok(changed) => {
                self.trouble = None;
                if changed {
                    self.shown.show_ordered(self.held.values().filter_map(|held| held.pair.clone()).collect());
                }
            }
            Err(error) => {
                let error = error.to_string();
                if self.trouble.as_ref() != Some(&error) {
                    tracing::warn!(error, "certificates by ACME cannot be looked for in the database; those shown stay");
                    self.trouble = Some(error);
                }
            }
        }
    }

    async fn changes(&mut self) -> Result<bool, StoreError> {
        let issuance = Arc::clone(&self.issuance);
        let mut changed = false;
        for (host, version) in issuance.parts.store.versions(&issuance.directory).await? {
            let Some(host) = issuance.settings.hosts.iter().find(|ours| ***ours == *host) else { continue };
            if self.held.get(host).is_some_and(|held| held.version == version) {
                continue;
            }
            let pair = match issuance.stored(&issuance.name(host)).await? {
                Ok(pair) => pair,
                Err(error) => {
                    tracing::error!(%host, error, "a certificate in the database cannot be used");
                    None
                }
            };
            if let Some(pair) = &pair {
                tracing::info!(%host, not_after = %pair.not_after(), "a certificate by ACME is shown");
            }
            // What was shown before is better than nothing.
            let before = self.held.remove(host).and_then(|held| held.pair);
            self.held.insert(host.clone(), Held { version, pair: pair.or(before) });
            changed = true;
        }
        Ok(changed)
    }

    fn due(&self) -> Vec<Box<str>> {
        let now = self.issuance.parts.clock.now();
        let pair = |host| self.held.get(host).and_then(|held| held.pair.as_ref());
        let hosts = self.issuance.settings.hosts.iter();
        hosts.filter(|host| pair(*host).is_none_or(|pair| due_at(pair) <= now)).cloned().collect()
    }

    fn count(&self) {
        let metrics = &self.issuance.parts.metrics;
        let due: BTreeSet<_> = self.due().into_iter().collect();
        let [mut shown, mut overdue, mut missing] = [0; 3];
        for host in &self.issuance.settings.hosts {
            match self.held.get(host).and_then(|held| held.pair.as_ref()) {
                None => missing += 1,
                Some(pair) => {
                    metrics.certificate_expires(host, pair.not_after().as_second());
                    *if due.contains(host) { &mut overdue } else { &mut shown } += 1;
                }
            }
        }
        for (state, count) in [(AcmeState::Current, shown), (AcmeState::Due, overdue), (AcmeState::Missing, missing)] {
            metrics.acme_certificates(state, count);
        }
    }
}

/// From when on another one is ordered: when two thirds of its life are over.
fn due_at(pair: &Pair) -> Timestamp {
    let life = pair.not_after().duration_since(pair.not_before());
    pair.not_after() - life / 3
}

/// Orders for each of these hosts, unless another replica does.
async fn attend(issuance: Arc<Issuance>, hosts: Vec<Box<str>>) {
    for host in hosts {
        let name = issuance.name(&host);
        let now = issuance.parts.clock.now();
        let taken = issuance.parts.store.take_lease(&name, issuance.owner, now, now + LEASE).await;
        // The database's trouble is told by whoever looks for certificates there.
        let Ok(Some(failures)) = taken else { continue };
        let done = tokio::select! {
            done = issuance.attended(&name) => done,
            overtaken = issuance.keep_lease(&name) => Err(overtaken),
        };
        let again_at = issuance.give_up(&name, failures, done.as_ref().err()).await;
        issuance.tell(&name, failures, &done, again_at);
    }
}

impl Issuance {
    /// The certificate in the database; an error if it cannot be used.
    async fn stored(&self, name: &AcmeName) -> Result<Result<Option<Pair>, String>, StoreError> {
        let Some(row) = self.parts.store.certificate(name).await? else { return Ok(Ok(None)) };
        let read = || {
            let key = self.parts.sealing.open(&row.key, Content::CertificateKey, name).map_err(|error| error.to_string())?;
            let pair = Pair::read(row.chain.as_bytes(), &key, std::slice::from_ref(&name.host));
            pair.map_err(|error| error.to_string())
        };
        Ok(read().map(Some))
    }

    /// Orders a certificate; none if another replica has meanwhile.
    async fn attended(&self, name: &AcmeName) -> Result<Option<Pair>, Failure> {
        if let Ok(Some(pair)) = self.stored(name).await?
            && due_at(&pair) > self.parts.clock.now()
        {
            return Ok(None);
        }
        let account = self.account(None).await?;
        let done = self.ordered(name, &account).await;
        let done = match done {
            Err(Failure::NoAccount(_)) => {
                let account = self.account(Some(account.print)).await?;
                self.ordered(name, &account).await
            }
            done => done,
        };
        if done.as_ref().is_err_and(Failure::ends_order) {
            self.parts.store.forget_order(name).await?;
        }
        done.map(Some)
    }

    /// Says that this replica still works on it; ends when another one does.
    async fn keep_lease(&self, name: &AcmeName) -> Failure {
        loop {
            tokio::time::sleep(EXTEND_EVERY).await;
            let until = self.parts.clock.now() + LEASE;
            // One that could not be extended may be at the next time.
            if let Ok(false) = self.parts.store.extend_lease(name, self.owner, until).await {
                return Failure::Overtaken;
            }
        }
    }

    /// Gives the lease up, after a failure so that nobody tries again too soon. Returns from when on somebody may.
    pub(super) async fn give_up(&self, name: &AcmeName, failures: u32, failure: Option<&Failure>) -> Timestamp {
        let now = self.parts.clock.now();
        let (given_up, again_at) = match failure {
            None => (self.parts.store.end_lease(name, self.owner).await, now),
            Some(failure) => {
                let again_at = now + failure.wait(failures);
                (self.parts.store.rest_lease(name, self.owner, again_at, failures.saturating_add(1)).await, again_at)
            }
        };
        // It runs out by itself.
        drop(given_up);
        again_at
    }

    fn tell(&self, name: &AcmeName, failures: u32, done: &Result<Option<Pair>, Failure>, again_at: Timestamp) {
        let host = &name.host;
        match done {
            Ok(None) => {}
            Ok(Some(pair)) => {
                self.parts.metrics.acme_ordered(AcmeOutcome::Issued);
                tracing::info!(%host, not_after = %pair.not_after(), renewed_at = %due_at(pair), "a certificate was issued");
            }
            Err(failure) => {
                self.parts.metrics.acme_ordered(failure.outcome());
                let attempt = failures.saturating_add(1);
                if attempt < FAILURES_BORNE && !failure.ends_order() {
                    tracing::warn!(%host, attempt, error = %failure, %again_at, "a certificate was not issued");
                } else {
                    tracing::error!(%host, attempt, error = %failure, %again_at, "a certificate was not issued");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn another_one_is_due_when_two_thirds_of_its_life_are_over() {
        let mut params = CertificateParams::new(["a.example".to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 4, 1));
        let key = KeyPair::generate().expect("a key");
        let chain = params.self_signed(&key).expect("a certificate").pem();
        let pair = Pair::read(chain.as_bytes(), key.serialize_pem().as_bytes(), &[]).expect("a pair");
        assert_eq!(due_at(&pair), "2026-03-02T00:00:00Z".parse().expect("the sixty-first of ninety days"));
    }
}
