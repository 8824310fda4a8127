//! Notices that the configuration's file is another one: written, replaced, or reached by another symbolic link, as
//! Kubernetes swaps the volume of a ConfigMap.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::reload::{Reloader, Trigger};

/// How often to look. Notifications of the kernel would say it sooner, and not at all on network file systems.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What tells one state of a file from another, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where all links lead.
    canonical: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same of its metadata: a file whose time of modification was set back is another one.
    changed: (i64, i64),
}

impl Sighting {
    /// The file as it is now; none if there is none.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let canonical = path.canonicalize().ok()?;
        let metadata = canonical.metadata().ok()?;
        Some(Self {
            canonical,
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Reloads whenever the file was changed and then left alone for a moment: half of a file may be valid, too. `seen` is
/// the file that was read at the start.
pub(super) async fn follow(seen: Option<Sighting>, reloader: Arc<Reloader>) {
    let mut applied = seen.clone();
    let mut before = seen;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = look(reloader.path().to_owned()).await;
        if now == before && now != applied {
            applied.clone_from(&now);
            // What it says is logged.
            drop(reloader.reload(Trigger::File).await);
        }
        before = now;
    }
}

async fn look(path: PathBuf) -> Option<Sighting> {
    tokio::task::spawn_blocking(move || Sighting::of(&path)).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_linked_otherwise_is_another_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let link = path("gateway.toml");
        assert_eq!(Sighting::of(&link), None);
        for (version, text) in [("1", "a"), ("2", "b")] {
            std::fs::create_dir(path(version)).expect("a directory");
            std::fs::write(path(version).join("gateway.toml"), text).expect("written");
        }
        let data = |version: &str| {
            std::os::unix::fs::symlink(version, path("new")).expect("a link");
            std::fs::rename(path("new"), path("..data")).expect("swapped");
        };
        data("1");
        std::os::unix::fs::symlink("..data/gateway.toml", &link).expect("a link");
        let first = Sighting::of(&link).expect("there");
        assert_eq!(Sighting::of(&link).as_ref(), Some(&first));
        data("2");
        let second = Sighting::of(&link).expect("there");
        assert_ne!(first, second, "the link leads elsewhere");
        std::fs::write(&link, "longer").expect("written");
        let third = Sighting::of(&link).expect("there");
        assert_ne!(second, third, "it was written");
        std::fs::write(path("other"), "longer").expect("written");
        std::fs::rename(path("other"), &link).expect("replaced");
        assert_ne!(Sighting::of(&link), Some(third), "it was replaced");
    }
}
