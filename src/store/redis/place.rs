//! Where the primary is: at one address, or wherever a majority of witnesses says it is. Witnesses are the sentinels of a
//! primary, or the nodes of a cluster; the configuration lists all of them.
//!
//! After a failover two servers can believe to be the primary for a while. Four rules keep a session that was ended at one
//! of them from being accepted at the other:
//!
//! 1. A server is used only where a majority of all witnesses names it. Two majorities share a witness, so once one of them
//!    has named the new primary, none names the old one any more.
//! 2. What was published counts only if a majority names the same server *afterwards* ([`RedisPlace::confirm`]). So it
//!    counted before the new primary was found by anybody, and whoever fills that one from SQL finds it there.
//! 3. Nobody is let in on the word of a server for longer than [`LEASE`](super::named::LEASE) after the question to which a majority named it.
//! 4. The set is not declared complete at a server before it has been named for longer than that ([`RedisPlace::settled`]),
//!    and nothing published there counts before the set was declared complete (see `RedisSet::raise`). By then every
//!    lease on the old one is over, wherever its holder is.
//!
//! Lengths of time only, by the monotonic clock of one machine: never two machines' clocks.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::{Client, ConnectionAddr, IntoConnectionInfo as _, TlsCertificates};
use secrecy::ExposeSecret;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, STORE};
use super::named::{ASK_EVERY, Address, Named, SETTLED, vote};
use super::servers::{RedisLayout, RedisLogin, RedisServers};
use super::slots;
use super::witness::{Question, Witness};
use crate::clock::Clock;
use crate::store::StoreError;

/// Where the primary is, and how it is spoken to.
pub struct RedisPlace {
    /// For a primary that has to be found: with everything but its address.
    client: Client,
    election: Option<Election>,
}

/// Without the clients, which know the passwords.
impl std::fmt::Debug for RedisPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisPlace")
            .field("named", &self.election.as_ref().map(|election| election.named.borrow().clone()))
            .finish()
    }
}

struct Election {
    witnesses: Vec<Witness>,
    question: Question,
    named: watch::Sender<Option<Named>>,
    clock: Arc<dyn Clock>,
}

/// A primary that was found.
pub(super) struct Found {
    pub(super) client: Client,
    /// None where there is only one place.
    pub(super) address: Option<Address>,
}

impl RedisPlace {
    /// The place of the primary that holds keys with this prefix. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a URL is not one of Redis, or the certificates cannot be used. The error holds no URL.
    pub fn new(servers: &RedisServers, prefix: &str, clock: Arc<dyn Clock>) -> Result<Arc<Self>, StoreError> {
        let place = match &servers.layout {
            RedisLayout::Single(url) => Self { client: client(url.expose_secret(), servers, &servers.login)?, election: None },
            RedisLayout::Sentinel { sentinels, primary, login } => {
                let question = Question::Sentinels { primary: primary.clone() };
                Self::elected(servers, (sentinels, login), question, clock)?
            }
            RedisLayout::Cluster(nodes) => {
                let question = Question::Cluster { slot: slots::of_key(prefix) };
                Self::elected(servers, (nodes, &servers.login), question, clock)?
            }
        };
        Ok(Arc::new(place))
    }

    fn elected(
        servers: &RedisServers,
        (urls, login): (&[String], &RedisLogin),
        question: Question,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let nothing = || StoreError::Corrupt { store: STORE, what: "there is nobody to ask where the primary is".to_owned() };
        // The primary is spoken to as its witnesses are, with the login of its own.
        let pattern = client(urls.first().ok_or_else(nothing)?, servers, &servers.login)?;
        let witnesses = urls.iter().map(|url| client(url, servers, login).map(Witness::new)).collect::<Result<_, _>>()?;
        let election = Election { witnesses, question, named: watch::Sender::new(None), clock };
        Ok(Self { client: pattern, election: Some(election) })
    }

    /// Whether the primary can be another server tomorrow.
    pub(super) fn is_elected(&self) -> bool {
        self.election.is_some()
    }

