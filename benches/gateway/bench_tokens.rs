//! Mints access tokens that a gateway accepts, with its own signing key: `bench_tokens KEY_FILE ISSUER AUDIENCE COUNT
//! [ALGORITHM]` writes them to standard output, one per line. With an algorithm, a key file that is missing is made.
//!
//! Each has a `jti` and a session of its own, as if that many people had signed in. Signing in that often would
//! measure password hashing instead.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use portcullis::clock::{Clock, SystemClock, SystemEntropy};
use portcullis::identity::access_token::{self, Claims};
use portcullis::identity::session::SessionId;
use portcullis::identity::signing_keys::{Algorithm, KeyRing};
use portcullis::identity::{Credential, Principal};
use portcullis::store::key_file;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

/// As long as the gateway under test is configured to issue them for: longer ones it refuses.
const LIFE: Duration = Duration::from_hours(1);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (key_file, issuer, audience, count, algorithm) = match arguments.as_slice() {
        [key_file, issuer, audience, count] => (key_file, issuer, audience, count, None),
        [key_file, issuer, audience, count, algorithm] => (key_file, issuer, audience, count, Some(algorithm)),
        _ => anyhow::bail!("usage: bench_tokens KEY_FILE ISSUER AUDIENCE COUNT [ALGORITHM]"),
    };
    let (path, now) = (Path::new(key_file), SystemClock.now());
    let keys = match algorithm {
        Some(algorithm) => key_file::create_if_missing(path, Algorithm::parse(algorithm)?, now, &SystemEntropy)?,
        None => key_file::load(path)?,
    };
    let ring = KeyRing::new(keys.signing)?;
    let key = ring.signer(now).context("the key file has no key that signs now")?;
    for _ in 0..count.parse::<u32>().context("COUNT is not a number")? {
        let principal = Principal {
            issuer: issuer.as_str().into(),
            subject: Uuid::new_v4().to_string().into(),
            username: Some("ada".into()),
            email: None,
            roles: ["user".into()].into(),
            session: SessionId(Uuid::new_v4()),
            scopes: Box::default(),
            auth_time: now,
            credential: Credential::Session,
        };
        let audience = audience.as_str().into();
        let claims = Claims {
            principal,
            audience,
            jti: Uuid::new_v4(),
            issued_at: now,
            expires_at: now + LIFE,
            further: serde_json::Map::new(),
        };
        println!("{}", access_token::sign(&claims, key)?.expose_secret());
    }
    Ok(())
}
