//! One connection to the primary, kept by a task of its own: connects, inspects, watches, reconnects.
//!
//! Look-ups never wait for a connection: there is one, or they fail at once. A connection that timed out or broke
//! is abandoned whole, so that a late answer can never be taken for the answer to another question.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::named::Address;
use super::place::{Found, RedisPlace};
use crate::store::backoff::Backoff;

/// Time for name resolution, TCP, TLS, authentication and the inspection together.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// How long a command may take before its connection counts as dead. Requests give up earlier, by their own deadline.
pub(super) const COMMAND: Duration = Duration::from_millis(500);
/// How long replicas may take to have what was published. With [`COMMAND`] before it, less than whoever publishes waits.
const ACKNOWLEDGEMENTS: Duration = Duration::from_millis(400);
/// How often the server is inspected. Bounds how long a loss that leaves the epoch in place (an eviction, a primary
/// demoted without closing its connections) stays unnoticed.
const INSPECTION: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// A connection that was found fit to hold the revoked set.
#[derive(Debug)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// Names the history of the data set behind the connection; see [`Inspection`].
    pub(super) lineage: String,
    /// Where the server is, if it had to be found.
    pub(super) address: Option<Address>,
    abandoned: CancellationToken,
}

/// Whether there is a connection.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// The first attempt is not over yet.
    Connecting,
    Down(String),
    Up(Arc<Link>),
}

impl State {
    pub(super) fn link(&self) -> Result<Arc<Link>, Failure> {
        match self {
            Self::Up(link) => Ok(Arc::clone(link)),
            Self::Connecting => Err(Failure::NotConnected("not connected yet".to_owned())),
            Self::Down(why) => Err(Failure::NotConnected(why.clone())),
        }
    }
}

impl Link {
    /// Sends one command and waits for its answer, at most [`COMMAND`].
    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.run_within(command, COMMAND).await
    }

    /// Waits until so many replicas have what was written over this connection. Whatever else is sent over it waits, too:
    /// it has to be one that nobody is in a hurry with.
    pub(super) async fn replicated(&self, needed: usize) -> Result<(), Failure> {
        let mut command = redis::cmd("WAIT");
        command.arg(needed).arg(ACKNOWLEDGEMENTS.as_millis() as u64);
        let acks: usize = self.run_within(&command, ACKNOWLEDGEMENTS + COMMAND).await?;
        if acks < needed { Err(Failure::TooFewReplicas { acks, needed }) } else { Ok(()) }
    }

    async fn run_within<T: FromRedisValue>(&self, command: &Cmd, time: Duration) -> Result<T, Failure> {
        let mut connection = self.connection.clone();
        let answer = tokio::time::timeout(time, command.query_async(&mut connection)).await;
        let answer = answer.map_err(|_| Failure::TimedOut(time)).and_then(|answer| answer.map_err(Failure::from));
        if answer.as_ref().is_err_and(Failure::poisons_connection) {
            self.abandoned.cancel();
        }
        answer
    }

    /// Asks the server again what it is, and fails if it is no longer what the link was made for.
    pub(super) async fn inspect(&self) -> Result<(), Failure> {
        let info: String = self.run(&redis::cmd("INFO")).await?;
        let fit = Inspection::read(&info)
            .and_then(|inspection| inspection.lineage())
            .and_then(|lineage| if lineage == self.lineage { Ok(()) } else { Err(Failure::Incomplete) });
        if fit.is_err() {
            self.abandoned.cancel();
        }
        fit
    }
}

