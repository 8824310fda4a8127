//! Answers: a status, and a body of JSON or of text.

use bytes::Bytes;
use http::StatusCode;

use super::route::DialectRoute;
use super::template::Template;
use super::values::{ErrorValues, Scope, Values};

/// An answer, ready to be sent. Headers besides the content type are the edge's: `Cache-Control: no-store`, cookies,
/// the challenge of a 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The content type; none if there is no body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Bytes,
}

/// How an answer reads.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerTemplate {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: AnswerBody,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerBody {
    /// None.
    Empty,
    /// Text as it stands.
    Text(Box<str>),
    /// JSON.
    Json(Template),
    /// A JSON array with one of these for each user.
    EachUser(Template),
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl AnswerTemplate {
    pub(super) fn render_ok(&self, values: &Values<'_>) -> Answer {
        let (content_type, body) = match &self.body {
            AnswerBody::Empty => (None, Vec::new()),
            AnswerBody::Text(text) => (Some(TEXT), text.as_bytes().to_vec()),
            AnswerBody::Json(template) => (Some(JSON), template.render(&Scope::Success { values, item: None })),
            AnswerBody::EachUser(template) => {
                let items = values.users.iter().map(|item| template.render(&Scope::Success { values, item: Some(item) }));
                (Some(JSON), [b"[".as_slice(), &items.collect::<Vec<_>>().join(&b','), b"]"].concat())
            }
        };
        Answer { status: self.status, content_type, body: body.into() }
    }

    pub(super) fn render_err(&self, code: &str, error: &ErrorValues<'_>, route: Option<&DialectRoute>) -> Answer {
        let (content_type, body) = match &self.body {
            AnswerBody::Empty | AnswerBody::EachUser(_) => (None, Vec::new()),
            AnswerBody::Text(text) => (Some(TEXT), text.as_bytes().to_vec()),
            AnswerBody::Json(template) => (Some(JSON), template.render(&Scope::Refusal { code, error, route })),
        };
        Answer { status: self.status, content_type, body: body.into() }
    }
}
