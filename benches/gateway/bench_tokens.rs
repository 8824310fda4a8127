//! Mints access tokens that a gateway accepts, with its own signing key: `bench_tokens KEY_FILE ISSUER AUDIENCE COUNT`
//! writes them to standard output, one per line.
//!
//! Each has a `jti` and a session of its own, as if that many people had signed in. Signing in that often would
//! measure password hashing instead.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use portcullis::clock::{Clock, SystemClock};
use portcullis::identity::access_token::{self, Claims};
use portcullis::identity::session::SessionId;
use portcullis::identity::signing_keys::KeyRing;
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
    let [key_file, issuer, audience, count] = arguments.as_slice() else {
        anyhow::bail!("usage: bench_tokens KEY_FILE ISSUER AUDIENCE COUNT");
    };
    let ring = KeyRing::new(key_file::load(Path::new(key_file))?.signing)?;
    let now = SystemClock.now();
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
