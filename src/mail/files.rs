//! Mail as files: one `.eml` per mail in a directory, for development, tests, and programs that send it on.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use async_trait::async_trait;

use super::Mail;
use super::outbox::{NotCarried, Transport};

/// A directory of mail.
#[derive(Debug, Clone)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// The directory is made when it is needed. Links in mail are secrets: only this user may read it.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Writes one file, durably; whoever watches the directory for `.eml` sees whole ones only.
    fn write(&self, name: &str, mail: &[u8]) -> io::Result<()> {
        DirBuilder::new().mode(0o700).recursive(true).create(&self.directory)?;
        let (unfinished, finished) = (self.directory.join(format!(".{name}.new")), self.directory.join(name));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(mail).and_then(|()| file.sync_all())?;
        fs::rename(&unfinished, &finished)?;
        File::open(&self.directory)?.sync_all()
    }
}

#[async_trait]
impl Transport for Files {
    async fn carry(&self, mail: &Mail) -> Result<(), NotCarried> {
        // In the order of writing; the id makes it unique, also after a try that was cut off.
        let name = format!("{}-{}.eml", mail.written_at.as_millisecond(), mail.id);
        let (files, bytes) = (self.clone(), mail.bytes());
        let written = tokio::task::spawn_blocking(move || {
            // A try that failed half-way left its file behind.
            drop(fs::remove_file(files.directory.join(format!(".{name}.new"))));
            files.write(&name, &bytes)
        });
        match written.await {
            Ok(written) => written.map_err(|error| NotCarried::Yet(error.into())),
            Err(lost) => Err(NotCarried::Yet(lost.into())),
        }
    }
}
