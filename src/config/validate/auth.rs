//! `[auth]`: lives that nest, roles that are roles, hashing that is worth the name.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Check, DAY, HOUR, SECOND, mail};
use crate::config::file::{self, PasswordAlgorithm, SigningAlgorithm};
use crate::config::place::Path;
use crate::config::units::RateText;
use crate::config::{ApiKeys, Auth, Registration, Throttle, cores};
use crate::identity::block_list::BlockList;
use crate::identity::password::{Hashing, PasswordPolicy};
use crate::identity::scope::Scope;
use crate::identity::signing_keys::Algorithm;
use crate::identity::user::Role;
use crate::limit::attempts::Budget;
use crate::policy::path::PathPrefix;

/// Revoked tokens are remembered for as long as tokens live, and every check of a token elsewhere (a service that
/// verifies it with the JWKS alone) trusts it for that long.
const ACCESS_TOKEN_MAX: Duration = DAY;
/// RFC 9700 and every deployment guide say minutes; beyond an hour somebody should have thought about it.
const ACCESS_TOKEN_USUAL: Duration = HOUR;
const YEAR: Duration = Duration::from_hours(24 * 366);
const FIVE_MINUTES: Duration = Duration::from_mins(5);

pub(super) fn auth(check: &mut Check<'_>, path: &Path, file: &file::Auth) -> Auth {
    let access_token = access_token(check, &path.key("access_token"), file);
    let mut duration = |key: &str, text, bounds| check.duration(&path.key(key), text, bounds);
    let refresh_token = duration("refresh_token", &file.refresh_token, SECOND..=YEAR);
    let session_max = duration("session_max", &file.session_max, SECOND..=10 * YEAR);
    let rotation_grace = duration("rotation_grace", &file.rotation_grace, Duration::ZERO..=FIVE_MINUTES);
    let clock_skew = duration("clock_skew", &file.clock_skew, Duration::ZERO..=FIVE_MINUTES);
    let key_activation =
        check.duration(&path.key("signing").key("activation"), &file.signing.activation, Duration::ZERO..=7 * DAY);
    nesting(check, path, [access_token, refresh_token, session_max]);
    let password = &file.password;
    let public_url = mail::public_url(check, &path.key("public_url"), file.public_url.as_deref());
    let links = mail::links(check, &path.key("links"), &file.links, public_url.as_deref());
    Auth {
        prefix: prefix(check, &path.key("prefix"), &file.prefix),
        issuer: claim(check, &path.key("issuer"), &file.issuer),
        audience: claim(check, &path.key("audience"), &file.audience),
        issuer_origin: origin(&file.issuer),
        api_keys: api_keys(check, &path.key("api_keys"), &file.api_keys),
        access_token,
        refresh_token,
        session_max,
        rotation_grace,
        clock_skew,
        registration: match file.registration {
            file::Registration::Open => Registration::Open,
            file::Registration::Invitation => Registration::Invitation,
            file::Registration::Closed => Registration::Closed,
        },
        default_roles: roles(check, &path.key("default_roles"), &file.default_roles),
        self_assigned_roles: roles(check, &path.key("self_assigned_roles"), &file.self_assigned_roles),
        admin_role: admin_role(check, path, file),
        session_scopes: scopes(check, &path.key("session_scopes"), &file.session_scopes),
        password: password_policy(check, &path.key("password"), password),
        // Half the cores, so that a storm of logins leaves the other half to proxying.
        hash_workers: password.workers.map_or_else(|| (cores() / 2).max(1), usize::from),
        hash_queue: usize::try_from(password.queue).unwrap_or(usize::MAX),
        algorithm: match file.signing.algorithm {
            SigningAlgorithm::EdDsa => Algorithm::EdDsa,
            SigningAlgorithm::Es256 => Algorithm::Es256,
            SigningAlgorithm::Rs256 => Algorithm::Rs256,
            SigningAlgorithm::Hs256 => Algorithm::Hs256,
        },
        keys: check.data_dir.join(&file.signing.keys),
        key_activation,
        throttle: throttle(check, &path.key("throttle"), &file.throttle),
        one_time: mail::one_time(check, &path.key("one_time"), &file.one_time),
        links,
        mail: mail::mail(check, path, &file.mail, public_url.as_deref()),
        audit_keep: check.duration(&path.key("audit").key("keep"), &file.audit.keep, DAY..=10 * YEAR),
    }
}

/// NIST SP 800-63B-4 §3.2.2: no more than 100 consecutive failures on one account.
const ACCOUNT_FAILURES_PER_HOUR_MAX: u128 = 100;
const RATE_MAX: u32 = 1_000_000;

