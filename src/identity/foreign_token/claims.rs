//! From what a foreign issuer claims to a caller here.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Claimed, ForeignPolicy, TokenError, digest};
use crate::identity::access_token::{JTI_BYTES_MAX, SUBJECT_BYTES_MAX, TOKEN_BYTES_MAX, instant, later, printable};
use crate::identity::one_time_token::TokenHash;
use crate::identity::scope::Scope;
use crate::identity::session::SessionId;
use crate::identity::user::Role;
use crate::identity::{Caller, Credential, Kept, Principal, TokenFacts};

/// A claim, by the names that lead to it: `realm_access.roles`. A name that has dots itself is found, too, if the whole
/// path is the name of one claim: `https://example.com/roles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath {
    whole: Box<str>,
    steps: Box<[Box<str>]>,
}

/// Which claims mean what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Who it is, unique at the issuer.
    pub subject: ClaimPath,
    /// The name for people.
    pub username: ClaimPath,
    /// The e-mail address; passed over where `email_verified` says otherwise than `true`.
    pub email: ClaimPath,
    /// A list of texts, or one text of words.
    pub roles: ClaimPath,
    /// The same.
    pub scopes: ClaimPath,
    /// Which roles count, by their names there.
    pub taken_roles: Taken,
    /// Put before every role that counts.
    pub role_prefix: Box<str>,
    /// Which scopes count.
    pub taken_scopes: Taken,
}

/// Which words of an issuer count here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// All of them.
    All,
    /// These.
    Only(BTreeSet<Box<str>>),
}

/// Where claims come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// A JWT: its bytes under the signature.
    Signed(&'a str),
    /// An introspection endpoint: the token.
    Introspected(&'a str),
}

impl ClaimPath {
    /// Reads names with dots between them; none if one of them is empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let steps: Box<[Box<str>]> = text.split('.').map(Into::into).collect();
        (!steps.iter().any(|step| step.is_empty())).then(|| Self { whole: text.into(), steps })
    }

    fn of<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let nested = || {
            let (first, rest) = self.steps.split_first()?;
            rest.iter().try_fold(claims.get(&**first)?, |value, step| value.get(&**step))
        };
        // `null` says nothing (RFC 8259 has no other word for it), as issuers that fill in a form for every token do.
        claims.get(&*self.whole).or_else(nested).filter(|value| !value.is_null())
    }

    /// The text there; an error for anything but a text that headers and log lines can carry.
    pub(super) fn text(&self, claims: &Map<String, Value>, bytes_max: usize) -> Result<Option<Box<str>>, TokenError> {
        text(self.of(claims), bytes_max).map(|text| text.map(Into::into))
    }

    /// The words there that count.
    fn words<'a>(&self, claims: &'a Map<String, Value>, taken: &Taken) -> Result<Vec<&'a str>, TokenError> {
        let words: Vec<&str> = match self.of(claims) {
            None => Vec::new(),
            Some(Value::String(text)) => text.split(' ').filter(|word| !word.is_empty()).collect(),
            Some(Value::Array(list)) => list.iter().map(Value::as_str).collect::<Option<_>>().ok_or(TokenError::Claims)?,
            Some(_) => return Err(TokenError::Claims),
        };
        Ok(words.into_iter().filter(|word| taken.counts(word)).collect())
    }
}

impl Taken {
    fn counts(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(words) => words.contains(word),
        }
    }
}

