//! The diagnostic log: what the gateway says about itself, to stderr, as JSON or as text for people.
//!
//! Libraries are held at `warn` whatever the level: at `debug` the HTTP ones print header values, and a token
//! would reach the log. What they say through the `log` crate (pingora does) arrives here as well.

use std::io::{IsTerminal, Write};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt};

use super::labels::Log;
use super::metrics::Metrics;

/// Lines that may wait for stderr; beyond it they are lost and counted.
const QUEUE_LINES_MAX: usize = 4 * 1024;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Text; coloured on a terminal.
    Text,
}

/// Flushes the log when dropped, waiting at most about a second. Keep it until the very end of `main`.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    lost: ErrorCounter,
    _worker: WorkerGuard,
}

impl LogGuard {
    /// Lines that are lost because stderr cannot keep up are counted in `metrics` from now on.
    ///
    /// Apart from [`init`], because the log comes up before anything else does.
    pub fn count_lost_lines(&self, metrics: &Metrics) {
        metrics.watch_lost_lines(Log::Diagnostic, self.lost.clone());
    }
}

/// Sends the process's log to stderr, from `level` on for the gateway itself.
///
/// # Errors
/// When the process has a log already.
pub fn init(format: Format, level: LevelFilter) -> Result<LogGuard, TryInitError> {
    let (queue, guard) = writer(std::io::stderr());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::registry().with(layer(format, level, colours, queue)).try_init()?;
    Ok(guard)
}

fn writer(out: impl Write + Send + 'static) -> (NonBlocking, LogGuard) {
    let (queue, worker) = NonBlockingBuilder::default().buffered_lines_limit(QUEUE_LINES_MAX).thread_name("log").finish(out);
    let lost = queue.error_counter();
    (queue, LogGuard { lost, _worker: worker })
}

fn layer(format: Format, level: LevelFilter, colours: bool, queue: NonBlocking) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = fmt::layer().with_writer(queue);
    match format {
        Format::Json => lines.json().flatten_event(true).with_span_list(false).with_filter(targets(level)).boxed(),
        Format::Text => lines.with_ansi(colours).with_filter(targets(level)).boxed(),
    }
}

fn targets(level: LevelFilter) -> Targets {
    Targets::new().with_target(env!("CARGO_CRATE_NAME"), level).with_default(level.min(LevelFilter::WARN))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::super::fixtures::Kept;
    use super::*;

    fn logged(format: Format, level: LevelFilter, say: impl FnOnce()) -> String {
        let kept = Kept::default();
        let (queue, guard) = writer(kept.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(format, level, false, queue)), say);
        drop(guard);
        let bytes = kept.0.lock().expect("no holder panics").clone();
        String::from_utf8(bytes).expect("logs are UTF-8")
    }

    #[test]
    fn libraries_are_held_at_warn_however_much_the_gateway_says() {
        let filter = targets(LevelFilter::DEBUG);
        assert!(filter.would_enable("portcullis::proxy", &Level::DEBUG));
        assert!(!filter.would_enable("portcullis::proxy", &Level::TRACE));
        for library in ["pingora_core::server", "pingora_proxy", "h2::codec", "hyper", "sqlx::query"] {
            assert!(filter.would_enable(library, &Level::WARN), "{library}");
            assert!(!filter.would_enable(library, &Level::INFO), "{library}");
        }
    }

    #[test]
    fn libraries_are_no_louder_than_the_gateway() {
        let filter = targets(LevelFilter::ERROR);
        assert!(!filter.would_enable("pingora_core", &Level::WARN));
        assert!(filter.would_enable("pingora_core", &Level::ERROR));
    }

    #[test]
    fn a_line_of_json_is_one_line_whatever_a_field_holds() {
        let lines = logged(Format::Json, LevelFilter::INFO, || {
            tracing::warn!(cause = "a\nb\u{1b}[2J", "redis is back");
            tracing::debug!("not shown");
        });
        assert_eq!(lines.matches('\n').count(), 1, "{lines}");
        let line: serde_json::Value = serde_json::from_str(&lines).expect("one JSON object");
        assert_eq!(
            (&line["level"], &line["message"], &line["cause"]),
            (&"WARN".into(), &"redis is back".into(), &"a\nb\u{1b}[2J".into())
        );
        assert!(!lines.contains('\u{1b}'), "no escape sequence reaches a terminal: {lines}");
    }

    #[test]
    fn text_carries_no_colours_where_there_is_no_terminal() {
        let line = logged(Format::Text, LevelFilter::INFO, || tracing::info!("listening"));
        assert!(line.contains("INFO") && line.contains("listening") && !line.contains('\u{1b}'), "{line}");
    }
}
