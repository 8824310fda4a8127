//! HTTPS towards the authority: answers bounded in size, and what it says about coming back later is kept.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::fmt::rfc2822;
use reqwest::Client;

use crate::clock::Clock;
use crate::outbound::{Authorities, build};

/// Chains are a few KiB; the database keeps no more of one.
const ANSWER_BYTES_MAX: usize = 60_000;
const TIMEOUT: Duration = Duration::from_secs(30);

/// How to speak to the authority.
pub(super) struct Http {
    client: Client,
    clock: Arc<dyn Clock>,
    asked: RetryAfter,
}

/// How long the authority asked to stay away in its last answer, if it did.
#[derive(Debug, Clone, Default)]
pub(super) struct RetryAfter(Arc<Mutex<Option<Duration>>>);

#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("it answers with status {0}, and not as RFC 8555 has it")]
    Status(u16),
    #[error("its answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

impl Http {
    /// For one piece of work.
    pub(super) fn new(authorities: &Authorities, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let client = build(authorities.client(TIMEOUT)?.https_only(true))?;
        Ok(Self { client, clock, asked: RetryAfter::default() })
    }

    pub(super) fn retry_after(&self) -> RetryAfter {
        self.asked.clone()
    }
}

impl RetryAfter {
    pub(super) fn take(&self) -> Option<Duration> {
        self.0.lock().expect("nobody panics while holding this").take()
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (client, clock, asked) = (self.client.clone(), Arc::clone(&self.clock), self.asked.clone());
        Box::pin(async move {
            let other = |error: reqwest::Error| Error::Other(Box::new(error.without_url()));
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let mut answer = client
                .request(parts.method, parts.uri.to_string())
                // The library's own name for itself says nothing about us.
                .headers(parts.headers.into_iter().filter_map(|(name, value)| Some((name?, value))).filter(not_agent).collect())
                .body(body.to_bytes())
                .send()
                .await
                .map_err(other)?;
            *asked.0.lock().expect("nobody panics while holding this") = retry_after(answer.headers(), &*clock);
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(other)? {
                if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err(Error::Other(Box::new(AnswerError::TooLarge)));
                }
                bytes.extend_from_slice(&chunk);
            }
            let status = answer.status();
            if !status.is_success() && !is_json(answer.headers()) {
                return Err(Error::Other(Box::new(AnswerError::Status(status.as_u16()))));
            }
            let mut response = http::Response::new(Full::new(Bytes::from(bytes)));
            *response.status_mut() = status;
            *response.headers_mut() = std::mem::take(answer.headers_mut());
            Ok(BytesResponse::from(response))
        })
    }
}

fn not_agent((name, _): &(http::HeaderName, http::HeaderValue)) -> bool {
    name != http::header::USER_AGENT
}

/// Problems are JSON (RFC 8555 §6.7); what a proxy in between says is not.
fn is_json(headers: &http::HeaderMap) -> bool {
    let media_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.to_ascii_lowercase().contains("json")
}

/// Seconds, or an instant (RFC 9110 §10.2.3).
fn retry_after(headers: &http::HeaderMap, clock: &dyn Clock) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(clock.now())).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn retry_after_is_seconds_or_an_instant() {
        let clock = ManualClock::at("2026-06-15T12:00:00Z".parse().expect("an instant"));
        let read = |text: &'static str| {
            let headers = [(http::header::RETRY_AFTER, http::HeaderValue::from_static(text))].into_iter().collect();
            retry_after(&headers, &clock)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Mon, 15 Jun 2026 12:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Mon, 15 Jun 2026 11:59:00 GMT"), Some(Duration::ZERO));
        assert_eq!((read("soon"), read("-1")), (None, None));
    }
}
