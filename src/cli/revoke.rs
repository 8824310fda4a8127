//! `portcullis revoke`: whatever has to stop now, by whatever is known of it.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use secrecy::SecretString;
use serde::Serialize;
use uuid::Uuid;

use super::administration::{Administration, administer};
use super::failure::Failure;
use super::keys;
use super::output::{self, Format, shown};
use crate::auth::audit::Actor;
use crate::auth::revocation::{RevokeError, Revoked, Target};
use crate::config::Source;
use crate::identity::session::SessionId;

/// More than any token has, so that a wrong file is noticed.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

const AFTER_HELP: &str = "\
When it returns without an error, it is in force: no gateway accepts what was revoked from its next request on (within \
seconds, for a signing key). Exit code 1 and \"recorded\" mean that the database knows and some gateway may not: run the \
same command again.

A whole token is read from a file or standard input, never from the command line, which everybody on the machine can read. \
A token of one of the `[[issuers]]` is revoked by what it says of itself; its signature is not looked at. About an opaque one \
its issuer is asked. API keys of a \
user stay; `portcullis user disable` stops them, too.

Examples:
  portcullis revoke --token 3f0e3d2c-9a57-4a53-9a0f-7d6d2f7f6c11   by its claim `jti`
  portcullis revoke --token @leaked.jwt
  printf %s \"$TOKEN\" | portcullis revoke --token -
  portcullis revoke --session 8d3b0a52-7c1e-4f0b-8a35-0d6f0a1f8a77
  portcullis revoke --user ada
  portcullis revoke --key KID                                      and every token that it signed";

/// What `revoke` takes: one thing.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("what").required(true).args(["token", "session", "user", "key"]))]
pub(super) struct Revoke {
    /// A token: its id (claim `jti`), or all of it from a file or from standard input
    #[arg(long, value_name = "JTI|@FILE|-")]
    token: Option<String>,
    /// A session with all its tokens (claim `sid`, header X-Auth-Session), or an API key by its id
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
    /// Every session of the user with this name, e-mail address or id
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A signing key, as `keys remove` does
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    key: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// What was revoked, for programs.
#[derive(Debug, Serialize)]
struct RevokedJson<'a> {
    kind: &'a str,
    id: &'a str,
    /// It was over by itself.
    had_expired: bool,
}

impl Revoke {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        let format = self.format;
        if let Some(kid) = self.key {
            keys::remove(source, &kid)?;
            let removed = Revoked { kind: "key", id: kid, had_expired: false };
            return report(&removed, format);
        }
        let target = match (self.token, self.session, self.user) {
            (Some(token), ..) => of_token(&token)?,
            (_, Some(id), _) => Target::Session(SessionId(id)),
            (.., Some(name)) => Target::User(name),
            (None, None, None) => return Err(Failure::Usage("say what to revoke".to_owned())),
        };
        administer(source, async |office| revoke(office, target, format).await)
    }
}

async fn revoke(office: &Administration, target: Target, format: Format) -> Result<(), Failure> {
    let target = match target {
        token @ Target::Token(_) => token.introspected(office.authenticator()?).await.map_err(of_token_alone)?,
        other => other,
    };
    let foreign: Vec<_> = office.config().issuers.iter().map(|issuer| Arc::new(issuer.policy.clone())).collect();
    let revoked = office.auth().revoke(&target, &foreign, &Actor::operator()).await;
    let revoked = revoked.map_err(|error| failure(&target, error))?;
    office.enforce().await?;
    report(&revoked, format)
}

fn report(revoked: &Revoked, format: Format) -> Result<(), Failure> {
    let Revoked { kind, id, had_expired } = revoked;
    if format.json {
        return output::print_json(&RevokedJson { kind, id, had_expired: *had_expired });
    }
    let id = shown(id);
    output::print(&match *kind {
        "key" => format!("the signing key {id} is removed: running gateways refuse its tokens within seconds"),
        "user" => format!("every session of the user {id} is revoked"),
        "api_key" => format!("the api key {id} is revoked"),
        kind if *had_expired => format!("the {kind} {id} had expired: there is nothing to revoke"),
        kind => format!("the {kind} {id} is revoked"),
    })
}

/// Why a token is none to be revoked, before the database was asked.
fn of_token_alone(error: RevokeError) -> Failure {
    match error {
        RevokeError::Invalid(rule) => anyhow::anyhow!("{}", Failure::rules(&[rule])).into(),
        error => Failure::new(
            error,
            "see that the endpoint of `[issuers.introspection]` answers, then run the same command again: without its answer \
             nobody knows what the token is known by, and gateways accept it for `cache_for` at most",
        ),
    }
}

fn failure(target: &Target, error: RevokeError) -> Failure {
    match (error, target) {
        (RevokeError::Outage(outage), _) => outage.into(),
        (RevokeError::Invalid(rule), Target::TokenId(_)) => {
            let help = "a whole token is given as `--token @FILE`, or on standard input as `--token -`";
            Failure::new(anyhow::anyhow!("{}", Failure::rules(&[rule])), help)
        }
        (RevokeError::Invalid(rule), _) => anyhow::anyhow!("{}", Failure::rules(&[rule])).into(),
        (RevokeError::NoSuchUser, Target::User(name)) => Failure::no_such_user(name),
        (error, _) => Failure::new(
            error,
            "`portcullis session list USER` lists sessions; a client's token belongs to none: give the token, or disable the \
             client",
        ),
    }
}

/// Reads `@FILE` and `-`; anything else is an id.
fn of_token(given: &str) -> Result<Target, Failure> {
    let token = match given.strip_prefix('@') {
        Some(path) => whole(File::open(path).with_context(|| format!("cannot open {}", shown(path)))?)?,
        None if given == "-" => whole(io::stdin().lock())?,
        None => return Ok(Target::TokenId(given.to_owned())),
    };
    Ok(Target::Token(token))
}

/// The one word that there is to read. It may stand behind `Bearer`, as in what was copied from a log.
fn whole(input: impl Read) -> Result<SecretString, Failure> {
    let mut text = String::new();
    input.take(TOKEN_BYTES_MAX).read_to_string(&mut text).context("cannot read the token")?;
    let mut words = text.split_ascii_whitespace().filter(|word| !word.eq_ignore_ascii_case("bearer"));
    match (words.next(), words.next()) {
        (Some(token), None) => Ok(SecretString::from(token)),
        (None, _) => Err(anyhow::anyhow!("there is no token to read").into()),
        (Some(_), Some(_)) => Err(anyhow::anyhow!("there is more than one word to read: a token is one").into()),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_token_is_the_one_word_that_is_read() {
        for text in ["a.b.c", "a.b.c\n", "  a.b.c\r\n", "Bearer a.b.c\n"] {
            assert_eq!(whole(text.as_bytes()).unwrap().expose_secret(), "a.b.c", "{text:?}");
        }
        for text in ["", "\n", "a.b.c d.e.f", "a.b.\nc"] {
            assert!(whole(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