/// Keeps `state` up to date until nobody is interested any more.
pub(super) async fn keep(place: Arc<RedisPlace>, state: watch::Sender<State>, stop: CancellationToken) {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    loop {
        let failure = tokio::select! {
            () = stop.cancelled() => return,
            failure = connect_and_watch(&place, &state, &mut backoff) => failure,
        };
        let why = failure.to_string();
        // One line per outage and cause, not one per attempt.
        if !matches!(&*state.borrow(), State::Down(before) if *before == why) {
            tracing::warn!(error = why, "redis cannot be used: protected routes are refused until it can");
        }
        state.send_replace(State::Down(why));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}

async fn connect_and_watch(place: &RedisPlace, state: &watch::Sender<State>, backoff: &mut Backoff) -> Failure {
    // It has a time of its own: a majority may take a while to agree.
    let found = match place.find().await {
        Ok(found) => found,
        Err(failure) => return failure,
    };
    let link = match tokio::time::timeout(CONNECT, connect(found)).await {
        Ok(Ok(link)) => Arc::new(link),
        Ok(Err(failure)) => return failure,
        Err(_) => return Failure::TimedOut(CONNECT),
    };
    tracing::info!("connected to redis");
    state.send_replace(State::Up(Arc::clone(&link)));
    loop {
        tokio::select! {
            () = link.abandoned.cancelled() => return Failure::NotConnected("the connection broke".to_owned()),
            () = place.left(link.address.as_ref()) => return Failure::Replaced,
            () = tokio::time::sleep(INSPECTION) => {}
        }
        if let Err(failure) = link.inspect().await {
            return failure;
        }
        // Only a connection that lived for a while ends the growth of the waits: a server that accepts and then
        // drops everyone is not helped by a fleet that comes back at once.
        backoff.reset();
    }
}

async fn connect(Found { client, address }: Found) -> Result<Link, Failure> {
    // The driver's own timeouts are off: `Link::run` and `CONNECT` bound everything, once per batch.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let info = connection.req_packed_command(&redis::cmd("INFO")).await?.extract_error()?;
    let info: String = redis::from_redis_value(info).map_err(redis::RedisError::from)?;
    let lineage = Inspection::read(&info)?.lineage()?;
    Ok(Link { connection, lineage, address, abandoned: CancellationToken::new() })
}

/// What `INFO` says about a server's fitness to hold the revoked set.
#[derive(Debug, Default)]
struct Inspection<'a> {
    role: &'a str,
    loading: &'a str,
    replication_id: &'a str,
    evicted_keys: &'a str,
    memory_max: &'a str,
    memory_policy: &'a str,
}

impl<'a> Inspection<'a> {
    fn read(info: &'a str) -> Result<Self, Failure> {
        let mut inspection = Self::default();
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            match name {
                "role" => inspection.role = value,
                "loading" => inspection.loading = value,
                "master_replid" => inspection.replication_id = value,
                "evicted_keys" => inspection.evicted_keys = value,
                "maxmemory" => inspection.memory_max = value,
                "maxmemory_policy" => inspection.memory_policy = value,
                _ => {}
            }
        }
        if inspection.replication_id.is_empty() {
            return Err(Failure::Unsuitable("INFO does not show master_replid".to_owned()));
        }
        Ok(inspection)
    }

    /// What must stay the same for the contents to be trusted. The replication id changes when the server restarts,
    /// with or without its data, and when a replica is promoted, which may lack acknowledged writes; the count of
    /// evicted keys changes when revocations may have been thrown away.
    fn lineage(&self) -> Result<String, Failure> {
        let unsuitable = |why: String| Err(Failure::Unsuitable(why));
        match self {
            Self { role, .. } if *role != "master" => unsuitable(format!("its role is {role:?}, not master")),
            Self { loading: "1", .. } => unsuitable("it is still loading its data".to_owned()),
            Self { memory_max, memory_policy, .. } if !matches!((*memory_max, *memory_policy), ("0", _) | (_, "noeviction")) => {
                unsuitable(format!("its maxmemory-policy {memory_policy:?} may evict revocations: set it to noeviction"))
            }
            Self { replication_id, evicted_keys, .. } => Ok(format!("{replication_id}.{evicted_keys}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(changes: &[(&str, &str)]) -> Result<String, Failure> {
        let mut fields = [
            ("role", "master"),
            ("loading", "0"),
            ("master_replid", "8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb"),
            ("evicted_keys", "0"),
            ("maxmemory", "0"),
            ("maxmemory_policy", "noeviction"),
        ];
        for (name, value) in changes {
            fields.iter_mut().filter(|field| field.0 == *name).for_each(|field| field.1 = value);
        }
        let info: String = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
        Inspection::read(&info)?.lineage()
    }

    #[test]
    fn only_a_primary_that_keeps_what_it_is_given_is_fit() {
        assert!(lineage(&[]).is_ok());
        assert!(lineage(&[("maxmemory", "1000"), ("maxmemory_policy", "noeviction")]).is_ok());
        assert!(lineage(&[("maxmemory", "0"), ("maxmemory_policy", "allkeys-lru")]).is_ok());
        for unfit in [
            &[("role", "slave")][..],
            &[("loading", "1")],
            &[("maxmemory", "1000"), ("maxmemory_policy", "volatile-lru")],
            &[("master_replid", "")],
        ] {
            assert!(matches!(lineage(unfit), Err(Failure::Unsuitable(_))), "{unfit:?}");
        }
    }

    #[test]
    fn a_promotion_or_an_eviction_starts_another_lineage() {
        let before = lineage(&[]).expect("fit");
        assert_ne!(before, lineage(&[("master_replid", "0000000000000000000000000000000000000001")]).expect("fit"));
        assert_ne!(before, lineage(&[("evicted_keys", "1")]).expect("fit"));
    }
}
