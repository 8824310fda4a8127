//! A fetched key set on disk: what a gateway knows after a restart while the issuer is down.
//!
//! The keys are public, but whoever could change the file could sign: it has mode 0600, and one that others may use is
//! not believed. It is replaced as a whole. Reading and writing block.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::http::ANSWER_BYTES_MAX;
use crate::identity::foreign_token::digest;

/// The set as text within JSON, with room for escapes and the other members.
const FILE_BYTES_MAX: u64 = 4 * ANSWER_BYTES_MAX as u64;

/// A key set, where it is from and how old it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) issuer: String,
    pub(super) url: String,
    pub(super) fetched_at: Timestamp,
    /// As it was fetched; read as strictly as then.
    pub(super) jwks: String,
}

/// The file of an issuer. Named by a hash: issuers are URLs.
pub(super) fn path(directory: &Path, issuer: &str) -> PathBuf {
    let mut name = String::from("jwks-");
    for byte in &digest(issuer)[..16] {
        // Writing to a text cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    directory.join(name + ".json")
}

/// What is kept of this issuer and this URL; nothing if there is no such file.
pub(super) fn read(path: &Path, issuer: &str, url: &str) -> io::Result<Option<Kept>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::other("others than its owner may use it; run `chmod 600` on it, or remove it"));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    let kept: Kept = serde_json::from_slice(&text).map_err(|_| io::Error::other("it is not valid; remove it"))?;
    Ok((kept.issuer == issuer && kept.url == url).then_some(kept))
}

/// Replaces the file: a crash at any instant leaves the old text or the new one.
pub(super) fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Replicas may share the directory: each writes beside the file under a name of its own.
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let text = serde_json::to_vec(kept).map_err(io::Error::other)?;
    file.write_all(&text).and_then(|()| file.sync_all())?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}
