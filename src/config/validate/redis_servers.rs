//! `[revocation]`: servers that can be found, spoken to, and asked for everything at once.

use secrecy::{ExposeSecret, SecretSlice};

use super::store::{has_host, scheme, secret};
use super::{Check, upstreams};
use crate::config::file::{self, UpstreamTls};
use crate::config::place::Path;
use crate::config::{Login, Redis, RedisLayout, RedisTls};

/// Below this many witnesses the loss of one is the loss of a majority.
const WITNESSES_USUAL: usize = 3;

/// How Redis is reached; none if there is none.
pub(super) fn redis(check: &mut Check<'_>, path: &Path, file: &file::Revocation) -> Option<Redis> {
    let layout = layout(check, path, file);
    let Some(layout) = layout else {
        for (key, written) in [
            ("username", file.username.is_some()),
            ("password", file.password.is_some()),
            ("tls", file.tls.is_some()),
            ("min_replica_acks", file.min_replica_acks > 0),
        ] {
            if written {
                check.refuse(&path.key(key), "there is no Redis that this is for", "set `url`, `sentinel` or `cluster` as well");
            }
        }
        return None;
    };
    let login = login(check, path, &file.username, file.password.as_ref());
    let tls = file.tls.as_ref().and_then(|written| tls(check, &path.key("tls"), written));
    Some(Redis { layout, login, tls })
}

fn layout(check: &mut Check<'_>, path: &Path, file: &file::Revocation) -> Option<RedisLayout> {
    let written = [("url", file.url.is_some()), ("sentinel", file.sentinel.is_some()), ("cluster", !file.cluster.is_empty())];
    let written: Vec<_> = written.into_iter().filter(|(_, written)| *written).map(|(key, _)| key).collect();
    if let [one, other, ..] = written.as_slice() {
        let help =
            "write `url` for one server, `sentinel` for a primary that sentinels watch over, or `cluster` for a Redis Cluster";
        check.clash(&path.key(other), "there is one Redis", &path.key(one), "and it is here", help);
    }
    let is_tls = |urls: &[String]| urls.iter().any(|url| scheme(url) == "rediss");
    let (layout, encrypted) = if let Some(url) = &file.url {
        let url = secret(check, &path.key("url"), url);
        let encrypted = scheme(url.expose_secret()) == "rediss";
        single(check, path, file, url.expose_secret());
        (RedisLayout::Single(url), encrypted)
    } else if let Some(sentinel) = &file.sentinel {
        let path = path.key("sentinel");
        witnesses(check, &path.key("servers"), &sentinel.servers, "sentinel");
        if sentinel.primary.is_empty() {
            let help = "write what `sentinel monitor` of their configuration calls it, like \"mymaster\"";
            check.refuse(&path.key("primary"), "the primary has no name", help);
        }
        let login = login(check, &path, &sentinel.username, sentinel.password.as_ref());
        let (sentinels, primary) = (sentinel.servers.clone(), sentinel.primary.clone());
        (RedisLayout::Sentinel { sentinels, primary, login }, is_tls(&sentinel.servers))
    } else if !file.cluster.is_empty() {
        witnesses(check, &path.key("cluster"), &file.cluster, "node");
        if !has_tag(&file.prefix) {
            // Refused, not added: other programs read these keys, too, and have to know their names.
            let message = "in a cluster the keys would be spread over its primaries, and the loss of one of them go unnoticed";
            let help = "write a prefix with a hash tag, like \"{portcullis}:\": what has the same tag stays on the same primary";
            check.refuse(&path.key("prefix"), message, help);
        }
        (RedisLayout::Cluster(file.cluster.clone()), is_tls(&file.cluster))
    } else {
        return None;
    };
    if file.tls.is_some() && !encrypted {
        check.refuse(&path.key("tls"), "this Redis is not spoken to over TLS", "write rediss://, or remove `tls`");
    }
    Some(layout)
}

