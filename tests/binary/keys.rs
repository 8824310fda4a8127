//! `keys`: the signing keys' life.

use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::identity::signing_keys::KeyRing;
use portcullis::store::key_file;

use super::{Place, assert_says};

/// A place where the first key exists, and its id.
fn with_a_key() -> (Place, String) {
    let place = Place::new();
    place.run("user list").ok();
    let kid = kids(&place).remove(0);
    (place, kid)
}

fn kids(place: &Place) -> Vec<String> {
    let keys = place.run("keys list --json").json();
    keys.as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn ring(place: &Place) -> KeyRing {
    KeyRing::new(key_file::load(&place.path("data/keys.json")).unwrap().signing).unwrap()
}

#[test]
fn without_a_key_file_it_is_said_who_makes_it() {
    let place = Place::new();
    assert_says(&place.run("keys list").refused(1), &["there is no key file data/keys.json", "portcullis run"]);
    assert!(!place.path("data").exists());
}

#[test]
fn a_rotated_in_key_takes_over_after_its_publication_and_the_old_one_goes_on_verifying() {
    let (place, old) = with_a_key();
    assert_says(&place.run("keys rotate --set auth.signing.activation=10m").ok(), &["added the EdDSA key", "signs from"]);
    let new = kids(&place).into_iter().find(|kid| *kid != old).expect("a second key");
    let (ring, now) = (ring(&place), SystemClock.now());
    assert!(ring.verifier(&old).is_some() && ring.verifier(&new).is_some());
    assert_eq!(*ring.signer(now).unwrap().kid, *old);
    assert_eq!(*ring.signer(now + Duration::from_secs(600)).unwrap().kid, *new);
    let listed = place.run("keys list --json").json();
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["signs", "published"]);
}

#[test]
fn a_retired_key_signs_no_more_and_still_verifies() {
    let (place, old) = with_a_key();
    place.run("keys rotate --set auth.signing.activation=0s").ok();
    place.run(&format!("keys retire {old}")).ok();
    let ring = ring(&place);
    let later = SystemClock.now() + Duration::from_secs(60);
    assert!(ring.verifier(&old).is_some_and(|key| key.retired(later)));
    assert_ne!(*ring.signer(later).unwrap().kid, *old);
}

#[test]
fn a_removed_key_is_gone() {
    let (place, old) = with_a_key();
    place.run("keys rotate").ok();
    place.run(&format!("keys remove {old}")).ok();
    assert!(ring(&place).verifier(&old).is_none());
}

#[test]
fn the_last_key_that_can_sign_is_neither_retired_nor_removed() {
    let (place, only) = with_a_key();
    for command in ["retire", "remove"] {
        let complaint = place.run(&format!("keys {command} {only}")).refused(1);
        assert_says(&complaint, &["no other key could sign", "portcullis keys rotate"]);
        assert_says(&place.run(&format!("keys {command} k7")).refused(1), &["there is no key `k7`"]);
        // Every 64th id begins like an option.
        assert_says(&place.run(&format!("keys {command} -k7")).refused(1), &["there is no key `-k7`"]);
    }
    assert_eq!(kids(&place), [only]);
}

#[test]
fn no_command_shows_key_material() {
    let (place, old) = with_a_key();
    let mut said = String::new();
    let rotate = "keys rotate --set auth.signing.algorithm=HS256".to_owned();
    for words in [rotate, "keys list".into(), "keys list --json".into(), "check".into(), format!("keys retire {old}")] {
        said += &place.run(&words).ok();
    }
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(place.path("data/keys.json")).unwrap()).unwrap();
    let privates = file["signing_keys"].as_array().unwrap().iter().map(|key| &key["private_key"]);
    for secret in privates.chain([&file["refresh_key"]]) {
        let secret = secret.as_str().unwrap();
        assert!(secret.len() > 32 && !said.contains(secret) && !said.contains(secret.trim_end_matches('=')), "{said}");
    }
    assert_says(&said, &[&old, "HS256", "EdDSA"]);
}
