//! Which server gets a request, when it is done without, and how much may be asked at once.

use http::HeaderName;

use crate::config::file;
use crate::config::place::Path;
use crate::config::validate::{Check, HOUR, MILLISECOND};
use crate::config::{Balance, Ejection, HashBy, Health, UpstreamHttp, UpstreamHttp2};

pub(super) fn balance(check: &mut Check<'_>, path: &Path, file: &file::Upstream) -> Balance {
    let by = hash_by(&file.hash_by);
    let help = "write \"client\", \"subject\" or \"header:NAME\", like \"header:x-tenant\"";
    let by = check.parsed(&path.key("hash_by"), by, help).unwrap_or(HashBy::Client);
    match file.balance {
        file::Balance::Hash => return Balance::Hash(by),
        _ if by != HashBy::Client => {
            let help = "write `balance = \"hash\"`, or remove `hash_by`";
            check.refuse(&path.key("hash_by"), "nothing is chosen by it", help);
        }
        file::Balance::LeastConnections => return Balance::LeastConnections,
        file::Balance::RoundRobin => {}
    }
    Balance::RoundRobin
}

fn hash_by(text: &str) -> Result<HashBy, String> {
    match (text, text.strip_prefix("header:")) {
        ("client", _) => Ok(HashBy::Client),
        ("subject", _) => Ok(HashBy::Subject),
        (_, Some(name)) => HeaderName::try_from(name).map(HashBy::Header).map_err(|_| format!("{name:?} is not a header name")),
        _ => Err(format!("{text:?} is nothing to choose a server by")),
    }
}

/// `https` says whether any of the servers is.
pub(super) fn http2(check: &mut Check<'_>, path: &Path, file: &file::Upstream, https: bool) -> UpstreamHttp2 {
    let spoken = file.http == UpstreamHttp::Two || (file.http == UpstreamHttp::Auto && https);
    if file.http2.is_some() && !spoken {
        let help = "write `http = \"2\"` if its servers speak HTTP/2 without TLS, too; or remove `http2`";
        check.refuse(&path.key("http2"), "HTTP/2 is not spoken to any server of this upstream", help);
    }
    let default = file::UpstreamHttp2::default();
    let written = file.http2.as_ref().unwrap_or(&default);
    let at = path.key("http2").key("ping_interval");
    let ping_interval = written.ping_interval.as_ref().map(|text| check.duration(&at, text, 1000 * MILLISECOND..=HOUR));
    UpstreamHttp2 { streams: written.streams, ping_interval }
}

pub(super) fn health(check: &mut Check<'_>, path: &Path, file: &file::Health) -> Health {
    let interval = check.duration(&path.key("interval"), &file.interval, 100 * MILLISECOND..=HOUR);
    let timeout = check.duration(&path.key("timeout"), &file.timeout, 10 * MILLISECOND..=HOUR);
    // The checks of one server do not overlap: a longer one would only make the interval longer than it says.
    if timeout > interval {
        check.refuse(&path.key("timeout"), "is longer than `interval`", "write a shorter one: checks do not overlap");
    }
    let wrong = |text: &String| !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic());
    if file.path.as_ref().is_some_and(wrong) {
        check.refuse(&path.key("path"), "is not a path", "write one like \"/healthz\", encoded where it has to be");
    }
    let (unhealthy_after, healthy_after) = (file.unhealthy_after, file.healthy_after);
    Health { path: file.path.clone(), interval, timeout, unhealthy_after, healthy_after }
}

pub(super) fn ejection(check: &mut Check<'_>, path: &Path, file: &file::Ejection) -> Option<Ejection> {
    let time = check.duration(&path.key("time"), &file.time, MILLISECOND..=24 * HOUR);
    let time_max = check.duration(&path.key("time_max"), &file.time_max, MILLISECOND..=24 * HOUR);
    if time_max < time && !check.has_problem(&path.key("time_max")) {
        check.refuse(&path.key("time_max"), "is shorter than `time`", "write at least as much as `time`");
    }
    (file.failures > 0).then_some(Ejection { failures: file.failures, time, time_max, share: file.share })
}