    /// The primary as of now.
    pub(super) async fn find(&self) -> Result<Found, Failure> {
        let Some(election) = &self.election else { return Ok(Found { client: self.client.clone(), address: None }) };
        let address = election.ask().await?;
        let info = self.client.get_connection_info().clone();
        let at = match info.addr() {
            ConnectionAddr::TcpTls { tls_params, .. } => ConnectionAddr::TcpTls {
                host: address.host.clone(),
                port: address.port,
                insecure: false,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(address.host.clone(), address.port),
        };
        Ok(Found { client: Client::open(info.set_addr(at))?, address: Some(address) })
    }

    /// Whether somebody may be let in on the word of the server at this address, by a question that is sent now.
    pub(super) fn vouches_for(&self, address: Option<&Address>, now: Instant) -> bool {
        let Some(election) = &self.election else { return true };
        election.named.borrow().as_ref().is_some_and(|named| named.vouches_for(address, now))
    }

    /// Fails unless a majority still names the server at this address: asked now, so that it holds for what was done before.
    pub(super) async fn confirm(&self, address: Option<&Address>) -> Result<(), Failure> {
        let Some(election) = &self.election else { return Ok(()) };
        if Some(&election.ask().await?) == address { Ok(()) } else { Err(Failure::Replaced) }
    }

    /// Resolves when nobody anywhere is let in on the word of an earlier primary any more.
    pub(super) async fn settled(&self, address: Option<&Address>) -> Result<(), Failure> {
        let Some(election) = &self.election else { return Ok(()) };
        let since = election.named.borrow().as_ref().filter(|named| Some(&named.address) == address).map(|named| named.since);
        let for_now = election.clock.monotonic().saturating_duration_since(since.ok_or(Failure::Replaced)?);
        tokio::time::sleep(SETTLED.saturating_sub(for_now)).await;
        self.confirm(address).await
    }

    /// Resolves when another server is named than the one at this address.
    pub(super) async fn left(&self, address: Option<&Address>) {
        let Some(election) = &self.election else { return std::future::pending().await };
        let mut named = election.named.subscribe();
        let other = |named: &Option<Named>| named.as_ref().is_some_and(|named| Some(&named.address) != address);
        named.wait_for(other).await.map(drop).expect("the sender lives as long as the place");
    }

    /// Has the witnesses asked again and again, until cancelled.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let Some(election) = &self.election else { return };
        let asking = async {
            let mut reported = false;
            loop {
                match election.ask().await {
                    Ok(_) => reported = false,
                    Err(failure) if !std::mem::replace(&mut reported, true) => {
                        tracing::warn!(error = %failure, "where the redis primary is cannot be told: nobody is let in without knowing");
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        stop.run_until_cancelled(asking).await.unwrap_or(());
    }
}

impl Election {
    /// Asks all witnesses at once, and notes what a majority of them says.
    async fn ask(&self) -> Result<Address, Failure> {
        let sent = self.clock.monotonic();
        let majority = self.witnesses.len() / 2 + 1;
        let mut answers: FuturesUnordered<_> = self.witnesses.iter().map(|witness| witness.names(&self.question)).collect();
        let (mut votes, mut trouble) = (Vec::<(Address, usize)>::new(), None);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(address) => {
                    if vote(&mut votes, &address) >= majority {
                        self.note(address.clone(), sent);
                        return Ok(address);
                    }
                }
                Err(failure) => trouble = Some(failure.to_string()),
            }
        }
        Err(Failure::NoMajority(trouble.unwrap_or_else(|| "they do not agree".to_owned())))
    }

    fn note(&self, address: Address, sent: Instant) {
        let heard = self.clock.monotonic();
        self.named.send_if_modified(|named| {
            let known = Named::after(named.as_ref(), address, sent, heard);
            let another = named.as_ref().is_none_or(|named| named.address != known.address);
            if another {
                tracing::info!(primary = %known.address, "the redis primary is found");
            }
            *named = Some(known);
            // Nobody waits for a mere confirmation.
            another
        });
    }
}

/// A client for this URL, with this login unless the URL has one.
fn client(url: &str, servers: &RedisServers, login: &RedisLogin) -> Result<Client, StoreError> {
    let corrupt = |what: &str, error: &redis::RedisError| StoreError::Corrupt {
        store: STORE,
        what: format!("{what}: {}", error.category()),
    };
    let info = url.into_connection_info().map_err(|error| corrupt("the URL", &error))?;
    let mut settings = info.redis_settings().clone();
    if let Some(username) = &login.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password.expose_secret());
    }
    let info = info.set_redis_settings(settings);
    match (&servers.tls, info.addr()) {
        (Some(tls), ConnectionAddr::TcpTls { .. }) => {
            let certificates = TlsCertificates { client_tls: tls.client(), root_cert: tls.authorities.clone() };
            Client::build_with_tls(info, certificates).map_err(|error| corrupt("the certificates", &error))
        }
        _ => Client::open(info).map_err(|error| corrupt("the URL", &error)),
    }
}