fn throttle(check: &mut Check<'_>, path: &Path, file: &file::Throttle) -> Throttle {
    let account = rate(check, &path.key("account"), &file.account, 2);
    if u128::from(account.limit) * HOUR.as_millis() > ACCOUNT_FAILURES_PER_HOUR_MAX * account.period.as_millis() {
        let message = format!("{:?} is more than {ACCOUNT_FAILURES_PER_HOUR_MAX} failures per hour", file.account.0);
        check.refuse(&path.key("account"), message, "write \"100/1h\" or less (NIST SP 800-63B-4 §3.2.2)");
    }
    if file.insecure_off {
        let help = "for tests only: remove it before anybody can reach the gateway";
        check.warn(&path.key("insecure_off"), "passwords may be guessed as fast as they are hashed", help);
    }
    Throttle {
        enabled: !file.insecure_off,
        account,
        account_network: rate(check, &path.key("account_network"), &file.account_network, 1),
        network: rate(check, &path.key("network"), &file.network, 1),
        register: rate(check, &path.key("register"), &file.register, 1),
        known_for: check.duration(&path.key("known_for"), &file.known_for, SECOND..=YEAR),
    }
}

fn rate(check: &mut Check<'_>, path: &Path, text: &RateText, least: u32) -> Budget {
    match text.value() {
        Some((limit, period)) if (least..=RATE_MAX).contains(&limit) && (SECOND..=DAY).contains(&period) => {
            return Budget { limit, period };
        }
        Some(_) => {
            let help = format!("write {least} to {RATE_MAX} times per 1s to 1day, like \"100/1h\"");
            check.refuse(path, format!("{:?} is out of bounds", text.0), help);
        }
        None => check.refuse(path, format!("{:?} is not a rate", text.0), "write how many within how long, like \"100/1h\""),
    }
    Budget { limit: least, period: DAY }
}

fn access_token(check: &mut Check<'_>, path: &Path, file: &file::Auth) -> Duration {
    let life = check.duration(path, &file.access_token, SECOND..=ACCESS_TOKEN_MAX);
    if life.subsec_nanos() != 0 {
        check.refuse(
            path,
            "a token's life is whole seconds",
            "`exp` and `iat` are compared as whole seconds: write \"1s\" or more",
        );
    }
    if life > ACCESS_TOKEN_USUAL {
        let message = format!("an access token that lives {}", humantime::format_duration(life));
        check.warn(path, message, "services that verify tokens by themselves never see a revocation: minutes are usual");
    }
    life
}

/// A refresh token must outlive the access token that it renews, and no token may outlive its session.
fn nesting(check: &mut Check<'_>, path: &Path, [access, refresh, session]: [Duration; 3]) {
    if [access, refresh, session].contains(&Duration::ZERO) {
        return; // Reported already; comparing with it would only confuse.
    }
    let shown = |duration: Duration| humantime::format_duration(duration).to_string();
    let (access_path, refresh_path, session_path) =
        (path.key("access_token"), path.key("refresh_token"), path.key("session_max"));
    if refresh > session {
        let message = format!("a refresh token of {} outlives its session of {}", shown(refresh), shown(session));
        check.clash(
            &refresh_path,
            message,
            &session_path,
            "the session ends here",
            "shorten refresh_token or lengthen session_max",
        );
    }
    if access > refresh {
        let message = format!("a refresh token of {} expires before the access token of {}", shown(refresh), shown(access));
        check.clash(
            &refresh_path,
            message,
            &access_path,
            "what it should renew",
            "lengthen refresh_token or shorten access_token",
        );
    }
}

fn prefix(check: &mut Check<'_>, path: &Path, text: &str) -> String {
    let help = "write a path like \"/auth\"";
    let Some(prefix) = check.parsed(path, PathPrefix::parse(text), help) else { return "/auth".to_owned() };
    if prefix.as_str() == "/" {
        check.refuse(path, "the gateway's own API would cover every route", help);
        return "/auth".to_owned();
    }
    prefix.as_str().to_owned()
}

/// `iss` and `aud` are compared byte by byte and travel in a header: visible ASCII.
fn claim(check: &mut Check<'_>, path: &Path, text: &str) -> String {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        check.refuse(
            path,
            "must be 1 to 256 visible ASCII characters",
            "write the gateway's public URL, like \"https://api.example.com\"",
        );
    }
    text.to_owned()
}

/// Scheme and authority, if that is all that there is to an http(s) URL.
fn origin(url: &str) -> Option<String> {
    let parsed: http::Uri = url.parse().ok()?;
    let (scheme, authority) = (parsed.scheme_str()?, parsed.authority()?);
    let usual = matches!(scheme, "http" | "https") && !authority.as_str().contains('@') && !url.contains(['?', '#']);
    (usual && parsed.path() == "/").then(|| format!("{scheme}://{authority}"))
}

fn api_keys(check: &mut Check<'_>, path: &Path, file: &file::ApiKeys) -> Option<ApiKeys> {
    let scopes = scopes(check, &path.key("scopes"), &file.scopes);
    let life_max = check.duration(&path.key("life_max"), &file.life_max, SECOND..=10 * YEAR);
    file.enabled.then_some(ApiKeys { scopes, life_max })
}

