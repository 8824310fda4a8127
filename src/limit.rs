//! Limits as pure rules: what is too large is refused before any work is done for it, and what is tried too often
//! (`attempts`, `rate`) is refused until later.

pub mod attempts;
pub mod rate;

/// Sizes beyond which a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// The longest request target, in bytes; longer is 414.
    pub target_bytes_max: usize,
    /// The largest header section, names and values, in bytes; larger is 431.
    pub header_bytes_max: usize,
    /// The most header fields; more is 431.
    pub header_count_max: usize,
    /// The largest body that a route accepts unless it says otherwise, in bytes; larger is 413.
    pub body_bytes_max: u64,
    /// The largest body of the gateway's own API, in bytes.
    pub auth_body_bytes_max: usize,
}

/// How many client connections there may be at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// All together.
    pub total: u32,
    /// From one IPv4 address, or one IPv6 /64: whoever has one of its addresses has all.
    pub per_address: u32,
}

/// Which limit a request head breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadTooLarge {
    /// The request target.
    Target,
    /// The header section.
    Headers,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            target_bytes_max: 8 * 1024,
            header_bytes_max: 32 * 1024,
            header_count_max: 100,
            body_bytes_max: 16 * 1024 * 1024,
            auth_body_bytes_max: 64 * 1024,
        }
    }
}

impl RequestLimits {
    /// Checks a head: `target` as received, header fields as name and value lengths.
    ///
    /// # Errors
    /// The limit that is broken; the target first.
    pub fn check_head(&self, target: &[u8], headers: &http::HeaderMap) -> Result<(), HeadTooLarge> {
        if target.len() > self.target_bytes_max {
            return Err(HeadTooLarge::Target);
        }
        // `len` counts values, not names: a repeated field counts each time.
        if headers.len() > self.header_count_max {
            return Err(HeadTooLarge::Headers);
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if bytes > self.header_bytes_max { Err(HeadTooLarge::Headers) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn a_head_is_refused_one_byte_beyond_its_limit() {
        let limits = RequestLimits { target_bytes_max: 4, header_bytes_max: 12, header_count_max: 2, ..RequestLimits::default() };
        let mut headers = HeaderMap::new();
        headers.insert("x-ab", HeaderValue::from_static("1234"));
        assert_eq!(limits.check_head(b"/abc", &headers), Ok(()));
        assert_eq!(limits.check_head(b"/abcd", &headers), Err(HeadTooLarge::Target));
        headers.insert("x-ab", HeaderValue::from_static("12345"));
        assert_eq!(limits.check_head(b"/abc", &headers), Err(HeadTooLarge::Headers));
    }

    #[test]
    fn repeated_fields_count_each_time() {
        let limits = RequestLimits { header_count_max: 2, ..RequestLimits::default() };
        let mut headers = HeaderMap::new();
        headers.append("a", HeaderValue::from_static("1"));
        headers.append("a", HeaderValue::from_static("2"));
        assert_eq!(limits.check_head(b"/", &headers), Ok(()));
        headers.append("a", HeaderValue::from_static("3"));
        assert_eq!(limits.check_head(b"/", &headers), Err(HeadTooLarge::Headers));
    }
}
