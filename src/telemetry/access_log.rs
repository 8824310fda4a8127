//! The access log: one line of JSON per request, written without making the request wait.
//!
//! JSON's own escaping makes it impossible for anything a client sent to start a second line or forge a field
//! (CVE-2024-45808 was that, in another proxy). The type of `path` makes it impossible to log a query, where
//! clients put tokens. What a client controls is clipped, so that nobody can fill the disk with one header.

use std::cell::RefCell;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use uuid::Uuid;

use super::labels::{Label, Log, Outcome};
use super::metrics::Metrics;
use crate::reason::Reason;

/// Lines that may wait for the writer; beyond it they are lost and counted. Half a second of a busy core, at
/// most some ten megabytes.
const QUEUE_LINES_MAX: usize = 16 * 1024;

/// One system call per so many bytes under load; when nothing waits, every line is written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// The longest text from a client that one field keeps, in bytes.
const CLIPPED_BYTES_MAX: usize = 512;

/// A request as the log tells it. Field order is the order in the line.
#[derive(Debug, Clone, Serialize)]
pub struct AccessRecord<'a> {
    /// When the request began.
    #[serde(serialize_with = "rfc3339")]
    pub time: Timestamp,
    /// The id that the upstream and the client were told, too.
    #[serde(rename = "decision_id")]
    pub request_id: &'a str,
    /// The client's address, through trusted proxies only.
    pub client: IpAddr,
    /// The method.
    pub method: ClientText<'a>,
    /// The `Host` asked for.
    pub host: ClientText<'a>,
    /// The path, never a query.
    pub path: LoggedPath<'a>,
    /// The status that the client was sent; 0 if none could be sent.
    pub status: u16,
    /// The route's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// The upstream's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    /// How it ended.
    #[serde(serialize_with = "outcome_word")]
    pub outcome: Outcome,
    /// Why the gateway refused it or failed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reason_word")]
    pub reason: Option<Reason>,
    /// What exactly, in the gateway's own words: finer than `reason`, and not told to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
    /// The caller (`sub`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<ClientText<'a>>,
    /// The caller's session (`sid`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Uuid>,
    /// Bytes of body sent to the client.
    pub bytes_sent: u64,
    /// From the first byte of the request to the last of the answer, in milliseconds.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
    /// From the hand-over to the first byte of the upstream's answer, in milliseconds.
    #[serde(rename = "upstream_ms", skip_serializing_if = "Option::is_none", serialize_with = "millis_option")]
    pub upstream_duration: Option<Duration>,
    /// `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<ClientText<'a>>,
}

/// Text that a client chose, clipped to a few hundred bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ClientText<'a>(&'a str);

/// The path of a request target, without its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LoggedPath<'a>(ClientText<'a>);

/// The writing end of the access log. Clones write to the same log.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: NonBlocking,
}

/// Flushes the access log when dropped, waiting at most about a second. Keep it until the last request ended.
#[derive(Debug)]
#[must_use = "dropping it ends the access log"]
pub struct AccessLogGuard(#[expect(dead_code, reason = "held for its destructor")] WorkerGuard);

impl<'a> ClientText<'a> {
    /// The beginning of `text`, cut at a character.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self(&text[..text.floor_char_boundary(CLIPPED_BYTES_MAX)])
    }
}

impl<'a> LoggedPath<'a> {
    /// The path of `target`, which may be a refused one: what is not in origin-form is not shown at all, because
    /// `http://user:password@host/` is not either.
    #[must_use]
    pub fn of(target: &'a str) -> Self {
        if !target.starts_with('/') {
            return Self(ClientText("-"));
        }
        let end = target.find(['?', '#']).unwrap_or(target.len());
        Self(ClientText::of(&target[..end]))
    }
}

impl AccessLog {
    /// Starts the writing thread. Lines that are lost because `out` cannot keep up are counted in `metrics`.
    pub fn start(out: impl Write + Send + 'static, metrics: &Metrics) -> (Self, AccessLogGuard) {
        let (queue, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUE_LINES_MAX)
            .thread_name("access-log")
            .finish(BufWriter::with_capacity(WRITE_BYTES, out));
        metrics.watch_lost_lines(Log::Access, queue.error_counter());
        (Self { queue }, AccessLogGuard(guard))
    }

