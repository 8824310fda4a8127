//! `[identity_headers]`: names that mean nothing else, on any server that may read them.

use http::HeaderName;

use super::Check;
use crate::config::IdentityHeaders;
use crate::config::file;
use crate::config::place::Path;

/// Names with a meaning of their own. The gateway removes what clients send under an identity header's name, and
/// writes its own value there: either would break the request or the connection.
const MEANINGFUL: &[&str] = &[
    "accept",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "early-data",
    "expect",
    "forwarded",
    "from",
    "host",
    "idempotency-key",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "traceparent",
    "tracestate",
    "baggage",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-real-ip",
    "x-request-id",
];

/// Families with a meaning of their own.
const MEANINGFUL_PREFIXES: &[&str] = &[
    "accept-",
    "access-control-",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-original-",
    "x-rewrite-",
    "x-http-method",
];

pub(super) fn identity_headers(check: &mut Check<'_>, path: &Path, file: &file::IdentityHeaders) -> IdentityHeaders {
    let written = [
        ("subject", &file.subject),
        ("username", &file.username),
        ("email", &file.email),
        ("roles", &file.roles),
        ("scopes", &file.scopes),
        ("session", &file.session),
        ("issuer", &file.issuer),
        ("client_certificate", &file.client_certificate),
    ];
    for (index, (key, name)) in written.iter().enumerate() {
        let at = path.key(key);
        check.parsed(&at, usable(name), "write a name of your own, like \"X-Auth-Subject\"");
        if let Some((other, _)) = written[..index].iter().find(|(_, other)| other.eq_ignore_ascii_case(name)) {
            let message = format!("{name} is taken");
            check.clash(&at, message, &path.key(other), "by this key", "give each its own name");
        }
    }
    let lower = |name: &String| name.to_ascii_lowercase();
    IdentityHeaders {
        subject: lower(&file.subject),
        username: lower(&file.username),
        email: lower(&file.email),
        roles: lower(&file.roles),
        scopes: lower(&file.scopes),
        session: lower(&file.session),
        issuer: lower(&file.issuer),
        client_certificate: lower(&file.client_certificate),
    }
}

fn usable(name: &str) -> Result<(), String> {
    // Servers fold `_`, `.` and other token characters onto `-`, or drop such headers: only what all of them read alike.
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || name.len() > 64 || HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("{name:?} is not a header name of letters, digits and `-`"));
    }
    let lower = name.to_ascii_lowercase();
    if MEANINGFUL.contains(&lower.as_str()) || MEANINGFUL_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(format!("{name} has a meaning of its own in HTTP"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_something_else_is_refused() {
        for name in ["X-Auth-Subject", "Remote-User", "gateway-user"] {
            assert_eq!(usable(name), Ok(()), "{name}");
        }
        for name in [
            "Host",
            "content-length",
            "Connection",
            "AUTHORIZATION",
            "Cookie",
            "X-Forwarded-For",
            "Proxy-User",
            "",
            "a b",
            "X_User",
            "X.User",
        ] {
            assert!(usable(name).is_err(), "{name}");
        }
    }
}
