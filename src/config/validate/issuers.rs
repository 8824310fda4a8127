//! `[[issuers]]`: issuers that are not ours, keys that are worth the name, and roles that nobody abroad can give.

mod logout;

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::{Check, DAY, HOUR, MILLISECOND, SECOND, store};
use crate::config::Auth;
use crate::config::file::issuers as file;
use crate::config::issuers::{Introspection, Issuer, IssuerKeySource};
use crate::config::place::Path;
use crate::identity::foreign_token::{ClaimPath, ForeignPolicy, Mapping, Taken};
use crate::identity::public_keys::{PublicKeys, VerificationAlgorithm};
use crate::identity::scope::Scope;
use crate::identity::user::Role;

/// RFC 7518 §3.2: as long as the hash.
const SECRET_BYTES_MIN: usize = 32;
/// An answer that is believed for longer is a revocation that is not seen.
const CACHE_MAX: Duration = Duration::from_mins(1);

pub(super) fn issuers(check: &mut Check<'_>, path: &Path, file: &[file::Issuer], auth: &Auth) -> Vec<Issuer> {
    for (index, written) in file.iter().enumerate() {
        let at = path.index(index);
        for (other, earlier) in file[..index].iter().enumerate() {
            let other = path.index(other);
            if earlier.issuer == written.issuer {
                let help = "one issuer has one entry; give it all its audiences";
                check.clash(&at.key("issuer"), "the issuer is there already", &other.key("issuer"), "here", help);
            }
            if earlier.name == written.name {
                let help = "metrics and logs could not tell them apart: give each a name of its own";
                check.clash(&at.key("name"), "the name is taken", &other.key("name"), "by this one", help);
            }
            let (Some(first), Some(second)) = (&earlier.introspection, &written.introspection) else { continue };
            let (first, second) = (&first.token_prefix, &second.token_prefix);
            if first.starts_with(second.as_str()) || second.starts_with(first.as_str()) {
                let key = |at: &Path| at.key("introspection").key("token_prefix");
                let help = "a token must be shown to its own issuer only: say what each issuer's tokens begin with";
                check.clash(&key(&at), "a token could be of either issuer", &key(&other), "the other", help);
            }
        }
    }
    file.iter().enumerate().map(|(index, written)| issuer(check, &path.index(index), written, auth)).collect()
}

fn issuer(check: &mut Check<'_>, path: &Path, file: &file::Issuer, auth: &Auth) -> Issuer {
    name(check, &path.key("name"), &file.name);
    word(check, &path.key("issuer"), &file.issuer);
    if file.issuer == auth.issuer {
        let help = "tokens of our own are verified with our own keys: remove the entry, or correct auth.issuer";
        check.clash(&path.key("issuer"), "this is our own issuer", &Path::root().key("auth").key("issuer"), "ours", help);
    }
    if file.audiences.is_empty() {
        check.refuse(
            &path.key("audiences"),
            "tokens for anybody else would be accepted",
            "write what its tokens for this gateway have as `aud`",
        );
    }
    for (index, audience) in file.audiences.iter().enumerate() {
        word(check, &path.key("audiences").index(index), audience);
    }
    let keys = keys(check, path, file);
    let policy = ForeignPolicy {
        issuer: file.issuer.as_str().into(),
        audiences: file.audiences.iter().map(|audience| audience.as_str().into()).collect(),
        algorithms: algorithms(check, &path.key("algorithms"), file),
        types: types(check, &path.key("token_types"), &file.token_types),
        skew: check.duration(&path.key("clock_skew"), &file.clock_skew, Duration::ZERO..=Duration::from_mins(5)),
        life_max: check.duration(&path.key("life_max"), &file.life_max, SECOND..=DAY),
        mapping: mapping(check, path, file, auth),
    };
    let introspection = file.introspection.as_ref().map(|file| introspection(check, &path.key("introspection"), file));
    let logout = logout::logout(check, path, file);
    let authorities = authorities(check, &path.key("ca"), file);
    Issuer { name: file.name.clone(), policy, keys, introspection, logout, authorities }
}

fn name(check: &mut Check<'_>, path: &Path, text: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=64).contains(&text.len()) || !text.bytes().all(plain) {
        check.refuse(path, "must be 1 to 64 letters, digits, `-`, `_` or `.`", "write a short name, like \"corp\"");
    }
}

fn word(check: &mut Check<'_>, path: &Path, text: &str) {
    if !(1..=256).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        check.refuse(path, "must be 1 to 256 visible ASCII characters", "copy it from a token of the issuer, byte by byte");
    }
}

