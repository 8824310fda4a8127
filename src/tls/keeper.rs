//! Looks after certificate files: what changes for the better is shown, what does not is reported and changes nothing.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use super::pair::{Pair, PairError};
use super::resolver::Certificates;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// What logs and metrics call it.
    pub name: Box<str>,
    /// The chain, in PEM, the host's own certificate first.
    pub certificate: PathBuf,
    /// The key, in PEM.
    pub key: PathBuf,
    /// The hosts it is shown for; the certificate's own names if there are none.
    pub hosts: Vec<Box<str>>,
}

/// Something that an operator should read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new pair is shown from now on.
    Swapped {
        /// Which.
        name: Box<str>,
        /// Until when.
        not_after: Timestamp,
    },
    /// The files changed and cannot be used: what was shown before stays.
    Kept {
        /// Which.
        name: Box<str>,
        /// What is wrong with the files.
        error: String,
        /// Until when clients accept what stays.
        not_after: Timestamp,
    },
    /// Clients accept what is shown no more, or not yet.
    Unaccepted {
        /// Which.
        name: Box<str>,
        /// Why.
        error: String,
    },
}

/// Why a certificate cannot be shown at the start, when there is none to keep.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .files.certificate.display())]
pub struct OpenError {
    /// Which files.
    pub files: CertificateFiles,
    /// What is wrong with them.
    pub error: ReadError,
}

/// Why files are no pair.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What they hold cannot be used.
    #[error(transparent)]
    Pair(#[from] PairError),
}

/// Keeps the shown certificates equal to their files.
pub struct Keeper {
    kept: Vec<Kept>,
    certificates: Arc<Certificates>,
}

/// What the contents of both files are known by.
type Print = [u8; 32];

struct Kept {
    files: CertificateFiles,
    pair: Pair,
    print: Print,
    /// What was wrong with the files at the last look.
    suspect: Option<String>,
    /// What was reported about the files, until they are right again.
    reported: Option<String>,
    /// Whether it was reported that clients do not accept what is shown.
    unaccepted: bool,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("certificates", &self.kept.len()).finish_non_exhaustive()
    }
}

impl CertificateFiles {
    /// Reads both files.
    ///
    /// # Errors
    /// They cannot be read, or are no pair.
    pub fn read(&self) -> Result<Pair, ReadError> {
        self.read_other_than(None).map(|read| read.expect("everything is other than nothing").0)
    }

    /// Reads both files, unless their contents are those that are known already.
    fn read_other_than(&self, known: Option<&Print>) -> Result<Option<(Pair, Print)>, ReadError> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| ReadError::Io { path: path.clone(), error });
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let both = [digest(&SHA256, &certificate).as_ref(), digest(&SHA256, &key).as_ref()].concat();
        let print = digest(&SHA256, &both).as_ref().try_into().expect("SHA-256 gives 32 bytes");
        if known == Some(&print) {
            return Ok(None);
        }
        Ok(Some((Pair::read(&certificate, &key, &self.hosts)?, print)))
    }
}

impl Keeper {
    /// Reads and shows every pair. One that clients do not accept at `now` is shown all the same: refusing to start
    /// would take the others away with it. The first [`Keeper::look`] reports it.
    ///
    /// # Errors
    /// The first pair that cannot be read.
    pub fn open(files: Vec<CertificateFiles>) -> Result<Self, Box<OpenError>> {
        let keep = |files: CertificateFiles| match files.read_other_than(None) {
            Ok(read) => {
                let (pair, print) = read.expect("everything is other than nothing");
                Ok(Kept { files, pair, print, suspect: None, reported: None, unaccepted: false })
            }
            Err(error) => Err(Box::new(OpenError { files, error })),
        };
        let keeper = Self { kept: files.into_iter().map(keep).collect::<Result<_, _>>()?, certificates: Arc::default() };
        keeper.show();
        Ok(keeper)
    }

    /// What is shown, always the newest.
    #[must_use]
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// Until when clients accept each of those that are shown.
    pub fn expiries(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.kept.iter().map(|kept| (&*kept.files.name, kept.pair.not_after()))
    }

    /// How many are shown although their files hold something else, which cannot be used.
    #[must_use]
    pub fn stale(&self) -> usize {
        self.kept.iter().filter(|kept| kept.reported.is_some()).count()
    }

    /// Looks at the files. Blocks while it reads them.
    pub fn look(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events: Vec<Event> = self.kept.iter_mut().filter_map(|kept| kept.look(now)).collect();
        if events.iter().any(|event| matches!(event, Event::Swapped { .. })) {
            self.show();
        }
        events.extend(self.kept.iter_mut().filter_map(|kept| kept.watch_time(now)));
        events
    }

    fn show(&self) {
        self.certificates.show_files(self.kept.iter().map(|kept| kept.pair.clone()).collect());
    }
}

impl Kept {
    fn look(&mut self, now: Timestamp) -> Option<Event> {
        let read = self.files.read_other_than(Some(&self.print));
        let read = read.and_then(|read| read.map(|(pair, print)| Ok((pair.check_time(now).map(|()| pair)?, print))).transpose());
        let name = self.files.name.clone();
        match read {
            Ok(None) => {
                (self.suspect, self.reported) = (None, None);
                None
            }
            Ok(Some((pair, print))) => {
                let not_after = pair.not_after();
                (self.pair, self.print, self.unaccepted) = (pair, print, false);
                (self.suspect, self.reported) = (None, None);
                Some(Event::Swapped { name, not_after })
            }
            Err(error) => {
                // Two files cannot be written at once: what is wrong at one look only was being written.
                let error = error.to_string();
                let seen_before = self.suspect.replace(error.clone()).is_some_and(|before| before == error);
                if !seen_before || self.reported.as_ref() == Some(&error) {
                    return None;
                }
                self.reported = Some(error.clone());
                Some(Event::Kept { name, error, not_after: self.pair.not_after() })
            }
        }
    }

    fn watch_time(&mut self, now: Timestamp) -> Option<Event> {
        let error = self.pair.check_time(now).err();
        let news = error.is_some() && !self.unaccepted;
        self.unaccepted = error.is_some();
        let error = error.filter(|_| news)?;
        Some(Event::Unaccepted { name: self.files.name.clone(), error: error.to_string() })
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
