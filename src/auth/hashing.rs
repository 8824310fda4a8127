//! Password hashing on bounded workers: a storm of logins costs the memory and the processors that were set aside
//! for it, waits in a queue of known length, and beyond that is refused. Proxying never waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

use crate::clock::Clock;
use crate::identity::password::{self, Password, PasswordError, PasswordHash, PasswordPolicy};

/// Hashes and verifies passwords, a bounded number at a time.
pub struct Hasher {
    policy: PasswordPolicy,
    decoy: PasswordHash,
    workers: Arc<Semaphore>,
    queued: AtomicUsize,
    queue_max: usize,
    watch: Option<Watch>,
}

/// Told what the workers do. Whoever counts it lives outside: this module decides nothing by it.
pub trait WatchHashing: Send + Sync {
    /// So many callers wait for a worker now.
    fn waiting(&self, callers: usize);
    /// A hash was done so long after it was asked for.
    fn hashed(&self, elapsed: Duration);
}

struct Watch {
    clock: Arc<dyn Clock>,
    watcher: Arc<dyn WatchHashing>,
}

/// Why a password was not hashed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    /// Every worker is busy and the queue is full, or there is no memory for the work.
    #[error("every password hashing worker is busy and the queue is full")]
    Busy,
    /// The worker panicked.
    #[error("the password hashing worker was lost")]
    WorkerLost,
    /// The process is at its end: nothing is begun any more.
    #[error("the gateway is stopping")]
    Stopping,
    /// The configured algorithm cannot take this password, such as bcrypt one of more than 72 bytes.
    #[error(transparent)]
    Refused(PasswordError),
}

impl Hasher {
    /// `workers` hashes at a time, and `queue_max` callers that may wait for one of them.
    #[must_use]
    pub fn new(policy: PasswordPolicy, workers: usize, queue_max: usize) -> Self {
        let decoy = policy.decoy();
        let workers = Arc::new(Semaphore::new(workers.max(1)));
        Self { policy, decoy, workers, queued: AtomicUsize::new(0), queue_max, watch: None }
    }

    /// Tells `watcher` about the work, measured by `clock`.
    #[must_use]
    pub fn watched_by(self, clock: Arc<dyn Clock>, watcher: Arc<dyn WatchHashing>) -> Self {
        Self { watch: Some(Watch { clock, watcher }), ..self }
    }

    /// The rules for new passwords and the parameters of new hashes.
    #[must_use]
    pub fn policy(&self) -> &PasswordPolicy {
        &self.policy
    }

    /// How many callers wait for a worker.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// See [`HashingError`].
    pub async fn hash(&self, password: Arc<Password>, salt: [u8; 16]) -> Result<PasswordHash, HashingError> {
        let policy = self.policy.clone();
        let hashed = self.run(move || password::hash(&policy, &password, salt)).await?;
        hashed.map_err(|error| match error {
            PasswordError::OutOfMemory => HashingError::Busy,
            rule => HashingError::Refused(rule),
        })
    }

