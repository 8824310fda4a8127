//! Scans the bytes of a request head as they arrive, without parsing header fields: pure and incremental.
//!
//! Knows three things: how large the head is, where it ends, and whether the request line is exactly
//! `method SP target SP version` (RFC 9112 §3). A request line with more spaces or with forbidden bytes is
//! refused here, because the parser would percent-escape them and go on (§3.2 warns of such repairs).

use memchr::memchr;

use crate::limit::RequestLimits;
use crate::reason::Reason;

/// What the method, the version and two spaces may add to a target's length.
const REQUEST_LINE_OVERHEAD: usize = 64;
/// Empty lines that may precede a request line: RFC 9112 §2.2 asks for at least one.
const LEADING_EMPTY_LINES_MAX: u8 = 2;

/// Whether the end of the head was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More of the head is to come.
    Partial,
    /// The empty line was seen; what follows is a body.
    Complete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    RequestLine,
    Fields,
    Done,
}

/// The state of one head.
#[derive(Debug)]
pub(super) struct HeadScan {
    request_line_bytes_max: usize,
    head_bytes_max: usize,
    fields_max: usize,
    stage: Stage,
    leading_empty_lines: u8,
    bytes: usize,
    fields: usize,
    line_bytes: usize,
    last_byte: u8,
    spaces: u8,
    is_connect: bool,
}

