//! The OpenAPI document and the router agree: nothing is served undocumented, nothing documented is missing.

use std::collections::BTreeSet;

use axum::http::{Method, header};
use serde_json::Value;

use crate::api::{request, send};
use crate::support::gate;

/// Every endpoint there is. A new one is added here and in `api::endpoints`; the rest follows.
const ENDPOINTS: &[(&str, &[&str])] = &[
    ("/.well-known/jwks.json", &["GET"]),
    ("/.well-known/oauth-authorization-server", &["GET"]),
    ("/auth/admin/revocations", &["POST"]),
    ("/auth/api-keys", &["GET", "POST"]),
    ("/auth/api-keys/{id}", &["DELETE"]),
    ("/auth/backchannel-logout/{issuer}", &["POST"]),
    ("/auth/email/verify", &["POST"]),
    ("/auth/email/verify/send", &["POST"]),
    ("/auth/invitations", &["POST"]),
    ("/auth/audit", &["GET"]),
    ("/auth/login", &["POST"]),
    ("/auth/logout", &["POST"]),
    ("/auth/logout-all", &["POST"]),
    ("/auth/me", &["GET", "PATCH"]),
    ("/auth/oauth/introspect", &["POST"]),
    ("/auth/oauth/revoke", &["POST"]),
    ("/auth/oauth/token", &["POST"]),
    ("/auth/openapi.json", &["GET"]),
    ("/auth/one-time-tokens/redeem", &["POST"]),
    ("/auth/password", &["POST"]),
    ("/auth/password/forgot", &["POST"]),
    ("/auth/password/reset", &["POST"]),
    ("/auth/reauthenticate", &["POST"]),
    ("/auth/reauthenticate/send", &["POST"]),
    ("/auth/refresh", &["POST"]),
    ("/auth/register", &["POST"]),
    ("/auth/sessions", &["GET"]),
    ("/auth/sessions/{id}", &["DELETE"]),
    ("/auth/users", &["GET", "POST"]),
    ("/auth/users/{id}", &["DELETE", "GET", "PATCH"]),
    ("/auth/users/{id}/disable", &["POST"]),
    ("/auth/users/{id}/enable", &["POST"]),
    ("/auth/users/{id}/roles", &["PUT"]),
    ("/auth/users/{id}/sessions", &["DELETE", "GET"]),
    ("/auth/verify", &["GET"]),
];

fn methods_of(path: &Value) -> BTreeSet<String> {
    let all = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    all.iter().filter(|method| path.get(**method).is_some()).map(|method| method.to_uppercase()).collect()
}

#[tokio::test]
async fn what_is_served_is_documented_and_what_is_documented_is_served() {
    let gate = gate().await;
    let router = gate.router();
    let document = send(&router, request(Method::GET, "/auth/openapi.json", None)).await.body;
    let documented = document["paths"].as_object().unwrap();

    let paths: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
    assert_eq!(paths, ENDPOINTS.iter().map(|(path, _)| *path).collect());
    for (path, expected) in ENDPOINTS {
        let methods = methods_of(&documented[*path]);
        assert_eq!(methods, expected.iter().map(|&method| method.to_owned()).collect(), "{path}");
        // A method that no endpoint has: the router's own answer lists those that it would serve.
        let probe = request(Method::TRACE, &path.replace("{id}", "x"), None);
        let refused = send(&router, probe).await;
        assert_eq!(refused.status, 405, "{path} is documented and not served");
        let allow = refused.headers[header::ALLOW].to_str().unwrap();
        let served: BTreeSet<String> =
            allow.split(',').map(|method| method.trim().to_owned()).filter(|method| method != "HEAD").collect();
        assert_eq!(served, methods, "{path}");
    }
}

#[test]
fn no_endpoint_is_added_beside_the_list_that_makes_the_document() {
    let source = include_str!("../../src/api/mod.rs");
    assert!(!source.contains(".route("), "use routes!, so that the endpoint is documented");
}

/// Programs that are generated from the document call their functions so.
#[tokio::test]
async fn every_operation_has_a_name_of_its_own_and_says_what_it_is_refused_with() {
    let gate = gate().await;
    let document = send(&gate.router(), request(Method::GET, "/auth/openapi.json", None)).await.body;
    let paths = document["paths"].as_object().unwrap();
    let mut names = BTreeSet::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{method} {path} is not the only {name}");
            // An operation whose refusals are in other words, as those of OAuth, has one answer for all of them.
            let refusals = operation["responses"].as_object().unwrap().keys().filter(|status| !status.starts_with('2'));
            assert!(refusals.count() > 0, "{method} {path} is never refused?");
        }
    }
    let refusals = &document["paths"]["/auth/sessions/{id}"]["delete"]["responses"];
    let statuses: Vec<_> = refusals.as_object().unwrap().keys().collect();
    assert_eq!(statuses, ["204", "400", "401", "403", "404", "408", "413", "414", "417", "431", "500", "503"]);
    assert_eq!(refusals["404"]["$ref"], "#/components/responses/NotFound");
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_every_reference_in_it_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let gate = gate().await;
    let document = send(&gate.router(), request(Method::GET, "/auth/openapi.json", None)).await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    for (path, method) in [("/auth/me", "get"), ("/auth/password", "post"), ("/auth/verify", "get")] {
        assert!(document["paths"][path][method]["security"].is_array(), "{path}");
    }
}
