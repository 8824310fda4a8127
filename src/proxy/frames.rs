//! Where the frames of a WebSocket end, as far as a gateway that reads no messages has to know: a frame of its own can only
//! stand between two of the upstream's.
//!
//! Only headers of frames are looked at, and of those only lengths and the opcode (RFC 6455 §5.2): what frames mean, and
//! whether they are right, is between client and upstream.

/// The opcode of the frame that says goodbye; nothing may follow it (RFC 6455 §5.5.1).
const CLOSE: u8 = 0x8;
const HEADER_BYTES_MAX: usize = 14;
/// The end of the response head, which comes before the first frame.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// How far the bytes for a client have come.
#[derive(Debug)]
pub(super) struct Frames {
    at: At,
    closed: bool,
}

#[derive(Debug)]
enum At {
    /// In the response head, with so much of its end.
    Head { matched: usize },
    /// In a frame's header.
    Header { bytes: [u8; HEADER_BYTES_MAX], have: usize },
    /// In a frame, with so much to come.
    Payload { left: u64 },
}

const BETWEEN: At = At::Header { bytes: [0; HEADER_BYTES_MAX], have: 0 };

impl Frames {
    /// To be shown all bytes from the beginning of the response head.
    pub(super) fn new() -> Self {
        Self { at: At::Head { matched: 0 }, closed: false }
    }

    /// Looks at the next bytes on their way to the client.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match &mut self.at {
                At::Head { matched } => {
                    let byte = bytes[0];
                    *matched = if byte == END_OF_HEAD[*matched] { *matched + 1 } else { usize::from(byte == b'\r') };
                    if *matched == END_OF_HEAD.len() {
                        self.at = BETWEEN;
                    }
                    &bytes[1..]
                }
                At::Header { bytes: header, have } => {
                    header[*have] = bytes[0];
                    *have += 1;
                    if let Some(left) = payload(&header[..*have]) {
                        self.closed |= header[0] & 0xf == CLOSE;
                        self.at = if left == 0 { BETWEEN } else { At::Payload { left } };
                    }
                    &bytes[1..]
                }
                At::Payload { left } => {
                    let passed = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    *left -= passed as u64;
                    if *left == 0 {
                        self.at = BETWEEN;
                    }
                    &bytes[passed..]
                }
            };
        }
    }

    /// Whether a frame may be put in here.
    pub(super) fn may_add(&self) -> bool {
        !self.closed && matches!(self.at, At::Header { have: 0, .. })
    }
}

/// The length of the payload, once the header is whole. Whatever it is: one of the upstream's is not masked, and if it is, it
/// has a key of four bytes.
fn payload(header: &[u8]) -> Option<u64> {
    let lengths = header.get(1)?;
    let (masked, short) = (lengths & 0x80 != 0, lengths & 0x7f);
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let whole = 2 + extended + if masked { 4 } else { 0 };
    if header.len() < whole {
        return None;
    }
    let long = || header[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    Some(if extended == 0 { u64::from(short) } else { long() })
}

/// The frame that says goodbye: a code, and why in visible ASCII of 123 bytes at most (RFC 6455 §5.5.1).
pub(super) fn close(code: u16, why: &str) -> Vec<u8> {
    let why = &why.as_bytes()[..why.len().min(123)];
    let length = u8::try_from(2 + why.len()).expect("125 bytes at most");
    [&[0x80 | CLOSE, length], &code.to_be_bytes()[..], why].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\r\nx: y\r\n\r\n";

    fn frame(opcode: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()) {
            Ok(short @ ..=125) => frame.push(mask | u8::try_from(short).expect("below 126")),
            Ok(medium) => frame.extend([&[mask | 126], &medium.to_be_bytes()[..]].concat()),
            Err(_) => frame.extend([&[mask | 127], &(payload.len() as u64).to_be_bytes()[..]].concat()),
        }
        frame.extend(if masked { &[1, 2, 3, 4][..] } else { &[] });
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_frame_may_stand_between_frames_and_not_after_the_last_one() {
        let mut frames = Frames::new();
        assert!(!frames.may_add(), "before the head");
        frames.feed(HEAD);
        assert!(frames.may_add());
        frames.feed(&close(4401, "over"));
        assert!(!frames.may_add(), "the upstream has said goodbye");
    }

    #[test]
    fn the_goodbye_is_a_frame_that_a_client_understands() {
        assert_eq!(close(4401, "over"), b"\x88\x06\x11\x31over");
        assert_eq!(close(4401, &"x".repeat(500)).len(), 127);
    }

    proptest! {
        /// However the bytes are cut, the boundaries are those of the frames.
        #[test]
        fn boundaries_are_found_in_any_pieces(
            frames in prop::collection::vec((0_u8..3, any::<bool>(), prop_oneof![0_usize..140, Just(65_535_usize), Just(65_536)]), 1..5),
            piece in 1_usize..5000,
        ) {
            let frames: Vec<Vec<u8>> = frames.iter().map(|(op, masked, length)| frame(*op, *masked, &vec![b'\r'; *length])).collect();
            let bytes = [HEAD, &frames.concat()].concat();
            let mut ends: Vec<usize> = vec![HEAD.len()];
            for frame in &frames {
                ends.push(ends[ends.len() - 1] + frame.len());
            }
            let (mut seen, mut fed) = (Frames::new(), 0);
            for piece in bytes.chunks(piece) {
                seen.feed(piece);
                fed += piece.len();
                prop_assert_eq!(seen.may_add(), ends.contains(&fed));
            }
        }
    }
}