impl HeadScan {
    pub(super) fn new(limits: &RequestLimits) -> Self {
        let request_line_bytes_max = limits.target_bytes_max + REQUEST_LINE_OVERHEAD;
        Self {
            request_line_bytes_max,
            // Twice the field budget: the exact rule is `RequestLimits::check_head`, on the parsed head. This one
            // only bounds what the parser may be asked to hold.
            head_bytes_max: request_line_bytes_max + 2 * limits.header_bytes_max,
            fields_max: limits.header_count_max,
            stage: Stage::RequestLine,
            leading_empty_lines: 0,
            bytes: 0,
            fields: 0,
            line_bytes: 0,
            last_byte: 0,
            spaces: 0,
            is_connect: true,
        }
    }

    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    /// Why the head is refused.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Progress, Reason> {
        let mut rest = bytes;
        while self.stage != Stage::Done && !rest.is_empty() {
            let end = memchr(b'\n', rest);
            let (line, ended) = match end {
                Some(at) => (&rest[..at], true),
                None => (rest, false),
            };
            self.bytes += line.len() + usize::from(ended);
            if self.stage == Stage::RequestLine {
                self.scan_request_line(line)?;
            }
            self.line_bytes += line.len();
            if let Some(last) = line.last() {
                self.last_byte = *last;
            }
            if self.bytes > self.head_bytes_max {
                return Err(Reason::HeadersTooLarge);
            }
            if ended {
                self.end_line()?;
            }
            rest = &rest[line.len() + usize::from(ended)..];
        }
        Ok(if self.stage == Stage::Done { Progress::Complete } else { Progress::Partial })
    }

    /// Why the parser refused a head that this scan had nothing against.
    pub(super) fn parser_refusal(&self) -> Reason {
        if self.is_connect && self.stage != Stage::RequestLine { Reason::MethodUnknown } else { Reason::Malformed }
    }

    fn scan_request_line(&mut self, part: &[u8]) -> Result<(), Reason> {
        const CONNECT: &[u8] = b"CONNECT ";
        if self.last_byte == b'\r' && !part.is_empty() {
            return Err(Reason::Malformed);
        }
        for (offset, byte) in part.iter().enumerate() {
            let at = self.line_bytes + offset;
            if at < CONNECT.len() && *byte != CONNECT[at] {
                self.is_connect = false;
            }
            match byte {
                b' ' => self.spaces = self.spaces.saturating_add(1),
                // A carriage return is only the line's end; `end_line` sees whether it was the last byte.
                b'\r' if at + 1 == self.line_bytes + part.len() => {}
                0x00..=0x1f | 0x7f | b'"' | b'<' | b'>' => return Err(Reason::Malformed),
                _ => {}
            }
        }
        if self.line_bytes + part.len() > self.request_line_bytes_max { Err(Reason::TargetTooLong) } else { Ok(()) }
    }

    fn end_line(&mut self) -> Result<(), Reason> {
        let empty = self.line_bytes == 0 || (self.line_bytes == 1 && self.last_byte == b'\r');
        match self.stage {
            Stage::RequestLine if empty => {
                self.leading_empty_lines += 1;
                if self.leading_empty_lines > LEADING_EMPTY_LINES_MAX {
                    return Err(Reason::Malformed);
                }
            }
            Stage::RequestLine => {
                if self.spaces != 2 {
                    return Err(Reason::Malformed);
                }
                self.stage = Stage::Fields;
            }
            Stage::Fields if empty => self.stage = Stage::Done,
            Stage::Fields => {
                self.fields += 1;
                if self.fields > self.fields_max {
                    return Err(Reason::HeadersTooLarge);
                }
            }
            Stage::Done => {}
        }
        self.line_bytes = 0;
        self.last_byte = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> RequestLimits {
        RequestLimits { target_bytes_max: 100, header_bytes_max: 200, header_count_max: 3, ..RequestLimits::default() }
    }

    fn scan(bytes: &[u8]) -> Result<Progress, Reason> {
        HeadScan::new(&limits()).feed(bytes)
    }

    #[test]
    fn a_plain_head_is_complete_at_its_empty_line() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbody with \n\n\n\n lines"), Ok(Progress::Complete));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nhost: a\r\n"), Ok(Progress::Partial));
        assert_eq!(scan(b"\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Progress::Complete));
        assert_eq!(scan(b"GET / HTTP/1.1\nhost: a\n\n"), Ok(Progress::Complete));
    }

    #[test]
    fn a_request_line_that_the_parser_would_repair_is_refused() {
        // security case 34: the parser escapes these bytes and forwards the request.
        for line in [
            &b"GET /pub lic HTTP/1.1\r\n"[..],
            b"GET  / HTTP/1.1\r\n",
            b"GET / HTTP/1.1 HTTP/1.1\r\n",
            b"GET /\ta HTTP/1.1\r\n",
            b"GET /\0a HTTP/1.1\r\n",
            b"GET /\x7fa HTTP/1.1\r\n",
            b"GET /\"a HTTP/1.1\r\n",
            b"GET /<a> HTTP/1.1\r\n",
            b"GET /a\rb HTTP/1.1\r\n",
            b"GET /\r\n",
            b"\r\n\r\n\r\nGET / HTTP/1.1\r\n",
        ] {
            assert_eq!(scan(line), Err(Reason::Malformed), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn sizes_are_refused_before_the_parser_holds_them() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(200));
        assert_eq!(scan(long.as_bytes()), Err(Reason::TargetTooLong));
        let fields = "GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\n";
        assert_eq!(scan(fields.as_bytes()), Ok(Progress::Partial));
        assert_eq!(scan(format!("{fields}d: 4\r\n").as_bytes()), Err(Reason::HeadersTooLarge));
        let wide = format!("GET / HTTP/1.1\r\na: {}\r\n", "x".repeat(700));
        assert_eq!(scan(wide.as_bytes()), Err(Reason::HeadersTooLarge));
    }

    #[test]
    fn a_connect_that_the_parser_refuses_is_an_unknown_method() {
        let mut scan = HeadScan::new(&limits());
        assert_eq!(scan.feed(b"CONNECT a:443 HTTP/1.1\r\n\r\n"), Ok(Progress::Complete));
        assert_eq!(scan.parser_refusal(), Reason::MethodUnknown);
        let mut scan = HeadScan::new(&limits());
        assert_eq!(scan.feed(b"GET / HTTP/1.1\r\nb ad\r\n\r\n"), Ok(Progress::Complete));
        assert_eq!(scan.parser_refusal(), Reason::Malformed);
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_are_cut(head in "[A-Z]{1,4} /[a-z ]{0,8} HTTP/1\\.1\r?\n([a-z]{1,3}: [a-z]{0,9}\r\n){0,5}\r\n", cut in 1usize..20) {
            let whole = scan(head.as_bytes());
            let mut pieces = HeadScan::new(&limits());
            let mut verdict = Ok(Progress::Partial);
            for piece in head.as_bytes().chunks(cut) {
                verdict = pieces.feed(piece);
                if verdict.is_err() { break; }
            }
            prop_assert_eq!(whole, verdict);
        }
    }
}
