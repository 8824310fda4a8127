//! Refusals in a dialect: the words of the one table of `problem`, the sentences of the dialect, and the fields that any
//! refusal carries.

use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;

use super::response;
use crate::api::problem::{CHALLENGE, Problem};
use crate::auth::FieldError;
use crate::dialect::{Dialect, DialectRoute, ErrorValues, InputFault, RefusedInputs};
use crate::identity::user::NameError;
use crate::reason::Reason;

/// A refusal on its way to be rendered.
pub(super) struct Refusal {
    /// What the dialect looks its answer up by: the word of the reason, except for words that have none.
    code: &'static str,
    faults: Vec<InputFault>,
    /// What is answered where the dialect says nothing.
    canonical: Problem,
}

impl Refusal {
    pub(super) fn new(reason: Reason) -> Self {
        Problem::new(reason).into()
    }

    pub(super) fn with_detail(self, detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { canonical: self.canonical.with_detail(detail), ..self }
    }

    /// Inputs break rules.
    pub(super) fn invalid(fault: InputFault) -> Self {
        Self { faults: vec![fault], ..Self::new(Reason::Invalid) }
    }

    pub(super) fn reason(&self) -> Reason {
        self.canonical.reason()
    }

    /// Whether a logout that was refused so had nothing to end: whoever asked may forget their cookies.
    pub(super) fn leaves_no_session(&self) -> bool {
        use Reason::{BadToken, ExpiredToken, MissingToken, RevokedToken};
        matches!(self.reason(), MissingToken | BadToken | ExpiredToken | RevokedToken)
    }

    pub(super) fn render(self, dialect: &Dialect, route: Option<&DialectRoute>, request_id: &str) -> Response<Bytes> {
        let message = self.canonical.detail().filter(|_| self.faults.is_empty());
        let values = ErrorValues { message, faults: &self.faults };
        let Some(answer) = dialect.render_err(route, self.code, &values) else {
            return self.canonical.into_bytes_response(Some(request_id));
        };
        let (reason, canonical) = (self.canonical.reason(), self.canonical.into_bytes_response(None));
        let mut response = response(answer);
        let status = response.status();
        let headers = response.headers_mut();
        if status.as_u16() == 401 {
            // RFC 9110 §15.5.2: every 401 has a challenge, whatever it stands for elsewhere.
            let challenge = canonical.headers().get(header::WWW_AUTHENTICATE).cloned();
            headers.insert(header::WWW_AUTHENTICATE, challenge.unwrap_or(HeaderValue::from_static(CHALLENGE)));
        }
        if let Some(after) = canonical.headers().get(header::RETRY_AFTER) {
            headers.insert(header::RETRY_AFTER, after.clone());
        }
        // A logout that had nothing to end and says yes was not refused.
        if !status.is_success() {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// The answer to a request that was refused before or while it was proxied.
#[must_use]
pub fn refused(dialect: &Dialect, reason: Reason, request_id: &str) -> Response<Bytes> {
    Refusal::new(reason).render(dialect, None, request_id)
}

impl<P: Into<Problem>> From<P> for Refusal {
    fn from(problem: P) -> Self {
        let canonical: Problem = problem.into();
        let faults = canonical.errors().iter().map(spoken).collect();
        Self { code: canonical.reason().word(), faults, canonical }
    }
}

impl From<RefusedInputs> for Refusal {
    fn from(RefusedInputs { code, faults }: RefusedInputs) -> Self {
        // A ticket is a token, too: where its refusal has no word of its own it counts as a bad one.
        let reason = Reason::ALL.iter().copied().find(|reason| reason.word() == code).unwrap_or(Reason::BadToken);
        let canonical = if code == Reason::Invalid.word() {
            let errors = faults.iter().map(|fault| FieldError::new(known(&fault.input), &fault.rule));
            Problem::invalid(errors.collect())
        } else {
            Problem::new(reason)
        };
        Self { code, faults, canonical }
    }
}

/// Our own name of an input, for the canonical answer.
fn known(input: &str) -> &'static str {
    crate::dialect::Input::parse(input).map_or("body", crate::dialect::Input::word)
}

/// A broken rule in the words that clients of existing systems know, as far as they know any.
fn spoken(error: &FieldError) -> InputFault {
    let is = |rule: NameError| error.message == rule.to_string();
    let rule = match error.message.as_str() {
        "is taken" => "is already taken".to_owned(),
        _ if is(NameError::Empty) => "cannot be missing or empty".to_owned(),
        _ if is(NameError::Address) => "must be a valid email address".to_owned(),
        rule => rule.to_owned(),
    };
    InputFault::new(error.field, rule)
}
