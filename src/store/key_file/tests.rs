//! The key file's promises: private, whole, and read back as it was written.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::identity::session::SessionId;

const REFRESH: [u8; 32] = [7; 32];

/// Not random at all: every byte is this one.
struct Always(u8);

impl Entropy for Always {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a year of this century")
}

fn new_file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("data/keys.json");
    (directory, path)
}

fn kids(path: &Path) -> Vec<String> {
    load(path).expect("readable").signing.iter().map(|key| key.kid.to_string()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file is there").mode() & 0o7777
}

#[test]
fn a_missing_file_is_made_once_and_only_for_its_owner() {
    let (_directory, path) = new_file();
    let made = create_if_missing(&path, Algorithm::EdDsa, now(), &Always(7)).expect("created");
    let again = create_if_missing(&path, Algorithm::Es256, now(), &Always(8)).expect("read");

    assert_eq!(made.signing[0].kid, again.signing[0].kid);
    assert_eq!(again.signing[0].algorithm, Algorithm::EdDsa);
    assert_eq!((mode(&path), mode(path.parent().expect("in a directory"))), (0o600, 0o700));
    let token = |key: &RefreshKey| key.token(SessionId(uuid::Uuid::nil()), 0, &[0; 16]);
    assert_eq!(token(&made.refresh).expose_secret(), token(&RefreshKey::new(&REFRESH)).expose_secret());
    assert_eq!(token(&made.refresh).expose_secret(), token(&again.refresh).expose_secret());
}

#[test]
fn processes_that_start_together_read_the_same_keys() {
    let (_directory, path) = new_file();
    let made: Vec<_> = std::thread::scope(|scope| {
        let start = |_| scope.spawn(|| create_if_missing(&path, Algorithm::EdDsa, now(), &Always(7)).expect("created or read"));
        let started: Vec<_> = (0..8).map(start).collect();
        started.into_iter().map(|thread| thread.join().expect("no panic").signing[0].kid.clone()).collect()
    });
    assert!(made.iter().all(|kid| *kid == made[0]), "{made:?}");
}

#[test]
fn a_file_that_others_may_use_is_refused_with_the_remedy() {
    let (_directory, path) = new_file();
    create_if_missing(&path, Algorithm::EdDsa, now(), &Always(7)).expect("created");
    for exposed in [0o640, 0o604, 0o620, 0o601, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).expect("own file");
        let error = load(&path).expect_err("exposed").to_string();
        assert!(error.contains("chmod 600") && error.contains(&format!("{exposed:04o}")), "{error}");
    }
    for private in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(private)).expect("own file");
        assert!(load(&path).is_ok(), "{private:04o}");
    }
}

#[test]
fn every_algorithm_survives_the_file() {
    let (_directory, path) = new_file();
    create_if_missing(&path, Algorithm::EdDsa, now(), &Always(7)).expect("created");
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256] {
        let key = SigningKey::generate(algorithm, now(), now()).expect("generated");
        add_key(&path, &key).expect("added");
        let read = load(&path).expect("readable").signing.pop().expect("the key added last");
        assert_eq!((&read.kid, read.algorithm, read.created_at, read.retires_at), (&key.kid, algorithm, now(), None));
        assert_eq!(read.private_bytes().expose_secret(), key.private_bytes().expose_secret());
        assert!(matches!(add_key(&path, &key), Err(KeyFileError::Change(_))), "the same key twice");
    }
    assert_eq!(mode(&path), 0o600);
    assert!(!beside(&path, ".new").exists());
}

#[test]
fn a_key_is_retired_then_removed_and_the_last_one_stays() {
    let (_directory, path) = new_file();
    let first = create_if_missing(&path, Algorithm::EdDsa, now(), &Always(7)).expect("created").signing[0].kid.clone();
    let second = SigningKey::generate(Algorithm::EdDsa, now(), now()).expect("generated");

    assert!(matches!(remove_key(&path, &first), Err(KeyFileError::Change(_))), "the only key");
    add_key(&path, &second).expect("added");
    retire_key(&path, &first, now()).expect("retired");
    assert_eq!(load(&path).expect("readable").signing[0].retires_at, Some(now()));
    remove_key(&path, &first).expect("another one is there");
    assert_eq!(kids(&path), [&*second.kid]);
    assert!(matches!(remove_key(&path, "k0"), Err(KeyFileError::Change(_))), "no such key");
    assert!(matches!(retire_key(&path, "k0", now()), Err(KeyFileError::Change(_))), "no such key");
}

#[test]
fn a_damaged_file_is_refused_and_none_of_it_is_quoted() {
    let (_directory, path) = new_file();
    create_if_missing(&path, Algorithm::EdDsa, now(), &Always(7)).expect("created");
    let whole = fs::read_to_string(&path).expect("readable");
    let refresh = STANDARD.encode(REFRESH);
    for (damage, text) in [
        ("empty", String::new()),
        ("cut", whole[..whole.len() / 2].to_owned()),
        ("a newer version", whole.replace("\"version\": 1", "\"version\": 2")),
        ("an unknown member", whole.replace("\"version\"", "\"x\": 1, \"version\"")),
        ("a short refresh key", whole.replace(&refresh, "c2VjcmV0c2VjcmV0")),
        ("a secret where a number belongs", whole.replace("\"version\": 1", "\"version\": \"c2VjcmV0\"")),
        ("no key", format!(r#"{{"version":1,"refresh_key":"{refresh}","signing_keys":[]}}"#)),
        ("another algorithm", whole.replace("EdDSA", "ES256")),
        ("no algorithm", whole.replace("EdDSA", "none")),
    ] {
        fs::write(&path, text).expect("own file");
        let error = load(&path).expect_err(damage);
        assert!(!format!("{error} {error:?}").contains("c2VjcmV0"), "{damage}");
    }
}
