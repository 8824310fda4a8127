//! `[issuers.backchannel_logout]`: logout tokens that can be proved, are for us, and reach what they are to end.

use super::word;
use crate::config::file::issuers as file;
use crate::config::place::Path;
use crate::config::validate::{Check, DAY, SECOND};
use crate::identity::foreign_token::LogoutPolicy;

pub(super) fn logout(check: &mut Check<'_>, issuer: &Path, file: &file::Issuer) -> Option<LogoutPolicy> {
    let written = file.backchannel_logout.as_ref()?;
    let path = issuer.key("backchannel_logout");
    if file.jwks_url.is_none() && file.jwks.is_none() && file.secret.is_none() {
        let help = "set `jwks_url`, `jwks` or `secret`: a logout token is signed, and cannot be asked about";
        check.refuse(&path, "nothing verifies the issuer's logout tokens", help);
    }
    if file.name.bytes().all(|byte| byte == b'.') && !file.name.is_empty() {
        let help = "give the issuer another name: it ends the path that its logout tokens are sent to";
        check.refuse(&issuer.key("name"), "is no part of a path", help);
    }
    let audiences = path.key("audiences");
    if written.audiences.is_empty() {
        let help = "write the client id under which this gateway's address is registered at the issuer, like [\"portcullis\"]";
        check.refuse(&audiences, "logout tokens for anybody else would be accepted", help);
    }
    for (index, audience) in written.audiences.iter().enumerate() {
        word(check, &audiences.index(index), audience);
    }
    let subject = &file.claims.subject;
    if subject != "sub" {
        let help = "have the issuer write the claim into its logout tokens, or the session (`sid`) into its access tokens";
        check.warn(&path, format!("a logout token that ends a subject is refused unless it has the claim {subject:?}"), help);
    }
    Some(LogoutPolicy {
        audiences: written.audiences.iter().map(|audience| audience.as_str().into()).collect(),
        age_max: check.duration(&path.key("max_age"), &written.max_age, SECOND..=DAY),
        whole_subject: written.all_sessions,
    })
}
