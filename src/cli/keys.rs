//! `portcullis keys`: the signing keys' life in the key file, which running gateways read again when it changes.
//!
//! Nothing here shows key material, and nothing leaves the gateway without a key that signs.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::administration::administer;
use super::failure::Failure;
use super::output::{self, Format};
use crate::auth::audit::{Actor, Event, Kind};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Config, Source};
use crate::identity::signing_keys::{KeyRing, SigningKey};
use crate::store::key_file;

/// How far ahead a key's retirement is set. Gateways look at the file every two seconds, and one that still signs
/// with the key must not issue tokens that another one already refuses.
const RETIREMENT_NOTICE: Duration = Duration::from_secs(10);

const AFTER_HELP: &str = "\
`rotate` adds a key, which is only published at first and signs instead of the old one when \
`auth.signing.activation` has passed. The old key goes on verifying until it is removed, which is safe once every \
token that it signed has expired. Running gateways notice within seconds; replicas need the same file.

Examples:
  portcullis keys list
  portcullis keys rotate
  portcullis keys remove KID   at once if it has leaked: its tokens are refused";

/// The commands about signing keys.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(super) enum KeysCommand {
    /// List the signing keys and what each is used for
    List(Format),
    /// Add a key that takes over signing after `auth.signing.activation`
    Rotate,
    /// Let a key sign no more; tokens that it signed stay valid until they expire
    Retire {
        /// The key's id
        // A key id is base64url and may begin with a hyphen.
        // It is base64url, and may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Remove a key, and with it every token that it signed
    Remove {
        /// The key's id
        // A key id is base64url and may begin with a hyphen.
        // It is base64url, and may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

/// A key for programs.
#[derive(Debug, Serialize)]
struct KeyJson {
    kid: String,
    algorithm: &'static str,
    state: &'static str,
    created_at: Timestamp,
    signs_from: Timestamp,
    signs_until: Option<Timestamp>,
}

impl KeysCommand {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        let config = config::load(source)?;
        let ring = open(&config.auth.keys)?;
        let now = SystemClock.now();
        match self {
            Self::List(format) => list(&ring, format, now),
            Self::Rotate => record(source, "rotate", &rotate(&config, now)?),
            Self::Retire { kid } => {
                retire(&config, &ring, &kid, now)?;
                record(source, "retire", &kid)
            }
            Self::Remove { kid } => {
                remove(source, &kid)?;
                output::print(&format!("removed {kid}: running gateways refuse its tokens within seconds"))
            }
        }
    }
}

/// Notes what was done in the audit log. The keys are in a file, and changing them must not wait for a database.
fn record(source: &Source, act: &'static str, kid: &str) -> Result<(), Failure> {
    let event = Event::by(Kind::KeysRotated, &Actor::operator()).with("act", act).with("kid", kid);
    let recorded = administer(source, async |office| {
        office.auth().audit(event.clone()).await;
        Ok(())
    });
    if recorded.is_err() {
        eprintln!("warning: this is not in the audit log: the database of `store.url` cannot be opened");
    }
    Ok(())
}

fn open(path: &Path) -> Result<KeyRing, Failure> {
    if path.try_exists().is_ok_and(|exists| !exists) {
        let error = anyhow::anyhow!("there is no key file {}", path.display());
        return Err(Failure::new(error, "the first `portcullis run` makes it; --config and --data-dir say where it is"));
    }
    let keys = key_file::load(path).context("the signing keys cannot be used")?;
    Ok(KeyRing::new(keys.signing).with_context(|| format!("the keys of {} cannot be used together", path.display()))?)
}

fn list(ring: &KeyRing, format: Format, now: Timestamp) -> Result<(), Failure> {
    if format.json {
        let json = |key: &SigningKey| KeyJson {
            kid: key.kid.to_string(),
            algorithm: key.algorithm.name(),
            state: state(ring, key, now),
            created_at: key.created_at,
            signs_from: key.activates_at,
            signs_until: key.retires_at,
        };
        return output::print_json(&ring.keys().map(json).collect::<Vec<_>>());
    }
    let rows = ring.keys().map(|key| {
        [
            key.kid.to_string(),
            key.algorithm.name().to_owned(),
            output::instant(key.created_at),
            output::instant(key.activates_at),
            key.retires_at.map_or_else(|| "-".to_owned(), output::instant),
            state(ring, key, now).to_owned(),
        ]
    });
    output::print_table(["KID", "ALGORITHM", "CREATED", "SIGNS FROM", "UNTIL", "STATE"], rows)
}

/// What a key is used for at `now`. Every one of them verifies.
fn state(ring: &KeyRing, key: &SigningKey, now: Timestamp) -> &'static str {
    let signs = ring.signer(now).is_some_and(|signer| signer.kid == key.kid);
    match (signs, key.retired(now), key.activates_at > now) {
        (true, ..) => "signs",
        (_, true, _) => "retired",
        (_, _, true) => "published",
        _ => "verifies",
    }
}

fn rotate(config: &Config, now: Timestamp) -> Result<Box<str>, Failure> {
    let activates_at = now + config.auth.key_activation;
    let key = SigningKey::generate(config.auth.algorithm, now, activates_at).context("cannot make a key")?;
    key_file::add_key(&config.auth.keys, &key).context("the key was not added")?;
    output::print(&format!("added the {} key {}, which signs from {}", key.algorithm, key.kid, output::instant(activates_at)))?;
    Ok(key.kid)
}

fn retire(config: &Config, ring: &KeyRing, kid: &str, now: Timestamp) -> Result<(), Failure> {
    another_signs(ring, kid, now)?;
    let at = now + RETIREMENT_NOTICE;
    key_file::retire_key(&config.auth.keys, kid, at).context("the key was not retired")?;
    let expired = at + config.auth.access_token + 2 * config.auth.clock_skew;
    output::print(&format!(
        "{kid} signs until {}; from {} on, when its tokens have expired, `portcullis keys remove {kid}` refuses nobody",
        output::instant(at),
        output::instant(expired),
    ))
}

/// Removes a key and notes it; what to print is for the command to say.
pub(super) fn remove(source: &Source, kid: &str) -> Result<(), Failure> {
    let path = config::load(source)?.auth.keys;
    another_signs(&open(&path)?, kid, SystemClock.now())?;
    key_file::remove_key(&path, kid).context("the key was not removed")?;
    record(source, "remove", kid)
}

/// Refuses to take the last key that can sign.
fn another_signs(ring: &KeyRing, kid: &str, now: Timestamp) -> Result<(), Failure> {
    if ring.verifier(kid).is_none() {
        return Err(Failure::new(
            anyhow::anyhow!("there is no key `{}`", output::shown(kid)),
            "`portcullis keys list` lists them",
        ));
    }
    if ring.keys().any(|key| &*key.kid != kid && !key.retired(now)) {
        return Ok(());
    }
    let error = anyhow::anyhow!("no other key could sign instead of {kid}");
    Err(Failure::new(error, "add one with `portcullis keys rotate` first"))
}
