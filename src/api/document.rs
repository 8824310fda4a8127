//! What every operation of the OpenAPI document has in common, and what is therefore said in one place: how refusals
//! read, which of them any request can meet, and unique names of operations.
//!
//! Which other refusals an operation has stands with its handler: a status that is not documented is a fault, and
//! `tests/gateway/openapi.rs` looks for it with requests made up from the document.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::IntoResponses;
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};

use crate::reason::Reason;

/// What any request can be refused with. Among the `responses` of every operation that answers with problems.
pub(super) struct Refusal;

/// Besides: the credentials or the token are refused. Said by itself of operations whose `security` needs a bearer token,
/// as is [`Forbidden`].
pub(super) struct Unauthorized;

/// Besides: the caller may not do this.
pub(super) struct Forbidden;

/// Besides: what the path names is not there.
pub(super) struct NotFound;

/// Besides: it exists already.
pub(super) struct Conflict;

/// Besides: too often.
pub(super) struct TooMany;

impl IntoResponses for Refusal {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[
            StatusCode::BAD_REQUEST,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::URI_TOO_LONG,
            StatusCode::EXPECTATION_FAILED,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
        ])
    }
}

impl IntoResponses for Unauthorized {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[StatusCode::UNAUTHORIZED])
    }
}

impl IntoResponses for Forbidden {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[StatusCode::FORBIDDEN])
    }
}

impl IntoResponses for NotFound {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[StatusCode::NOT_FOUND])
    }
}

impl IntoResponses for Conflict {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[StatusCode::CONFLICT])
    }
}

impl IntoResponses for TooMany {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[StatusCode::TOO_MANY_REQUESTS])
    }
}

/// The document as it is served: the handlers' part, and what is the same for all of them.
pub(super) fn render(document: &OpenApi, prefix: &str) -> Bytes {
    let mut document = serde_json::to_value(document).expect("an OpenAPI document is made of strings and lists");
    document["components"]["responses"] = refusals().into();
    let paths = document["paths"].as_object_mut().expect("there are endpoints");
    for (path, operations) in paths {
        let path = path.strip_prefix(prefix).unwrap_or(path);
        for (method, operation) in operations.as_object_mut().expect("a path has operations") {
            operation["operationId"] = operation_id(method, path).into();
            complete(operation);
        }
    }
    document.to_string().into()
}

/// What follows from the rest of an operation.
fn complete(operation: &mut Value) {
    if let Some(schema) = operation.pointer_mut("/requestBody/content/application~1json/schema") {
        without_null(schema);
    }
    let (takes_a_body, takes_a_token) = (operation["requestBody"].is_object(), takes_a_token(operation));
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    if !responses.values().any(|response| *response == reference(StatusCode::BAD_REQUEST)) {
        // It has refusals of its own, in other words.
        return;
    }
    let further = [
        (takes_a_body, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (takes_a_token, StatusCode::UNAUTHORIZED),
        // The token of a client, or an API key, where a user is asked for.
        (takes_a_token, StatusCode::FORBIDDEN),
    ];
    for (_, status) in further.into_iter().filter(|(applies, _)| *applies) {
        responses.insert(status.as_str().to_owned(), reference(status));
    }
}

/// A body that may be absent may not be `null` instead, which is how utoipa writes it.
fn without_null(schema: &mut Value) {
    let Some(alternatives) = schema.get_mut("oneOf").and_then(Value::as_array_mut) else { return };
    alternatives.retain(|alternative| alternative["type"] != "null");
    if let [only] = &mut alternatives[..] {
        *schema = only.take();
    }
}

fn takes_a_token(operation: &Value) -> bool {
    let schemes = operation["security"].as_array();
    schemes.is_some_and(|schemes| schemes.iter().any(|scheme| scheme.get("bearer").is_some()))
}

/// `post_password_reset`. The names of handlers are not unique.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// Every refusal of this API by its status: the words that it can have, and the fields that come with it.
fn refusals() -> Map<String, Value> {
    let mut by_status = BTreeMap::<StatusCode, Vec<Reason>>::new();
    // Upstreams have no part in this API.
    let upstreams = |reason: Reason| {
        matches!(reason.status(), StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
            || matches!(reason, Reason::UpstreamBusy | Reason::UpstreamUnhealthy)
    };
    // A method that an operation does not have is no request for it.
    let methods = |status| matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
    for reason in Reason::ALL.iter().filter(|reason| !upstreams(**reason) && !methods(reason.status())) {
        by_status.entry(reason.status()).or_default().push(*reason);
    }
    by_status.iter().map(|(status, reasons)| (name(*status), refusal(*status, reasons))).collect()
}

fn refusal(status: StatusCode, reasons: &[Reason]) -> Value {
    let lines: Vec<_> = reasons.iter().map(|reason| format!("`{}`: {}.", reason.word(), reason.title())).collect();
    let codes: Vec<_> = reasons.iter().map(|reason| reason.word()).collect();
    let of_this_status = json!({"properties": {"status": {"const": status.as_u16()}, "code": {"enum": codes}}});
    let schema = json!({"allOf": [{"$ref": "#/components/schemas/Problem"}, of_this_status]});
    let mut refusal = json!({
        "description": lines.join(" "),
        "content": {"application/problem+json": {"schema": schema}},
    });
    let field = match status {
        StatusCode::UNAUTHORIZED => ("WWW-Authenticate", "string", "The challenge (RFC 6750 §3)"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ("Retry-After", "integer", "Seconds"),
        _ => return refusal,
    };
    let (field, kind, description) = field;
    refusal["headers"][field] = json!({"description": description, "required": true, "schema": {"type": kind}});
    refusal
}

fn references(statuses: &[StatusCode]) -> BTreeMap<String, RefOr<Response>> {
    let reference = |status: &StatusCode| (status.as_str().to_owned(), Ref::from_response_name(name(*status)).into());
    statuses.iter().map(reference).collect()
}

fn reference(status: StatusCode) -> Value {
    json!({"$ref": format!("#/components/responses/{}", name(status))})
}

/// The name of a status in the document: `NotFound`.
fn name(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or(status.as_str()).split(' ').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_called_by_its_method_and_path() {
        for (method, path, id) in [
            ("post", "/password/reset", "post_password_reset"),
            ("delete", "/sessions/{id}", "delete_sessions_id"),
            ("get", "/.well-known/jwks.json", "get_well_known_jwks_json"),
        ] {
            assert_eq!(operation_id(method, path), id);
        }
    }

    #[test]
    fn a_refusal_says_its_words_and_its_fields() {
        let refusals = refusals();
        let codes = |name: &str| {
            let schema = &refusals[name]["content"]["application/problem+json"]["schema"];
            schema["allOf"][1]["properties"]["code"]["enum"].clone()
        };
        assert_eq!(codes("BadRequest"), json!(["malformed", "invalid", "bad_ticket"]));
        assert_eq!(codes("ServiceUnavailable"), json!(["revocation_unknown", "unavailable"]));
        assert_eq!(refusals["ServiceUnavailable"]["headers"]["Retry-After"]["required"], true);
        assert_eq!(refusals["Unauthorized"]["headers"]["WWW-Authenticate"]["required"], true);
        assert!(!refusals.contains_key("BadGateway"));
    }

    #[test]
    fn a_body_that_may_be_absent_may_not_be_null() {
        let mut operation = json!({"requestBody": {"content": {"application/json": {"schema": {
            "oneOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}],
        }}}}});
        complete(&mut operation);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(*schema, json!({"$ref": "#/components/schemas/A"}));
    }
}