/// The caller whom claims speak for: of the right issuer, for us, in their time.
pub(super) fn caller(
    claims: &Map<String, Value>,
    source: Source<'_>,
    policy: &ForeignPolicy,
    now: Timestamp,
) -> Result<Caller, TokenError> {
    check_issuer_and_audience(claims, source, policy, &policy.audiences)?;
    // A security event token (RFC 8417 §2), such as a logout token, tells of its subject and speaks for nobody: an issuer that
    // writes `typ` "JWT" for everything writes it there, too.
    if claims.get("events").is_some_and(Value::is_object) {
        return Err(TokenError::Type);
    }
    let times = Times::read(claims, source, policy, now)?;
    let mapping = &policy.mapping;
    let subject = mapping.subject.text(claims, SUBJECT_BYTES_MAX)?.ok_or(TokenError::Claims)?;
    let email = match claims.get("email_verified") {
        None | Some(Value::Bool(true)) => mapping.email.text(claims, TOKEN_BYTES_MAX)?,
        // Whoever may write any address into a profile must not become its owner for an upstream.
        Some(_) => None,
    };
    let jti = revocation_id(claims, source, policy)?;
    let session = session(claims, policy, &jti)?;
    let token = TokenFacts {
        issuer: Arc::clone(&policy.issuer),
        jti,
        session,
        subject: subject.clone(),
        issued_at: times.issued_at,
        expires_at: times.expires_at,
    };
    let roles = mapping.roles.words(claims, &mapping.taken_roles)?.into_iter();
    let roles = roles.map(|role| format!("{}{role}", mapping.role_prefix)).filter(|role| Role::parse(role).is_ok());
    let scopes = mapping.scopes.words(claims, &mapping.taken_scopes)?.into_iter().filter(|scope| Scope::parse(scope).is_ok());
    let principal = Principal {
        issuer: Arc::clone(&policy.issuer),
        subject,
        username: mapping.username.text(claims, TOKEN_BYTES_MAX)?,
        email,
        roles: sorted(roles.map(Into::into)),
        scopes: sorted(scopes.map(Into::into)),
        session,
        auth_time: times.auth_time,
        credential: Credential::Foreign,
    };
    Ok(Caller { principal, token, kept: Kept::default() })
}

fn sorted(words: impl Iterator<Item = Box<str>>) -> Box<[Box<str>]> {
    words.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The text of a claim, if there is one; an error for anything but a text that headers and log lines can carry.
pub(super) fn text_of<'a>(claims: &'a Map<String, Value>, name: &str, bytes_max: usize) -> Result<Option<&'a str>, TokenError> {
    // `null` says nothing, as everywhere.
    text(claims.get(name).filter(|value| !value.is_null()), bytes_max)
}

fn text(value: Option<&Value>, bytes_max: usize) -> Result<Option<&str>, TokenError> {
    let Some(value) = value else { return Ok(None) };
    value.as_str().filter(|text| printable(text, bytes_max)).map(Some).ok_or(TokenError::Claims)
}

/// The instant of a claim, if it is there: whole seconds.
pub(super) fn instant_of(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, TokenError> {
    claims.get(name).map(|value| value.as_i64().ok_or(TokenError::Claims).and_then(instant)).transpose()
}

/// Of the issuer, and for one of these.
pub(super) fn check_issuer_and_audience(
    claims: &Map<String, Value>,
    source: Source<'_>,
    policy: &ForeignPolicy,
    audiences: &[Box<str>],
) -> Result<(), TokenError> {
    match (claims.get("iss"), source) {
        (Some(Value::String(issuer)), _) if **issuer == *policy.issuer => {}
        // RFC 7662 §2.2 leaves it out where the endpoint speaks for one issuer, which was chosen before.
        (None, Source::Introspected(_)) => {}
        (Some(Value::String(_)), _) => return Err(TokenError::Issuer),
        _ => return Err(TokenError::Claims),
    }
    let ours = |audience: &str| audiences.iter().any(|own| **own == *audience);
    let for_us = match claims.get("aud") {
        Some(Value::String(audience)) => ours(audience),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(Value::as_str).collect::<Option<Vec<_>>>().ok_or(TokenError::Claims)?;
            texts.into_iter().any(ours)
        }
        _ => return Err(TokenError::Claims),
    };
    if for_us { Ok(()) } else { Err(TokenError::Audience) }
}

struct Times {
    issued_at: Timestamp,
    expires_at: Timestamp,
    auth_time: Timestamp,
}