/// Roles, each of which can stand in a header's list.
pub(super) fn roles(check: &mut Check<'_>, path: &Path, file: &[String]) -> BTreeSet<Role> {
    let mut roles = BTreeSet::new();
    for (index, text) in file.iter().enumerate() {
        let result = Role::parse(text).map_err(|error| format!("the role {text:?} {error}"));
        roles.extend(check.parsed(&path.index(index), result, "write it like \"billing:read\", at most 64 characters"));
    }
    roles
}

fn admin_role(check: &mut Check<'_>, path: &Path, file: &file::Auth) -> Role {
    let key = path.key("admin_role");
    for list in ["default_roles", "self_assigned_roles"] {
        let roles = if list == "default_roles" { &file.default_roles } else { &file.self_assigned_roles };
        if roles.contains(&file.admin_role) {
            let message = format!("whoever registers may be an administrator: `{}` is in auth.{list}", file.admin_role);
            check.warn(&path.key(list), message, "take it out, or name another admin_role, unless this is a test");
        }
    }
    let role = check.parsed(&key, Role::parse(&file.admin_role), "write a role like \"admin\"");
    role.unwrap_or_else(|| Role::parse("admin").expect("`admin` is a role"))
}

/// Scopes, each of which can stand in a token's list.
pub(super) fn scopes(check: &mut Check<'_>, path: &Path, file: &[String]) -> BTreeSet<Scope> {
    let mut scopes = BTreeSet::new();
    for (index, text) in file.iter().enumerate() {
        let result = Scope::parse(text).map_err(|error| format!("the scope {text:?} {error}"));
        scopes.extend(check.parsed(&path.index(index), result, "write it like \"reports:read\", at most 128 characters"));
    }
    scopes
}

/// Which of argon2id's parameters to point at, if one is refused.
fn weakest(memory_kib: u32, file: &file::Password) -> &'static str {
    match PasswordPolicy::default().hashing {
        Hashing::Argon2id { memory_kib: floor, .. } if memory_kib < floor => "argon2_memory",
        Hashing::Argon2id { passes: floor, .. } if file.argon2_passes < floor => "argon2_passes",
        _ if file.argon2_lanes < 1 => "argon2_lanes",
        _ => "argon2_memory",
    }
}

/// Beyond it, it is not a list of common passwords, and looking at it would delay every start.
const BLOCK_LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;

fn block_list(check: &mut Check<'_>, path: &Path, file: &file::Password) -> BlockList {
    let common = file.refuse_common;
    let Some(name) = &file.block_list else { return BlockList::with(common, "") };
    let name = check.data_dir.join(name);
    let help = "name a text file with one password per line, or leave it out: `refuse_common` needs none";
    let read = match std::fs::metadata(&name) {
        Ok(metadata) if metadata.len() > BLOCK_LIST_BYTES_MAX => Err(format!("{} is larger than 64 MiB", name.display())),
        _ => std::fs::read_to_string(&name).map_err(|error| format!("cannot read {}: {error}", name.display())),
    };
    check.parsed(path, read, help).map(|lines| BlockList::with(common, &lines)).unwrap_or_default()
}

fn password_policy(check: &mut Check<'_>, path: &Path, file: &file::Password) -> PasswordPolicy {
    let memory = check.size(&path.key("argon2_memory"), &file.argon2_memory, 1024..=u64::from(u32::MAX) * 1024);
    let (hashing, key) = match file.algorithm {
        PasswordAlgorithm::Argon2id => {
            let memory_kib = u32::try_from(memory / 1024).unwrap_or(u32::MAX);
            (Hashing::Argon2id { memory_kib, passes: file.argon2_passes, lanes: file.argon2_lanes }, weakest(memory_kib, file))
        }
        PasswordAlgorithm::Bcrypt => (Hashing::Bcrypt { cost: file.bcrypt_cost }, "bcrypt_cost"),
    };
    let block_list = block_list(check, &path.key("block_list"), file);
    let policy = PasswordPolicy { min_chars: usize::try_from(file.min_length).unwrap_or(usize::MAX), hashing, block_list };
    // A memory of zero was reported above.
    if memory != 0 {
        let help = "weaker hashes fall to guessing when a database is stolen; lower `workers` if memory is short";
        check.parsed(&path.key(key), policy.check_parameters(), help);
    }
    // ASVS 6.2.1; the upper bound because NIST SP 800-63B wants passwords of 64 characters to be accepted, not demanded.
    if !(8..=64).contains(&policy.min_chars) {
        check.refuse(
            &path.key("min_length"),
            format!("{} is out of bounds", file.min_length),
            "write 8 to 64; 15 is recommended",
        );
    }
    policy
}
