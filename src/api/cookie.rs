//! The cookie that holds a ticket between the redemption of a one-time token and the deed it is for.
//!
//! `__Host-` binds it to this host, over TLS, for every path (RFC 6265bis §4.1.3.2); no script reads it, no other
//! site's request carries it, and no upstream sees it (`forwarding` takes it out).

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use secrecy::{ExposeSecret as _, SecretString};

use super::problem::Problem;
use crate::auth::one_time::Proof;
use crate::reason::Reason;

const TICKET: &str = "__Host-portcullis-ticket";

/// The ticket that the request's cookies hold, if they do.
pub(super) struct Ticket(pub(super) Option<SecretString>);

/// What an answer does with the ticket: it is spent, and the browser forgets it; or there was none.
pub(super) struct UsedTicket(bool);

impl<S: Sync> FromRequestParts<S> for Ticket {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(&parts.headers).map(Self)
    }
}

impl Ticket {
    /// What the caller shows: the token in the body, or else the ticket.
    pub(super) fn or_token<'a>(&'a self, token: Option<&'a SecretString>) -> Result<Proof<'a>, Problem> {
        match (token, &self.0) {
            (Some(token), _) => Ok(Proof::Token(token.expose_secret())),
            (None, Some(ticket)) => Ok(Proof::Ticket(ticket.expose_secret())),
            (None, None) => Err(Problem::new(Reason::BadTicket)),
        }
    }

    /// To be answered with when the deed is done: the ticket was used for it unless a token was.
    pub(super) fn used_unless(&self, token_used: bool) -> UsedTicket {
        UsedTicket(self.0.is_some() && !token_used)
    }
}

impl IntoResponseParts for UsedTicket {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Self::Error> {
        if self.0 {
            response.headers_mut().append(header::SET_COOKIE, set(&SecretString::default(), Duration::ZERO));
        }
        Ok(response)
    }
}

impl IntoResponse for UsedTicket {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

/// `Set-Cookie` for a ticket of this life.
pub(super) fn set(ticket: &SecretString, life: Duration) -> HeaderValue {
    let (ticket, seconds) = (ticket.expose_secret(), life.as_secs());
    let cookie = format!("{TICKET}={ticket}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict");
    let mut value = HeaderValue::try_from(cookie).expect("a ticket is base64url");
    value.set_sensitive(true);
    value
}

fn read(headers: &HeaderMap) -> Result<Option<SecretString>, Problem> {
    let fields = headers.get_all(header::COOKIE).iter();
    let cookies = fields.flat_map(|field| field.as_bytes().split(|&byte| byte == b';')).map(<[u8]>::trim_ascii);
    let mut tickets = cookies.filter_map(|cookie| cookie.strip_prefix(TICKET.as_bytes())?.strip_prefix(b"="));
    let ticket = tickets.next();
    // A browser keeps one; a second one is somebody else's attempt to be read instead of it.
    if tickets.next().is_some() {
        return Err(Problem::new(Reason::Malformed).with_detail("the ticket's cookie is repeated"));
    }
    let text = ticket.map(|ticket| std::str::from_utf8(ticket).unwrap_or_default().to_owned());
    Ok(text.filter(|text| !text.is_empty()).map(SecretString::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::COOKIE, field.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn the_ticket_is_found_among_other_cookies_by_its_whole_name() {
        for fields in [
            &["__Host-portcullis-ticket=abc"][..],
            &["a=b; __Host-portcullis-ticket=abc; c=d"],
            &["a=b", "__Host-portcullis-ticket=abc"],
        ] {
            let ticket = read(&cookies(fields)).expect("one ticket").expect("there");
            assert_eq!(ticket.expose_secret(), "abc", "{fields:?}");
        }
        for field in
            ["", "ticket=abc", "x__Host-portcullis-ticket=abc", "__Host-portcullis-ticket2=abc", "__Host-portcullis-ticket="]
        {
            assert!(read(&cookies(&[field])).expect("no ticket").is_none(), "{field}");
        }
    }

    #[test]
    fn two_tickets_are_refused() {
        let twice = cookies(&["__Host-portcullis-ticket=a; __Host-portcullis-ticket=b"]);
        assert_eq!(read(&twice).expect_err("two").reason(), Reason::Malformed);
    }

    #[test]
    fn the_cookie_is_for_this_host_over_tls_and_for_no_script() {
        let cookie = set(&"abc".into(), Duration::from_secs(3600));
        let expected = "__Host-portcullis-ticket=abc; Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Strict";
        assert_eq!(cookie, expected);
        assert!(cookie.is_sensitive());
    }
}
