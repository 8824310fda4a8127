//! Certificates that follow their files, and what an operator is told about that.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::settings;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::problem::Problem;
use crate::telemetry::metrics::Metrics;
use crate::tls::{self, Event, Keeper};

/// How often the files are looked at: a new pair is shown after two of these at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads every certificate of the configuration.
///
/// # Errors
/// One that cannot be shown.
pub(super) fn open(config: &Config) -> anyhow::Result<Keeper> {
    Keeper::open(settings::certificates(config)).context("cannot use a certificate of `server.tls.certificates`")
}

/// Looks after the files until it is dropped.
pub(super) async fn watch(mut keeper: Keeper, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) {
    if keeper.expiries().next().is_none() {
        return;
    }
    let mut rounds = tokio::time::interval(LOOK_EVERY);
    loop {
        rounds.tick().await;
        let now = clock.now();
        // Files may be on a network.
        let look = tokio::task::spawn_blocking(move || (keeper.look(now), keeper));
        let Ok((events, looked)) = look.await else { return };
        keeper = looked;
        events.iter().for_each(tell);
        keeper.expiries().for_each(|(name, at)| metrics.certificate_expires(name, at.as_second()));
        metrics.certificates_are_stale(keeper.stale());
    }
}

fn tell(event: &Event) {
    match event {
        Event::Swapped { name, not_after } => {
            tracing::info!(certificate = %name, %not_after, "a new certificate is shown");
        }
        Event::Kept { name, error, not_after } => {
            tracing::error!(certificate = %name, %error, %not_after, "a new certificate cannot be used; the old one stays");
        }
        Event::Unaccepted { name, error } => {
            tracing::error!(certificate = %name, %error, "clients do not accept a certificate that is shown");
        }
    }
}

/// What is wrong with the files that the configuration names: an error if the gateway could not start, a warning if it
/// could and clients would complain.
pub fn problems(config: &Config, clock: &dyn Clock) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, files) in settings::certificates(config).iter().enumerate() {
        let path = format!("server.tls.certificates[{index}]");
        match files.read().map(|pair| pair.check_time(clock.now())) {
            Ok(Ok(())) => {}
            Ok(Err(time)) => problems.push(Problem::warning(path, time.to_string())),
            Err(error) => problems.push(Problem::error(path, error.to_string())),
        }
    }
    let settings = config.server.tls.as_ref().map(|tls| settings::tls(tls, config.server.http2.is_some()));
    let usable = settings.map(|settings| anyhow::Ok(tls::server_config(&settings?, Arc::default())?));
    if let Some(Err(error)) = usable {
        problems.push(Problem::error("server.tls.clients.authorities", format!("{error:#}")));
    }
    problems
}