fn single(check: &mut Check<'_>, path: &Path, file: &file::Revocation, url: &str) {
    let at = path.key("url");
    match scheme(url) {
        _ if url.is_empty() => {} // Reported already.
        "redis" | "rediss" if url.contains('#') => {
            let message = "a fragment would turn the verification of certificates off";
            check.refuse(&at, message, "remove what begins with `#`, and name the authority in [revocation.tls]");
        }
        "redis" | "rediss" if has_host(url) => {
            let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
            if authority.contains('@') && (file.username.is_some() || file.password.is_some()) {
                let key = if file.password.is_some() { "password" } else { "username" };
                let help = "leave one of the two out";
                check.clash(&path.key(key), "who the gateway is stands in two places", &at, "and here", help);
            }
        }
        _ => {
            let help = "write it like \"redis://host:6379\", with TLS \"rediss://host:6379\"";
            check.refuse(&at, "this is not the URL of a Redis", help);
        }
    }
}

/// Those who say where the primary is.
fn witnesses(check: &mut Check<'_>, path: &Path, urls: &[String], word: &str) {
    for (index, url) in urls.iter().enumerate() {
        let at = path.index(index);
        let help =
            "write it like \"redis://host:26379\", with TLS \"rediss://host:26379\"; names and passwords have keys of their own";
        let rest = url.split_once("://").map_or("", |(_, rest)| rest.trim_end_matches('/'));
        if !matches!(scheme(url), "redis" | "rediss") || !has_host(url) || rest.contains(['@', '/', '?', '#']) {
            check.refuse(&at, format!("this is not the URL of a {word}"), help);
        } else if scheme(url) != scheme(&urls[0]) {
            check.refuse(&at, "some are spoken to over TLS and some are not", "write rediss:// for all of them, or for none");
        } else if urls[..index].iter().any(|other| witness(other) == witness(url)) {
            check.refuse(&at, "is listed twice: its word would count twice", "remove one of the two");
        }
    }
    if urls.is_empty() {
        check.refuse(path, format!("there is no {word} here"), "list all that there are, at least three");
    } else if urls.len() < WITNESSES_USUAL {
        let message =
            format!("a majority of the {word}s listed here says where the primary is: with {} every one is needed", urls.len());
        check.warn(path, message, "list all that there are, at least three");
    }
}

/// The host and port of a URL, however they are spelt.
fn witness(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/').to_ascii_lowercase();
    let has_port = rest.rsplit(']').next().is_some_and(|end| end.contains(':'));
    if has_port { rest } else { format!("{rest}:6379") }
}

fn login(
    check: &mut Check<'_>,
    path: &Path,
    username: &Option<String>,
    password: Option<&crate::config::secret::SecretText>,
) -> Login {
    if username.is_some() && password.is_none() {
        check.refuse(&path.key("username"), "has no password", "set `password`, too: { file = \"…\" } or { env = \"…\" }");
    }
    let password = password.map(|written| secret(check, &path.key("password"), written));
    Login { username: username.clone(), password }
}

fn tls(check: &mut Check<'_>, path: &Path, file: &file::RedisTls) -> Option<RedisTls> {
    let file::RedisTls { ca, certificate, key } = file.clone();
    // The same rules as for the servers of upstreams; the driver reads PEM by itself.
    let read = upstreams::tls(
        check,
        path,
        &UpstreamTls { server_name: None, ca: ca.clone(), certificate: certificate.clone(), key: key.clone() },
    );
    let bytes = |name: &std::path::PathBuf| std::fs::read(check.data_dir.join(name)).ok();
    let authorities = ca.as_ref().and_then(bytes);
    let client =
        read.client.and_then(|_| Some((certificate.as_ref().and_then(bytes)?, SecretSlice::from(key.as_ref().and_then(bytes)?))));
    Some(RedisTls { authorities, client })
}

/// Whether something stands between the first `{` and the next `}`: what Redis Cluster distributes by.
fn has_tag(prefix: &str) -> bool {
    prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_is_known_by_host_and_port() {
        for same in ["redis://s1:6379", "redis://S1", "redis://s1/", "rediss://s1:6379/"] {
            assert_eq!(witness(same), "s1:6379", "{same}");
        }
        assert_eq!(["redis://[::1]", "redis://[::1]:7"].map(witness), ["[::1]:6379", "[::1]:7"]);
    }

    #[test]
    fn a_hash_tag_has_something_in_it() {
        for (prefix, has) in
            [("{a}", true), ("x:{a}:", true), ("", false), ("{}", false), ("{}{a}", false), ("{a", false), ("}a{", false)]
        {
            assert_eq!(has_tag(prefix), has, "{prefix}");
        }
    }
}
