//! Look-ups of concurrent requests, coalesced by one task into one `MGET` per round trip.
//!
//! A batch costs Redis and this process far less than as many commands. Nothing waits for a batch to fill: while
//! fewer than [`IN_FLIGHT_MAX`] are on their way, the next one leaves with whoever is there.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use redis::Cmd;
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::failure::Failure;
use super::keys::{self, KEYS_PER_TOKEN, TokenKeys};
use super::link::State;
use crate::store::RevokedBy;

/// Look-ups per `MGET`: three keys each keep it below a hundred microseconds of the server's time.
const BATCH_MAX: usize = 128;
/// Batches on their way at once. More would only make each smaller.
const IN_FLIGHT_MAX: usize = 4;
/// Look-ups that may wait. Beyond it, requests are refused at once instead of waiting for their deadline.
const WAITING_MAX: usize = 8 * 1024;

pub(super) type Answer = Result<Option<RevokedBy>, Failure>;

/// One look-up. Whoever asked may be gone by the time it is answered.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) keys: TokenKeys,
    pub(super) issued_at: Timestamp,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The way of look-ups to Redis: a task and a connection, of one runtime.
#[derive(Debug)]
pub(super) struct Lane {
    asks: mpsc::Sender<Ask>,
    state: watch::Receiver<State>,
}

impl Lane {
    /// Opened in the current runtime, over the connection of `state`.
    pub(super) fn open(state: watch::Receiver<State>, shared: Arc<Shared>) -> Self {
        let (asks, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(serve(waiting, state.clone(), shared));
        Self { asks, state }
    }

    /// Has one look-up wait.
    pub(super) fn ask(&self, ask: Ask) -> Result<(), Failure> {
        self.asks.try_send(ask).map_err(|_| Failure::Overloaded)
    }

    /// A look-up of no token: fails when every other one would.
    pub(super) async fn probe(&self, shared: &Shared) -> Result<(), Failure> {
        if fetch(&[], &self.state, shared).await?.complete { Ok(()) } else { Err(Failure::Incomplete) }
    }
}

/// Answers until every sender is gone, and all that they have asked.
async fn serve(mut asks: mpsc::Receiver<Ask>, state: watch::Receiver<State>, shared: Arc<Shared>) {
    let mut in_flight = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            biased;
            Some(()) = in_flight.next() => {}
            received = asks.recv_many(&mut batch, BATCH_MAX), if in_flight.len() < IN_FLIGHT_MAX => {
                if received == 0 {
                    break;
                }
                // Their requests were answered meanwhile: by their deadline, or because the client left.
                batch.retain(|ask| !ask.answer.is_closed());
                if !batch.is_empty() {
                    in_flight.push(answer(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_MAX)), &state, &shared));
                }
            }
        }
    }
    // Another lane has taken over; what was asked here is answered here.
    while in_flight.next().await.is_some() {}
}

async fn answer(asks: Vec<Ask>, state: &watch::Receiver<State>, shared: &Shared) {
    let fetched = fetch(&asks, state, shared).await;
    for (index, ask) in asks.into_iter().enumerate() {
        let answer = match &fetched {
            Ok(fetched) => fetched.answer(index, &ask),
            Err(failure) => Err(failure.clone()),
        };
        // An error says that the request no longer waits.
        let _ = ask.answer.send(answer);
    }
}

/// The values of a batch, and whether their absence means anything.
struct Fetched {
    values: Vec<Option<Vec<u8>>>,
    complete: bool,
}

impl Fetched {
    fn answer(&self, index: usize, ask: &Ask) -> Answer {
        // The first value is the epoch.
        let values = self.values.get(1 + index * KEYS_PER_TOKEN..1 + (index + 1) * KEYS_PER_TOKEN).unwrap_or_default();
        match keys::covering(values, &ask.keys, ask.issued_at)? {
            None if !self.complete => Err(Failure::Incomplete),
            found => Ok(found),
        }
    }
}

async fn fetch(asks: &[Ask], state: &watch::Receiver<State>, shared: &Shared) -> Result<Fetched, Failure> {
    let link = state.borrow().link()?;
    let asked = shared.watch.clock.monotonic();
    if !shared.place.vouches_for(link.address.as_ref(), asked) {
        return Err(Failure::NotVouchedFor);
    }
    // Read before the command is sent: an epoch that a rebuild declares meanwhile is not compared with an older answer.
    let expected = shared.epoch.borrow().clone();
    let keys = asks.iter().flat_map(|ask| ask.keys.in_order());
    let bytes = keys.clone().map(str::len).sum::<usize>();
    let mut command = Cmd::with_capacity(2 + asks.len() * KEYS_PER_TOKEN, "MGET".len() + shared.epoch_key.len() + bytes);
    command.arg("MGET").arg(&shared.epoch_key);
    for key in keys {
        command.arg(key);
    }
    let values: Vec<Option<Vec<u8>>> = link.run(&command).await?;
    shared.watch.metrics.redis_answered(shared.watch.clock.monotonic().saturating_duration_since(asked));
    let found = values.first().and_then(Option::as_deref);
    let complete = expected.as_ref().is_some_and(|expected| expected.is_shown_by(found, &link.lineage));
    if !complete {
        shared.lose(expected.as_ref());
    }
    Ok(Fetched { values, complete })
}
