//! `[store]` and `[revocation]`: URLs that this gateway can use, and replicas that see each other's logouts.

use std::path::Path as FilePath;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{Check, MILLISECOND, SECOND, redis_servers};
use crate::config::file::{self, RevocationCheck};
use crate::config::place::Path;
use crate::config::secret::SecretText;
use crate::config::{Mirror, Revocation, Store};

/// A client waits for the look-up on every request: nobody wants to wait longer than this for a refusal.
const DEADLINE_MAX: Duration = Duration::from_secs(10);
/// A mirror is proved several times within its bound; below this, hiccups of a machine would send requests to Redis.
const STALENESS_MIN: Duration = Duration::from_millis(100);
/// Nobody who has signed out expects to be let in for longer.
const STALENESS_MAX: Duration = Duration::from_secs(30);

pub(super) fn store(check: &mut Check<'_>, path: &Path, file: &file::Store) -> Store {
    let at = path.key("url");
    let url = secret(check, &at, &file.url);
    let url = match scheme(url.expose_secret()) {
        _ if url.expose_secret().is_empty() => url, // Reported already.
        "sqlite" => sqlite(check, &at, url.expose_secret()),
        "postgres" | "postgresql" | "mysql" if has_host(url.expose_secret()) => url,
        "postgres" | "postgresql" | "mysql" => {
            check.refuse(&at, "the URL names no host", "write it like \"postgres://user:password@host:5432/database\"");
            url
        }
        scheme => {
            let message = format!("there is no store for {scheme:?} URLs");
            check.refuse(&at, message, "write \"sqlite:portcullis.db\", \"postgres://…\" or \"mysql://…\" (also for MariaDB)");
            url
        }
    };
    Store { url, connections_max: file.connections_max }
}

pub(super) fn revocation(check: &mut Check<'_>, path: &Path, file: &file::Revocation) -> Option<Revocation> {
    let deadline = check.duration(&path.key("deadline"), &file.deadline, MILLISECOND..=DEADLINE_MAX);
    if deadline > SECOND {
        let message = "every request may wait this long for a look-up before it is refused";
        check.warn(&path.key("deadline"), message, "a Redis that is near answers within a few milliseconds; 50ms is the default");
    }
    prefix(check, &path.key("prefix"), &file.prefix);
    let mirror = mirror(check, path, file);
    let Some(redis) = redis_servers::redis(check, path, file) else {
        if mirror.is_some() {
            let help = "set revocation.url, or leave `check` out: without a Redis the set is in this process' memory anyway";
            check.refuse(&path.key("check"), "there is no Redis to mirror", help);
        }
        return None;
    };
    let replica_acks_min = usize::try_from(file.min_replica_acks).unwrap_or(usize::MAX);
    Some(Revocation { redis, replica_acks_min, deadline, prefix: file.prefix.clone(), mirror })
}

fn mirror(check: &mut Check<'_>, path: &Path, file: &file::Revocation) -> Option<Mirror> {
    let at = path.key("max_staleness");
    let staleness_max = check.duration(&at, &file.max_staleness, STALENESS_MIN..=STALENESS_MAX);
    if file.check == RevocationCheck::Strict {
        return None;
    }
    if staleness_max > 5 * SECOND {
        let message = "a token may be accepted for this long after its session was ended on another replica";
        check.warn(&at, message, "1s is the default; what is older is looked up in Redis, so a short one costs little");
    }
    Some(Mirror { staleness_max, records_max: usize::try_from(file.max_records).unwrap_or(usize::MAX) })
}

fn prefix(check: &mut Check<'_>, path: &Path, prefix: &str) {
    if prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        check.refuse(path, "must be at most 64 visible ASCII characters", "write it like \"gateway:\"");
    }
}

/// A database server suggests several replicas; without Redis each would know only the logouts that it handled.
pub(super) fn replicas(check: &mut Check<'_>, store: &Store, file: &file::Revocation) {
    let shared = matches!(scheme(store.url.expose_secret()), "postgres" | "postgresql" | "mysql");
    if shared && !file.names_redis() && !file.insecure_single_replica {
        check.refuse(
            &Path::root().key("store").key("url"),
            "a shared database without Redis: replicas would not see each other's logouts",
            "set `url = \"redis://…\"` in [revocation]; if there is and will be one replica only, \
             set `insecure_single_replica = true` there",
        );
    }
}

pub(super) fn secret(check: &mut Check<'_>, path: &Path, text: &SecretText) -> SecretString {
    let result = text.resolve(check.environment, check.data_dir);
    check.parsed(path, result, "a secret is text, { env = \"NAME\" } or { file = \"PATH\" }").unwrap_or_default()
}

pub(super) fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// Whether something stands between `://` (or the `@` behind it) and what follows. Everything else about the
/// URL is for its driver to judge.
pub(super) fn has_host(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
    let host = authority.rsplit('@').next().unwrap_or("");
    !host.is_empty() && !host.starts_with(':')
}

/// The URL with its file under the data directory, if it is relative.
fn sqlite(check: &mut Check<'_>, path: &Path, url: &str) -> SecretString {
    let file = url.trim_start_matches("sqlite:");
    let file = file.strip_prefix("//").unwrap_or(file);
    if file.is_empty() || file.starts_with(':') {
        let message = "a database in memory forgets every user and every revocation at restart";
        check.refuse(path, message, "name a file, like \"sqlite:portcullis.db\"");
    }
    if file.contains('?') {
        check.refuse(path, "options are not taken", "name only the file: the gateway chooses journal, locking and mode itself");
    }
    format!("sqlite:{}", under(check.data_dir, file)).into()
}

/// The driver decodes percent-escapes and splits at `?`: what the data directory has of these must not be taken for them.
fn under(data_dir: &FilePath, file: &str) -> String {
    if FilePath::new(file).is_absolute() {
        return file.to_owned();
    }
    let directory = data_dir.to_string_lossy().replace('%', "%25").replace('?', "%3F");
    FilePath::new(&directory).join(file).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_database_is_under_the_data_directory() {
        let dir = FilePath::new("/srv/100%?");
        assert_eq!(under(dir, "portcullis.db"), "/srv/100%25%3F/portcullis.db");
        assert_eq!(under(dir, "/tmp/gate.db"), "/tmp/gate.db");
    }

    #[test]
    fn a_url_without_a_host_is_noticed() {
        for (url, has) in [
            ("redis://h", true),
            ("redis://u:p@h:1/0", true),
            ("redis://", false),
            ("redis://u@", false),
            ("redis://:1", false),
            ("redis:h", false),
        ] {
            assert_eq!(has_host(url), has, "{url}");
        }
    }
}