    /// Queues one line. Never blocks: when the queue is full the line is lost and counted.
    pub fn write(&self, record: &AccessRecord<'_>) {
        thread_local! {
            // One buffer per thread, grown once: the queue copies the line.
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            if serde_json::to_writer(&mut *line, record).is_ok() {
                line.push(b'\n');
                // The queue's `write` cannot fail: it drops and counts.
                let _ = self.queue.clone().write(line);
            }
        });
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn outcome_word<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.word())
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn reason_word<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::word).serialize(serializer)
}

/// Milliseconds are enough to order requests, and every line has the same width.
fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Whole microseconds, so that no line carries sixteen digits of noise.
    #[expect(clippy::cast_precision_loss, reason = "exact below 285 years")]
    serializer.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn millis_option<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => millis(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Kept;
    use super::*;

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            time: "2026-03-01T12:00:00.123456Z".parse().expect("an instant"),
            request_id: "0192",
            client: IpAddr::from([192, 0, 2, 7]),
            method: ClientText::of("GET"),
            host: ClientText::of("shop.example"),
            path: LoggedPath::of("/orders"),
            status: 200,
            route: Some("orders"),
            upstream: Some("app"),
            outcome: Outcome::Forwarded,
            reason: None,
            detail: None,
            subject: Some(ClientText::of("ada")),
            session: Some(Uuid::nil()),
            bytes_sent: 12,
            duration: Duration::from_micros(1500),
            upstream_duration: Some(Duration::from_millis(1)),
            user_agent: Some(ClientText::of("curl/8")),
        }
    }

    fn written(records: &[AccessRecord<'_>]) -> String {
        let kept = Kept::default();
        let (log, guard) = AccessLog::start(kept.clone(), &Metrics::new());
        for record in records {
            log.write(record);
        }
        drop(guard);
        let bytes = kept.0.lock().expect("no holder panics").clone();
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    #[test]
    fn a_forwarded_request_is_one_line_with_every_field() {
        let expected = concat!(
            r#"{"time":"2026-03-01T12:00:00.123Z","decision_id":"0192","client":"192.0.2.7","method":"GET","host":"shop.example","#,
            r#""path":"/orders","status":200,"route":"orders","upstream":"app","outcome":"forwarded","subject":"ada","session":"00000000-0000-0000-0000-000000000000","#,
            r#""bytes_sent":12,"duration_ms":1.5,"upstream_ms":1.0,"user_agent":"curl/8"}"#,
            "\n"
        );
        assert_eq!(written(&[record()]), expected);
    }

    #[test]
    fn a_denied_request_carries_the_reason_that_the_client_was_told() {
        let denied = AccessRecord {
            outcome: Outcome::Denied,
            reason: Some(Reason::RevokedToken),
            detail: Some("session"),
            upstream: None,
            upstream_duration: None,
            ..record()
        };
        let line = written(&[denied]);
        assert!(line.contains(r#""outcome":"denied","reason":"revoked_token","detail":"session""#), "{line}");
        assert!(!line.contains("upstream"), "{line}");
    }

    #[test]
    fn nothing_a_client_sends_starts_a_second_line() {
        let hostile = "x\r\n{\"status\":200}\u{2028}\u{0}\u{1b}[2J\"";
        let line = written(&[AccessRecord {
            method: ClientText::of(hostile),
            host: ClientText::of(hostile),
            path: LoggedPath::of("/a\r\nb"),
            subject: Some(ClientText::of(hostile)),
            user_agent: Some(ClientText::of(hostile)),
            ..record()
        }]);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end_matches('\n').contains(char::is_control), "{line}");
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        assert_eq!(parsed["user_agent"], hostile);
        assert_eq!(parsed["status"], 200);
    }

    #[test]
    fn a_query_is_never_logged() {
        for target in ["/a?access_token=secret", "/a#secret", "/a?x#secret?", "/a?"] {
            assert_eq!(LoggedPath::of(target), LoggedPath::of("/a"), "{target}");
        }
        assert_eq!(LoggedPath::of("http://ada:secret@shop.example/"), LoggedPath::of("*"));
    }

    #[test]
    fn what_a_client_controls_is_clipped_at_a_character() {
        let long = "é".repeat(CLIPPED_BYTES_MAX);
        assert_eq!(ClientText::of(&long).0.len(), CLIPPED_BYTES_MAX);
        let odd = format!("a{long}");
        assert_eq!(ClientText::of(&odd).0.len(), CLIPPED_BYTES_MAX - 1);
    }

    #[test]
    fn every_line_is_written_before_the_guard_is_gone() {
        let lines = written(&vec![record(); 1000]);
        assert_eq!(lines.lines().count(), 1000);
    }
}