    /// Whether the password matches. Without a stored hash it does the same work and never matches, so that the
    /// time of an answer does not tell whether the user exists.
    ///
    /// A stored hash with other parameters (an imported bcrypt hash, say) takes its own time until the first login
    /// has upgraded it: that difference can only be hidden by making everybody pay for the slowest hash ever stored.
    ///
    /// # Errors
    /// [`HashingError::Busy`], [`HashingError::WorkerLost`] and [`HashingError::Stopping`].
    pub async fn verify(&self, password: Arc<Password>, stored: Option<PasswordHash>) -> Result<bool, HashingError> {
        let exists = stored.is_some();
        let hash = stored.unwrap_or_else(|| self.decoy.clone());
        // Not `exists && …`: the hash must be computed before anything is decided.
        Ok(self.run(move || password::verify(&password, &hash)).await? & exists)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashingError> {
        let asked = self.watch.as_ref().map(|watch| watch.clock.monotonic());
        let permit = self.permit().await?;
        // The permit goes along: a caller that hangs up does not stop the work, and must not free its place.
        let worker = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        // Only the end of the runtime cancels it.
        let lost = |error: JoinError| if error.is_cancelled() { HashingError::Stopping } else { HashingError::WorkerLost };
        let done = worker.await.map_err(lost)?;
        if let Some((watch, asked)) = self.watch.as_ref().zip(asked) {
            watch.watcher.hashed(watch.clock.monotonic().saturating_duration_since(asked));
        }
        Ok(done)
    }

    fn tell_waiting(&self, callers: usize) {
        if let Some(watch) = &self.watch {
            watch.watcher.waiting(callers);
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, HashingError> {
        if let Ok(permit) = Arc::clone(&self.workers).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(self).ok_or(HashingError::Busy)?;
        Ok(Arc::clone(&self.workers).acquire_owned().await.expect("the semaphore is never closed"))
    }
}

/// A place in the queue; given back however the wait ends.
struct Place<'a>(&'a Hasher);

impl<'a> Place<'a> {
    fn take(hasher: &'a Hasher) -> Option<Self> {
        let one_more = |queued| (queued < hasher.queue_max).then_some(queued + 1);
        let before = hasher.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        hasher.tell_waiting(before + 1);
        Some(Self(hasher))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let before = self.0.queued.fetch_sub(1, Ordering::Relaxed);
        self.0.tell_waiting(before - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use tokio::task::JoinHandle;

    use super::*;

    fn hasher(workers: usize, queue_max: usize) -> Hasher {
        Hasher::new(PasswordPolicy::default(), workers, queue_max)
    }

    /// Keeps one worker busy until it is released.
    async fn occupy_a_worker(hasher: &Arc<Hasher>) -> (JoinHandle<Result<(), HashingError>>, mpsc::Sender<()>) {
        let (release, held) = mpsc::channel();
        let (started, starts) = tokio::sync::oneshot::channel();
        let hasher = Arc::clone(hasher);
        let work = move || {
            started.send(()).expect("the test waits for it");
            held.recv().expect("the test releases it");
        };
        let running = tokio::spawn(async move { hasher.run(work).await });
        starts.await.expect("the worker starts");
        (running, release)
    }

    #[tokio::test]
    async fn beyond_the_workers_and_the_queue_work_is_refused() {
        let hasher = Arc::new(hasher(1, 1));
        let (running, release) = occupy_a_worker(&hasher).await;
        let waiting = tokio::spawn({
            let hasher = Arc::clone(&hasher);
            async move { hasher.run(|| 7).await }
        });
        while hasher.queued() == 0 {
            tokio::task::yield_now().await;
        }

        assert_eq!(hasher.run(|| 8).await, Err(HashingError::Busy));

        release.send(()).expect("the worker listens");
        assert_eq!(running.await.expect("not cancelled"), Ok(()));
        assert_eq!(waiting.await.expect("not cancelled"), Ok(7));
        assert_eq!(hasher.queued(), 0);
        assert_eq!(hasher.run(|| 9).await, Ok(9));
    }

    #[tokio::test]
    async fn a_caller_that_hangs_up_leaves_the_queue_but_its_work_keeps_its_worker() {
        let hasher = Arc::new(hasher(1, 0));
        let (running, release) = occupy_a_worker(&hasher).await;
        running.abort();
        assert!(running.await.is_err_and(|error| error.is_cancelled()));

        assert_eq!(hasher.run(|| ()).await, Err(HashingError::Busy));

        release.send(()).expect("the worker listens");
        while hasher.run(|| ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_worker_that_panics_is_replaced() {
        let hasher = hasher(1, 0);
        let lost = hasher.run(|| assert!(std::hint::black_box(false), "on purpose")).await;
        assert_eq!(lost, Err(HashingError::WorkerLost));
        assert_eq!(hasher.run(|| 1).await, Ok(1));
    }

    /// A login that came while the process ended was told of a fault, instead of to come back.
    #[test]
    fn work_that_comes_while_the_runtime_ends_is_refused_and_no_fault() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _entered = handle.enter();
        let hasher = hasher(1, 1);
        let mut work = std::pin::pin!(hasher.run(|| 7));
        let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Err(HashingError::Stopping)));
    }

    #[tokio::test]
    async fn no_password_matches_a_user_who_does_not_exist() {
        let hasher = hasher(1, 1);
        let password = Arc::new(Password::new("correct horse battery staple").unwrap());
        let hash = hasher.hash(Arc::clone(&password), [7; 16]).await.unwrap();
        assert_eq!(hasher.verify(Arc::clone(&password), Some(hash)).await, Ok(true));
        assert_eq!(hasher.verify(password, None).await, Ok(false));
    }
}
