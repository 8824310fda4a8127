//! What becomes of certificate files that change, in a directory of its own.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use super::*;

const NOON: &str = "2026-06-15T12:00:00Z";

struct Made {
    certificate: String,
    key: String,
}

/// A pair that is valid from the first of one month of 2026 to the first of another.
fn made(from: u8, to: u8) -> Made {
    let mut params = CertificateParams::new(["a.example".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2026, from, 1);
    params.not_after = rcgen::date_time_ymd(2026, to, 1);
    let key = KeyPair::generate().expect("a key");
    Made { certificate: params.self_signed(&key).expect("a certificate").pem(), key: key.serialize_pem() }
}

fn write(directory: &Path, certificate: &str, key: &str) -> CertificateFiles {
    let (certificate_path, key_path) = (directory.join("tls.crt"), directory.join("tls.key"));
    std::fs::write(&certificate_path, certificate).expect("writable");
    std::fs::write(&key_path, key).expect("writable");
    CertificateFiles { name: "main".into(), certificate: certificate_path, key: key_path, hosts: Vec::new() }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

#[test]
fn a_new_pair_is_shown_at_the_next_look() {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, new) = (made(1, 7), made(6, 12));
    let mut keeper = Keeper::open(vec![write(directory.path(), &old.certificate, &old.key)]).expect("a pair");
    assert_eq!(keeper.look(at(NOON)), []);
    write(directory.path(), &new.certificate, &new.key);
    let not_after = at("2026-12-01T00:00:00Z");
    assert_eq!(keeper.look(at(NOON)), [Event::Swapped { name: "main".into(), not_after }]);
    assert_eq!(keeper.look(at(NOON)), [], "told once");
    assert_eq!(keeper.expiries().collect::<Vec<_>>(), [("main", not_after)]);
}

#[test]
fn files_that_are_no_valid_pair_change_nothing_and_are_reported_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, new) = (made(1, 7), made(6, 12));
    let mut keeper = Keeper::open(vec![write(directory.path(), &old.certificate, &old.key)]).expect("a pair");
    let (expired, early) = (made(1, 6), made(7, 12));
    let half = &new.certificate[..new.certificate.len() / 2];
    let cases = [
        (new.certificate.as_str(), old.key.as_str(), "the key does not belong"),
        (half, &new.key, "cannot be read as PEM"),
        ("", &new.key, "holds no certificate"),
        (&new.certificate, "", "no private key"),
        (&expired.certificate, &expired.key, "has expired"),
        (&early.certificate, &early.key, "is not valid before 2026-07-01T00:00:00Z"),
    ];
    for (certificate, key, expected) in cases {
        write(directory.path(), certificate, key);
        assert_eq!(keeper.look(at(NOON)), [], "it may be half of a change");
        let events = keeper.look(at(NOON));
        let [Event::Kept { error, not_after, .. }] = events.as_slice() else { panic!("{expected}: {events:?}") };
        assert!(error.contains(expected), "{error}");
        assert_eq!((*not_after, keeper.stale()), (at("2026-07-01T00:00:00Z"), 1));
        assert_eq!(keeper.look(at(NOON)), [], "told once");
    }
    std::fs::remove_file(directory.path().join("tls.key")).expect("it is there");
    assert_eq!(keeper.look(at(NOON)), []);
    assert!(matches!(&*keeper.look(at(NOON)), [Event::Kept { .. }]), "a file that is gone");

    write(directory.path(), &old.certificate, &old.key);
    assert_eq!((keeper.look(at(NOON)), keeper.stale()), (vec![], 0), "what is shown is in the files again");
    write(directory.path(), &new.certificate, &new.key);
    assert!(matches!(&*keeper.look(at(NOON)), [Event::Swapped { .. }]));
}

#[test]
fn a_pair_whose_time_has_not_come_is_shown_when_it_has() {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, early) = (made(1, 12), made(7, 12));
    let mut keeper = Keeper::open(vec![write(directory.path(), &old.certificate, &old.key)]).expect("a pair");
    write(directory.path(), &early.certificate, &early.key);
    assert_eq!(keeper.look(at("2026-06-30T23:59:59Z")), []);
    assert!(matches!(&*keeper.look(at("2026-07-01T00:00:00Z")), [Event::Swapped { .. }]));
}

#[test]
fn the_end_of_what_is_shown_is_reported_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let pair = made(1, 7);
    let mut keeper = Keeper::open(vec![write(directory.path(), &pair.certificate, &pair.key)]).expect("a pair");
    assert_eq!(keeper.look(at("2026-07-01T00:00:00Z")), []);
    assert!(matches!(&*keeper.look(at("2026-07-01T00:00:01Z")), [Event::Unaccepted { .. }]));
    assert_eq!(keeper.look(at("2026-07-01T00:00:02Z")), []);
    // At the start there is nothing to keep: it is shown, and reported at the first look.
    let files = write(directory.path(), &pair.certificate, &pair.key);
    let mut keeper = Keeper::open(vec![files]).expect("readable");
    assert!(matches!(&*keeper.look(at("2026-08-01T00:00:00Z")), [Event::Unaccepted { .. }]));
}

#[test]
fn what_is_no_pair_at_the_start_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (pair, other) = (made(1, 7), made(1, 7));
    let refused = Keeper::open(vec![write(directory.path(), &pair.certificate, &other.key)]).expect_err("mixed up");
    assert!(refused.to_string().ends_with("tls.crt: the key does not belong to the certificate"), "{refused}");
    let missing = CertificateFiles { key: directory.path().join("none"), ..write(directory.path(), &pair.certificate, "") };
    assert!(Keeper::open(vec![missing]).expect_err("missing").to_string().contains("none cannot be read"));
}
