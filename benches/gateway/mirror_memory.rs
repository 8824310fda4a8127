//! What a record costs in the mirror of the revoked set: `mirror_memory [records …]`, a million and ten million unless
//! told otherwise.
//!
//! Records are inserted as they would arrive over a quarter of an hour, the life of a token, so that they lie in as many
//! buckets as in life; then looked up. Memory is that of the process (`VmRSS`, and `VmHWM` for the peak while tables
//! grow), so each size is measured in a process of its own.

use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::identity::TokenFacts;
use portcullis::identity::session::SessionId;
use portcullis::revocation::mirror::{Mirror, MirrorBounds};
use portcullis::store::{Covers, Revocation};
use uuid::Uuid;

const LIFE: Duration = Duration::from_secs(900);
const BATCH: u128 = 500;
const LOOK_UPS: u128 = 100_000;

/// A line of `/proc/self/status`, in KiB.
fn kib(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel is Linux");
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    value.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).expect("the kernel says it")
}

/// Numbers of sessions look random in life.
fn session(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)))
}

fn measure(records: u128) {
    let (start, wall) = (SystemClock.monotonic(), SystemClock.now());
    let bounds = MirrorBounds { staleness_max: Duration::from_secs(1), records_max: usize::MAX };
    let mirror = Mirror::new(bounds, start);
    let before = kib("VmRSS");
    for first in (0..records).step_by(usize::try_from(BATCH).expect("small")) {
        let numbers = first..(first + BATCH).min(records);
        let passed = LIFE.mul_f64(first as f64 / records as f64);
        let expires_at = wall + passed + LIFE;
        let batch: Vec<_> = numbers.map(|number| Revocation { covers: Covers::Session(session(number)), expires_at }).collect();
        assert!(mirror.insert(&batch, wall + passed, start + passed), "there is no bound");
    }
    let loaded = SystemClock.monotonic() - start;
    let (held, bytes) = mirror.size();
    assert_eq!(held as u128, records, "none is left out, none is counted twice");
    let (after, peak) = (kib("VmRSS"), kib("VmHWM"));
    mirror_is_asked(&mirror, records, wall);
    let per_record = (after - before) as f64 * 1024.0 / records as f64;
    println!(
        "{records} records: {:.1} MiB, {per_record:.1} bytes each; {:.1} MiB at the peak; {:.1} MiB by its own account; inserted in {loaded:.1?}",
        (after - before) as f64 / 1024.0,
        (peak - before) as f64 / 1024.0,
        bytes as f64 / 1024.0 / 1024.0,
    );
}

fn mirror_is_asked(mirror: &Mirror, records: u128, wall: jiff::Timestamp) {
    let token = |number: u128| TokenFacts {
        issuer: "https://id.example".into(),
        jti: "none".into(),
        session: session(number),
        subject: "ada".into(),
        issued_at: wall,
        expires_at: wall + LIFE,
    };
    let found = (0..LOOK_UPS).filter(|number| mirror.may_cover(&token(number % records))).count() as u128;
    assert_eq!(found, LOOK_UPS, "a record is missing");
    let mistaken = (records..records + LOOK_UPS).filter(|number| mirror.may_cover(&token(*number))).count();
    assert_eq!(mistaken, 0, "once in two million runs this may be chance");
}

fn main() {
    let mut sizes: Vec<u128> = std::env::args().skip(1).map(|size| size.parse().expect("a number of records")).collect();
    if let [size] = sizes[..] {
        return measure(size);
    }
    if sizes.is_empty() {
        sizes = vec![1_000_000, 10_000_000];
    }
    let program = std::env::current_exe().expect("it runs");
    for size in sizes {
        let done = std::process::Command::new(&program).arg(size.to_string()).status().expect("it can be started");
        assert!(done.success(), "{size} records could not be measured");
    }
}