fn keys(check: &mut Check<'_>, path: &Path, file: &file::Issuer) -> Option<IssuerKeySource> {
    let sources = [file.jwks_url.is_some(), file.jwks.is_some(), file.secret.is_some()];
    match sources.into_iter().filter(|there| *there).count() {
        0 if file.introspection.is_some() => return None,
        0 => {
            let help = "set `jwks_url`, `jwks` or `secret`, or [issuers.introspection]";
            check.refuse(path, "nothing verifies the issuer's tokens", help);
            return None;
        }
        1 => {}
        _ => check.refuse(path, "there are several sources of keys", "keep one of `jwks_url`, `jwks` and `secret`"),
    }
    if let Some(url) = &file.jwks_url {
        return Some(fetched(check, path, file, url));
    }
    if let Some(jwks) = &file.jwks {
        let at = path.key("jwks");
        let jwks = store::secret(check, &at, jwks).expose_secret().to_owned();
        // An empty one was reported: it could not be read.
        if !jwks.is_empty() {
            let help = "register public keys for signatures: Ed25519, P-256, P-384, or RSA of 2048 bits or more";
            if let Some((_, left_out @ 1..)) = check.parsed(&at, PublicKeys::parse_usable(&jwks), help) {
                check.warn(&at, format!("{left_out} of the keys are not used"), help);
            }
        }
        return Some(IssuerKeySource::Set(jwks));
    }
    let at = path.key("secret");
    let secret = store::secret(check, &at, file.secret.as_ref()?);
    let bytes = secret.expose_secret().len();
    if (1..SECRET_BYTES_MIN).contains(&bytes) {
        check.refuse(&at, format!("a secret of {bytes} bytes can be guessed"), "HS256 needs at least 32 (RFC 7518 §3.2)");
    }
    Some(IssuerKeySource::Secret(secret))
}

fn fetched(check: &mut Check<'_>, path: &Path, file: &file::Issuer, address: &str) -> IssuerKeySource {
    url(check, &path.key("jwks_url"), address);
    let every_min = check.duration(&path.key("refresh_min"), &file.refresh_min, SECOND..=HOUR);
    let every_max = check.duration(&path.key("refresh_max"), &file.refresh_max, SECOND..=DAY);
    let keep_for = check.duration(&path.key("keep_keys_for"), &file.keep_keys_for, SECOND..=30 * DAY);
    if every_min > every_max && !every_max.is_zero() {
        let help = "shorten refresh_min or lengthen refresh_max";
        let message = "the shortest pause is longer than the longest";
        check.clash(&path.key("refresh_min"), message, &path.key("refresh_max"), "the longest", help);
    }
    if keep_for < every_max && !keep_for.is_zero() {
        let help = "lengthen keep_keys_for or shorten refresh_max";
        let message = "keys would be thrown away before they are fetched again";
        check.clash(&path.key("keep_keys_for"), message, &path.key("refresh_max"), "the next fetch", help);
    }
    let timeout = check.duration(&path.key("fetch_timeout"), &file.fetch_timeout, MILLISECOND..=Duration::from_secs(30));
    IssuerKeySource::Url { url: address.to_owned(), every_min, every_max, keep_for, timeout }
}

/// Keys that come in clear are anybody's.
fn url(check: &mut Check<'_>, path: &Path, text: &str) {
    let help = "write it like \"https://id.example.com/keys\"; http:// only for this very machine";
    let parsed: Option<http::Uri> = text.parse().ok();
    let usable = parsed.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    let Some((scheme, authority)) = usable.filter(|(_, authority)| !authority.as_str().contains('@')) else {
        return check.refuse(path, "this is not the URL of a server", help);
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if scheme != "https" && !(scheme == "http" && here) {
        check.refuse(path, "whoever is on the way could send keys of their own", help);
    }
}

fn algorithms(check: &mut Check<'_>, path: &Path, file: &file::Issuer) -> Vec<VerificationAlgorithm> {
    let secret = file.secret.is_some();
    let Some(written) = &file.algorithms else {
        return if secret { vec![VerificationAlgorithm::Hs256] } else { VerificationAlgorithm::PUBLIC.to_vec() };
    };
    let algorithms: Vec<_> = written.iter().map(|algorithm| algorithm.meant()).collect();
    if algorithms.is_empty() || algorithms.iter().any(|algorithm| (*algorithm == VerificationAlgorithm::Hs256) != secret) {
        let help = "public keys go with all but \"HS256\", and a `secret` with \"HS256\" alone";
        check.refuse(path, "the algorithms are not those of the keys", help);
    }
    algorithms
}

fn types(check: &mut Check<'_>, path: &Path, file: &[String]) -> Vec<Box<str>> {
    if file.is_empty() {
        check.refuse(path, "no token would be accepted", "write [\"at+jwt\"], or [\"JWT\"] for issuers that know no other");
    }
    for (index, text) in file.iter().enumerate() {
        if text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            check.refuse(&path.index(index), "is no `typ`", "write it without \"application/\", like \"at+jwt\"");
        }
    }
    file.iter().map(|text| text.as_str().into()).collect()
}

