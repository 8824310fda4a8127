//! The key file: signing keys and the refresh key, as JSON with mode 0600.
//!
//! Whoever reads this file can issue tokens, so a file that others may read is refused. It is replaced as a
//! whole (written beside, synced, renamed), so that a crash leaves the old keys or the new ones, and writers
//! take turns on a lock file, so that two of them lose nobody's key. Reading and writing block: for start-up
//! and the command line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use crate::clock::Entropy;
use crate::identity::refresh_token::RefreshKey;
use crate::identity::signing_keys::{Algorithm, KeyError, SigningKey};

/// Raised when the meaning of the file changes, so that an older version refuses it instead of losing a part.
const VERSION: u32 = 1;
/// Hundreds of RSA keys; anything larger is not a key file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the key file holds.
#[derive(Debug)]
pub struct KeyFile {
    /// At least one key.
    pub signing: Vec<SigningKey>,
    /// The key under which refresh tokens are computed.
    pub refresh: RefreshKey,
}

/// Why the key file cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system refused.
    #[error("cannot {doing} the key file {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Group or others may use the file.
    #[error("the key file {} has mode {mode:04o}: others than its owner may use it; run `chmod 600 {}`", path.display(), path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not JSON of the expected shape.
    #[error("the key file {} is not valid: {what}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without any secret.
        what: String,
    },
    /// One of its keys is not usable.
    #[error("the key `{kid}` in the key file {} is not usable", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Which key.
        kid: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A new key could not be made.
    #[error("cannot make a signing key")]
    Generation(#[source] KeyError),
    /// The change would leave two keys with one id, or none at all, or asks for a key that is not there.
    #[error("{0}")]
    Change(String),
}

/// The file as written. No `Debug`: it holds the secrets in plain text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    /// Base64 of 32 bytes.
    refresh_key: String,
    signing_keys: Vec<WrittenKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    kid: String,
    algorithm: String,
    created_at: Timestamp,
    activates_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retires_at: Option<Timestamp>,
    /// Base64 of PKCS#8 (DER), or of the secret for HS256.
    private_key: String,
}

/// Reads the file.
///
/// # Errors
/// It is missing, readable by others, or not valid.
pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
    let written = read(path)?;
    let refresh: Option<[u8; 32]> = STANDARD.decode(&written.refresh_key).ok().and_then(|bytes| bytes.try_into().ok());
    let refresh = refresh.ok_or_else(|| invalid(path, "`refresh_key` is not base64 of 32 bytes".to_owned()))?;
    if written.signing_keys.is_empty() {
        return Err(invalid(path, "`signing_keys` is empty".to_owned()));
    }
    let signing = written.signing_keys.iter().map(|key| key.read(path)).collect::<Result<_, _>>()?;
    Ok(KeyFile { signing, refresh: RefreshKey::new(&refresh) })
}