impl Times {
    fn read(claims: &Map<String, Value>, source: Source<'_>, policy: &ForeignPolicy, now: Timestamp) -> Result<Self, TokenError> {
        let at = |name| instant_of(claims, name);
        let (issued_at, expires_at) = (at("iat")?, at("exp")?.ok_or(TokenError::Claims)?);
        let issued_at = match (issued_at, source) {
            (Some(issued_at), _) => issued_at,
            // Unknown: older than whatever ends the subject's tokens.
            (None, Source::Introspected(_)) => Timestamp::UNIX_EPOCH,
            (None, Source::Signed(_)) => return Err(TokenError::Claims),
        };
        let begins = if issued_at == Timestamp::UNIX_EPOCH { now } else { issued_at };
        if expires_at <= issued_at || expires_at.as_nanosecond() > later(begins, policy.life_max) {
            return Err(TokenError::Life);
        }
        // Unknown: too long ago for any route that asks how long.
        let (auth_time, not_before) = (at("auth_time")?, at("nbf")?);
        for instant in [Some(issued_at), auth_time, not_before].into_iter().flatten() {
            if instant.as_nanosecond() > later(now, policy.skew) {
                return Err(TokenError::NotYet);
            }
        }
        if policy.expired(expires_at, now) {
            return Err(TokenError::Expired);
        }
        Ok(Self { issued_at, expires_at, auth_time: auth_time.unwrap_or(Timestamp::UNIX_EPOCH) })
    }
}

/// What the token is revoked by, in hexadecimal: SHA-256 of its issuer, a zero byte and its `jti`, so that no issuer can give
/// a token the id of another's; without `jti`, SHA-256 of the bytes under its signature. Never its text: some signatures can
/// be written in a second way.
fn revocation_id(claims: &Map<String, Value>, source: Source<'_>, policy: &ForeignPolicy) -> Result<Box<str>, TokenError> {
    let hash = match (claims.get("jti"), source) {
        (Some(Value::String(jti)), _) if printable(jti, JTI_BYTES_MAX) => digest(&format!("{}\0{jti}", policy.issuer)),
        (Some(_), _) => return Err(TokenError::Claims),
        (None, Source::Signed(signed)) => digest(signed),
        (None, Source::Introspected(token)) => digest(without_signature(token)),
    };
    Ok(hexadecimal(&hash))
}

fn hexadecimal(hash: &TokenHash) -> Box<str> {
    let text = hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    text.into()
}

/// What a JWT with these claims and these bytes under its signature is known by, and until when.
pub(super) fn claimed(claims: &Map<String, Value>, signed: &str, policy: &ForeignPolicy) -> Result<Claimed, TokenError> {
    let mut ids = vec![revocation_id(claims, Source::Signed(signed), policy)?];
    // Where the issuer is asked about its tokens, its answer may lack the `jti` that the token has.
    let of_bytes = hexadecimal(&digest(signed));
    if ids[0] != of_bytes {
        ids.push(of_bytes);
    }
    Ok(Claimed { ids, expires_at: instant_of(claims, "exp")? })
}

/// What an opaque token can be known by: that of the `jti` that its issuer gives it, first, and that of its text.
pub(super) fn ids_of_opaque(token: &str, caller: &Caller) -> Vec<Box<str>> {
    let (by_issuer, of_text) = (&caller.token.jti, hexadecimal(&digest(without_signature(token))));
    // The issuer's next answer may lack the `jti` that this one has.
    if **by_issuer == *of_text { vec![of_text] } else { vec![by_issuer.clone(), of_text] }
}

/// What looks like a JWT, without its signature; anything else is all there is.
fn without_signature(token: &str) -> &str {
    match token.rsplit_once('.') {
        Some((signed, _)) if signed.matches('.').count() == 1 => signed,
        _ => token,
    }
}

/// The session's id here: that of its `sid`, or of the token where there is no session.
fn session(claims: &Map<String, Value>, policy: &ForeignPolicy, jti: &str) -> Result<SessionId, TokenError> {
    let sid = text_of(claims, "sid", TOKEN_BYTES_MAX)?;
    Ok(sid.map_or_else(|| session_of(policy, "jti", jti), |sid| session_of(policy, "sid", sid)))
}

/// A UUID (RFC 9562 §5.8) that follows from the issuer and an id of this kind there. It cannot be the id of another
/// issuer's session, nor of one of ours.
pub(super) fn session_of(policy: &ForeignPolicy, kind: &str, id: &str) -> SessionId {
    let hash = digest(&format!("{kind}\0{}\0{id}", policy.issuer));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    SessionId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}
