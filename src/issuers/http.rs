//! Answers of issuers, bounded in size. Which URLs are spoken to is for the configuration alone to say.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE};

/// As much as is read of an answer.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0}")]
    NoClient(String),
    #[error("it cannot be reached, or takes too long")]
    Transport(#[from] reqwest::Error),
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("its answer is no JSON by its content type")]
    ContentType,
    #[error("its answer is larger than 64 KiB")]
    TooLarge,
}

/// The body of a 200 that says it is JSON.
pub(super) async fn json(mut response: Response) -> Result<Vec<u8>, HttpError> {
    if response.status() != reqwest::StatusCode::OK {
        return Err(HttpError::Status(response.status().as_u16()));
    }
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type != "application/json" && !(media_type.starts_with("application/") && media_type.ends_with("+json")) {
        return Err(HttpError::ContentType);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `max-age` of an answer (RFC 9111 §5.2.2.1).
pub(super) fn max_age(response: &Response) -> Option<Duration> {
    let directives = response.headers().get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = directives.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}