/// Reads the file, after making one with a first signing key, active at once, if there is none. Of several
/// processes that start together one makes it and all read the same.
///
/// # Errors
/// As [`load`], or the file cannot be written.
pub fn create_if_missing(
    path: &Path,
    algorithm: Algorithm,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<KeyFile, KeyFileError> {
    if !exists(path)? {
        if let Some(directory) = directory(path) {
            let mut builder = fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.recursive(true).create(directory).map_err(io("create the directory of", path))?;
        }
        let _turn = lock(path)?;
        if !exists(path)? {
            let key = SigningKey::generate(algorithm, now, now).map_err(KeyFileError::Generation)?;
            let mut refresh_key = [0; 32];
            entropy.fill(&mut refresh_key);
            let refresh_key = STANDARD.encode(refresh_key);
            write(path, &Written { version: VERSION, refresh_key, signing_keys: vec![WrittenKey::from(&key)] })?;
        }
    }
    load(path)
}

/// Adds a key.
///
/// # Errors
/// The file cannot be read or written, or has a key with this id.
pub fn add_key(path: &Path, key: &SigningKey) -> Result<(), KeyFileError> {
    change(path, |keys| {
        if keys.iter().any(|other| *other.kid == *key.kid) {
            return Err(KeyFileError::Change(format!("there is a key `{}` already", key.kid)));
        }
        keys.push(WrittenKey::from(key));
        Ok(())
    })
}

/// Lets a key sign only until `at`. Its tokens stay valid until they expire.
///
/// # Errors
/// The file cannot be read or written, or has no such key.
pub fn retire_key(path: &Path, kid: &str, at: Timestamp) -> Result<(), KeyFileError> {
    change(path, |keys| {
        let key = keys.iter_mut().find(|key| key.kid == kid).ok_or_else(|| no_such_key(kid))?;
        key.retires_at = Some(at);
        Ok(())
    })
}

/// Removes a key, and with it every token that it signed.
///
/// # Errors
/// The file cannot be read or written, has no such key, or no other.
pub fn remove_key(path: &Path, kid: &str) -> Result<(), KeyFileError> {
    change(path, |keys| {
        let index = keys.iter().position(|key| key.kid == kid).ok_or_else(|| no_such_key(kid))?;
        keys.remove(index);
        if keys.is_empty() {
            return Err(KeyFileError::Change(format!("`{kid}` is the only key: add another one first")));
        }
        Ok(())
    })
}

fn no_such_key(kid: &str) -> KeyFileError {
    KeyFileError::Change(format!("there is no key `{kid}`"))
}

impl WrittenKey {
    fn read(&self, path: &Path) -> Result<SigningKey, KeyFileError> {
        let unusable = |source| KeyFileError::Key { path: path.to_owned(), kid: self.kid.clone(), source };
        let algorithm = Algorithm::parse(&self.algorithm).map_err(unusable)?;
        let private = STANDARD.decode(&self.private_key).map_err(|_| unusable(KeyError::Private(algorithm)))?;
        let (created_at, activates_at) = (self.created_at, self.activates_at);
        SigningKey::import(Some(&self.kid), algorithm, private.into(), created_at, activates_at, self.retires_at)
            .map_err(unusable)
    }
}

impl From<&SigningKey> for WrittenKey {
    fn from(key: &SigningKey) -> Self {
        Self {
            kid: key.kid.to_string(),
            algorithm: key.algorithm.name().to_owned(),
            created_at: key.created_at,
            activates_at: key.activates_at,
            retires_at: key.retires_at,
            private_key: STANDARD.encode(key.private_bytes().expose_secret()),
        }
    }
}

fn change(path: &Path, edit: impl FnOnce(&mut Vec<WrittenKey>) -> Result<(), KeyFileError>) -> Result<(), KeyFileError> {
    let _turn = lock(path)?;
    let mut written = read(path)?;
    edit(&mut written.signing_keys)?;
    write(path, &written)
}

fn read(path: &Path) -> Result<Written, KeyFileError> {
    let file = File::open(path).map_err(io("open", path))?;
    // Of the opened file, not of the path: nothing can be exchanged in between.
    let mode = file.metadata().map_err(io("examine", path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(io("read", path))?;
    let written: Written = serde_json::from_slice(&text).map_err(|error| invalid(path, place(&error)))?;
    if written.version != VERSION {
        return Err(invalid(path, format!("version {} is not {VERSION}, the one this gateway reads", written.version)));
    }
    Ok(written)
}

/// Where and what kind, without the text that `serde_json` quotes: it could be a key.
fn place(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "a member is missing, unknown or of the wrong type",
        _ => "not JSON",
    };
    format!("{kind}, at line {} column {}", error.line(), error.column())
}

/// Replaces the file, durably: a crash at any instant leaves the old text or the new one.
fn write(path: &Path, written: &Written) -> Result<(), KeyFileError> {
    let temporary = beside(path, ".new");
    let mut text = serde_json::to_vec_pretty(written).map_err(|error| invalid(path, place(&error)))?;
    text.push(b'\n');
    // A left-over of a crash, or someone's symbolic link: gone, and `create_new` follows neither.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("replace", path)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io("write beside", path))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(io("write", path))?;
    fs::rename(&temporary, path).map_err(io("replace", path))?;
    let parent = directory(path).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(io("sync the directory of", path))
}

/// Waits for this process' turn to write. The lock ends with the returned file, or with the process.
fn lock(path: &Path) -> Result<File, KeyFileError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(io("lock", path))?;
    file.lock().map_err(io("lock", path))?;
    Ok(file)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn directory(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}

fn exists(path: &Path) -> Result<bool, KeyFileError> {
    path.try_exists().map_err(io("look for", path))
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { doing, path, source }
}

fn invalid(path: &Path, what: String) -> KeyFileError {
    KeyFileError::Invalid { path: path.to_owned(), what }
}

#[cfg(test)]
mod tests;