fn mapping(check: &mut Check<'_>, path: &Path, file: &file::Issuer, auth: &Auth) -> Mapping {
    let claims = path.key("claims");
    let mut claim = |key: &str, text: &str| {
        let read = ClaimPath::parse(text).ok_or("is no path of claims");
        let read = check.parsed(&claims.key(key), read, "write names with dots between them, like \"realm_access.roles\"");
        read.unwrap_or_else(|| ClaimPath::parse("sub").expect("`sub` is a path"))
    };
    let [subject, username, email, roles, scopes] = [
        claim("subject", &file.claims.subject),
        claim("username", &file.claims.username),
        claim("email", &file.claims.email),
        claim("roles", &file.claims.roles),
        claim("scopes", &file.claims.scopes),
    ];
    Mapping {
        subject,
        username,
        email,
        roles,
        scopes,
        taken_roles: taken_roles(check, path, file, auth),
        role_prefix: file.role_prefix.as_str().into(),
        taken_scopes: taken_scopes(check, &path.key("accept_scopes"), &file.accept_scopes),
    }
}

/// Never the role of our administrators, whatever stands before it.
fn taken_roles(check: &mut Check<'_>, path: &Path, file: &file::Issuer, auth: &Auth) -> Taken {
    let (at, prefix) = (path.key("accept_roles"), &file.role_prefix);
    if !prefix.is_empty() && Role::parse(prefix).is_err() {
        check.refuse(&path.key("role_prefix"), "cannot begin a role", "write it like \"corp:\"");
    }
    let admin = auth.admin_role.as_str();
    if file.accept_roles == ["*"] {
        if prefix.is_empty() || admin.starts_with(prefix.as_str()) {
            let help = "name the roles that count, or set a role_prefix that auth.admin_role does not begin with";
            check.refuse(&at, "the issuer could give any role of this gateway", help);
        }
        return Taken::All;
    }
    let mut words = BTreeSet::new();
    for (index, role) in file.accept_roles.iter().enumerate() {
        let whole = format!("{prefix}{role}");
        if let Err(error) = Role::parse(&whole) {
            check.refuse(&at.index(index), format!("the role {whole:?} {error}"), "write it like \"billing:read\"");
        } else if whole == admin {
            let help = "only this gateway makes its administrators: set a role_prefix, or take the role out";
            check.refuse(&at.index(index), format!("the issuer could make administrators: {whole:?} is auth.admin_role"), help);
        }
        words.insert(role.as_str().into());
    }
    Taken::Only(words)
}

fn taken_scopes(check: &mut Check<'_>, path: &Path, file: &[String]) -> Taken {
    if *file == ["*"] {
        return Taken::All;
    }
    for (index, text) in file.iter().enumerate() {
        let result = Scope::parse(text).map_err(|error| format!("the scope {text:?} {error}"));
        check.parsed(&path.index(index), result, "write it like \"reports:read\", at most 128 characters");
    }
    Taken::Only(file.iter().map(|scope| scope.as_str().into()).collect())
}

fn introspection(check: &mut Check<'_>, path: &Path, file: &file::Introspection) -> Introspection {
    url(check, &path.key("url"), &file.url);
    if file.client_id.is_empty() {
        check.refuse(&path.key("client_id"), "who asks must be known", "register a client for this gateway at the issuer");
    }
    let prefix = &file.token_prefix;
    if prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        check.refuse(&path.key("token_prefix"), "no token begins like this", "write it like \"corp_\"");
    }
    Introspection {
        url: file.url.clone(),
        client_id: file.client_id.clone(),
        // A missing one was reported with the structure.
        client_secret: file
            .client_secret
            .as_ref()
            .map(|secret| store::secret(check, &path.key("client_secret"), secret))
            .unwrap_or_default(),
        token_prefix: prefix.clone(),
        timeout: check.duration(&path.key("timeout"), &file.timeout, MILLISECOND..=Duration::from_secs(10)),
        cache_for: check.duration(&path.key("cache_for"), &file.cache_for, Duration::ZERO..=CACHE_MAX),
    }
}

/// A file that cannot be read makes this issuer one whose servers nobody vouches for, and keeps no other from being heard.
fn authorities(check: &mut Check<'_>, path: &Path, file: &file::Issuer) -> Option<Vec<u8>> {
    let name = check.data_dir.join(file.ca.as_ref()?);
    Some(std::fs::read(&name).unwrap_or_else(|error| {
        let help = "its tokens are refused (503) until the file is there and the configuration is read again";
        check.warn(path, format!("cannot read {}: {error}", name.display()), help);
        Vec::new()
    }))
}

#[cfg(test)]
mod tests;
