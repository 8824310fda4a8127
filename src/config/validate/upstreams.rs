//! `[upstreams.NAME]`: servers that can be connected to, and certificates that can be verified.

mod service;
mod tls;

pub(super) use tls::{authorities, tls};

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::{Check, HOUR, MILLISECOND};
use crate::config::file;
use crate::config::place::Path;
use crate::config::{Breaker, Server, Upstream, UpstreamServer};

/// A TCP handshake that takes a minute will not succeed.
const CONNECT_MAX: Duration = Duration::from_mins(1);

pub(super) fn upstreams(check: &mut Check<'_>, path: &Path, file: &BTreeMap<String, file::Upstream>) -> Vec<Upstream> {
    file.iter().map(|(name, upstream)| self::upstream(check, &path.key(name), name, upstream)).collect()
}

fn upstream(check: &mut Check<'_>, path: &Path, name: &str, file: &file::Upstream) -> Upstream {
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        let message = format!("{name:?} is not a name for an upstream");
        check.refuse(path, message, "write 1 to 64 letters, digits, `-`, `_` or `.`: it is a label of metrics");
    }
    let servers = servers(check, path, file);
    let balance = service::balance(check, path, file);
    let tls = file.tls.as_ref().map(|written| self::tls(check, &path.key("tls"), written));
    let health = file.health.as_ref().map(|written| service::health(check, &path.key("health"), written));
    let ejection = service::ejection(check, &path.key("ejection"), &file.ejection);
    let http2 = service::http2(check, path, file, servers.iter().any(|server| server.tls_name.is_some()));
    let mut duration = |key: &str, text, most| check.duration(&path.key(key), text, MILLISECOND..=most);
    Upstream {
        name: Arc::from(name),
        servers,
        balance,
        http: file.http,
        http2,
        tls,
        connect_timeout: duration("connect_timeout", &file.connect_timeout, CONNECT_MAX),
        read_timeout: duration("read_timeout", &file.read_timeout, 24 * HOUR),
        write_timeout: duration("write_timeout", &file.write_timeout, 24 * HOUR),
        idle_timeout: duration("idle_timeout", &file.idle_timeout, 24 * HOUR),
        retries: file.retries,
        retry_share: file.retry_share,
        health,
        ejection,
        breaker: Breaker { connections: file.breaker.connections, pending: file.breaker.pending },
    }
}

fn servers(check: &mut Check<'_>, path: &Path, file: &file::Upstream) -> Vec<UpstreamServer> {
    let at = path.key("servers");
    // A list that is missing altogether, or not a list, is the structural check's to report.
    let written_empty = check.document.get(&at).is_some_and(|node| node.is_empty_array());
    if written_empty {
        check.refuse(&at, "has no servers", "write at least one, like [\"http://10.0.0.5:3000\"]");
    }
    let tls_name = file.tls.as_ref().and_then(|written| tls::server_name(check, &path.key("tls"), written));
    if !file.weights.is_empty() && file.weights.len() != file.servers.len() {
        let message = format!("{} weights for {} servers", file.weights.len(), file.servers.len());
        check.refuse(&path.key("weights"), message, "write one for each of `servers`, in their order, or none");
    }
    let mut servers: Vec<UpstreamServer> = Vec::new();
    for (index, text) in file.servers.iter().enumerate() {
        let at = at.index(index);
        let help = "write http://HOST[:PORT] or https://HOST[:PORT]; paths belong to routes";
        let Some(mut server) = check.parsed(&at, parse(text, tls_name), help) else { continue };
        server.weight = file.weights.get(index).copied().unwrap_or(1);
        if servers.iter().any(|other| (&other.host, other.port) == (&server.host, server.port)) {
            check.refuse(&at, format!("{}:{} is listed twice", server.host, server.port), "remove one of the two");
        }
        if server.tls_name.as_deref().is_some_and(|name| name.parse::<IpAddr>().is_ok()) {
            let message = "https to an IP address: there is no name to verify the certificate against";
            check.refuse(&at, message, format!("add `tls = {{ server_name = \"…\" }}` to [{path}], or write a host name here"));
        }
        servers.push(server);
    }
    if file.tls.is_some() && !servers.is_empty() && servers.iter().all(|server| server.tls_name.is_none()) {
        check.refuse(&path.key("tls"), "no server of this upstream is https", "write https:// in `servers`, or remove `tls`");
    }
    servers
}

fn parse(text: &str, tls_name: Option<&str>) -> Result<UpstreamServer, String> {
    let wrong = || format!("{text:?} is not the URL of a server");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(wrong()),
    };
    if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
        return Err(format!("{text:?} has a path"));
    }
    // Not repeated: what stands before an `@` may be a password.
    if authority.as_str().contains('@') {
        return Err("a server's URL carries no credentials".to_owned());
    }
    let written = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let port = match written.strip_prefix(':') {
        None => default_port,
        Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or_else(|| format!("{port:?} is not a port"))?,
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if host.parse::<IpAddr>().is_err() && !is_host(&host) {
        return Err(wrong());
    }
    let tls_name = (default_port == 443).then(|| tls_name.unwrap_or(&host).to_owned());
    Ok(UpstreamServer { host, port, tls_name, weight: 1 })
}

/// Letters, digits, `-`, `.`, and `_`, which container networks put into names.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A gateway that is its own upstream would proxy a request to itself until its connections are used up.
pub(super) fn no_loops(check: &mut Check<'_>, path: &Path, file: &BTreeMap<String, file::Upstream>, server: &Server) {
    for (name, upstream) in file {
        for (index, text) in upstream.servers.iter().enumerate() {
            let Ok(parsed) = parse(text, Some("any")) else { continue };
            let ip = if parsed.host == "localhost" { Ok(IpAddr::from([127, 0, 0, 1])) } else { parsed.host.parse() };
            let Ok(ip) = ip else { continue };
            let target = SocketAddr::new(ip, parsed.port);
            let is_ours = |own: &SocketAddr| {
                *own == target || (own.port() == target.port() && own.ip().is_unspecified() && ip.is_loopback())
            };
            if server.listen.iter().any(is_ours) {
                let at = path.key(name).key("servers").index(index);
                check.refuse(&at, format!("{target} is this gateway itself"), "write the address of the service behind it");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        let server = |host: &str, port, tls: Option<&str>| {
            Ok(UpstreamServer { host: host.to_owned(), port, tls_name: tls.map(str::to_owned), weight: 1 })
        };
        assert_eq!(parse("http://10.0.0.5:3000", None), server("10.0.0.5", 3000, None));
        assert_eq!(parse("http://my_service/", None), server("my_service", 80, None));
        assert_eq!(parse("http://[::1]:3000", None), server("::1", 3000, None));
        assert_eq!(parse("https://App.example.com", None), server("app.example.com", 443, Some("app.example.com")));
        assert_eq!(parse("https://10.0.0.5", Some("app")), server("10.0.0.5", 443, Some("app")));
        for text in [
            "10.0.0.5:3000",
            "http://",
            "ftp://a",
            "http://a/b",
            "http://a?b",
            "http://a:0",
            "http://a:99999",
            "http://u:p@a",
            "http://a..b",
            "http:///x",
        ] {
            assert!(parse(text, None).is_err(), "{text}");
        }
    }
}
