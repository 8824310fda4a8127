//! Inputs that are missing, of the wrong type, or there twice.

use proptest::prelude::*;

use super::*;

fn refused(code: &'static str, faults: &[(&'static str, &'static str)]) -> Result<Value, RefusedInputs> {
    let faults = faults.iter().map(|(input, rule)| InputFault::new(*input, *rule)).collect();
    Err(RefusedInputs { code, faults })
}

const MISSING: &str = "cannot be missing or empty";
const NOT_TEXT: &str = "must be a string";

#[test]
fn what_a_login_needs_is_named_all_at_once() {
    let dialects = shipped("auth-using-nodejs");
    let login = |body: Value| told(on_port(&dialects, 4000), "POST /login", &[], &body);
    let both = &[("username", MISSING), ("password", MISSING)];
    assert_eq!(login(json!(null)), refused("invalid", both));
    assert_eq!(login(json!({})), refused("invalid", both));
    assert_eq!(login(json!({"username": "", "password": null})), refused("invalid", both));
    assert_eq!(login(json!({"username": "ada"})), refused("invalid", &both[1..]));
    assert_eq!(login(json!({"username": ["ada"], "password": "pw"})), refused("invalid", &[("username", NOT_TEXT)]));
    assert_eq!(
        login(json!({"username": 7, "password": {"$ne": ""}})),
        refused("invalid", &[("username", NOT_TEXT), ("password", NOT_TEXT)])
    );
    assert_eq!(login(json!(["ada", "pw"])), refused("invalid", &[("body", "must be an object")]));
    // Members that nobody asks for are left in peace.
    assert!(login(json!({"username": "ada", "password": "pw", "remember": true})).is_ok());
}

#[test]
fn what_a_route_requires_is_required() {
    let dialects = shipped("auth-service");
    let register = |body: Value| told(on_port(&dialects, 3002), "POST /register", &[], &body);
    let names = ["username", "email", "password", "password_again"];
    assert_eq!(register(json!({})).unwrap_err().faults.iter().map(|fault| &*fault.input).collect::<Vec<_>>(), names);
    let complete = |again: &str, roles: Value| json!({"username": "ada", "email": "a@b.c", "password": "pw", "confirmPassword": again, "roles": roles});
    let match_ = "Passwords must match";
    assert_eq!(register(complete("wp", json!(null))), refused("invalid", &[("password", match_), ("password_again", match_)]));
    assert_eq!(register(complete("pw", json!(["role1", 7]))), refused("invalid", &[("roles", "must be a list of strings")]));
    assert_eq!(register(complete("pw", json!({}))), refused("invalid", &[("roles", "must be a list of strings")]));
    assert_eq!(register(complete("pw", json!("role1"))).unwrap()["roles"], json!(["role1"]));
}

#[test]
fn a_token_that_is_missing_is_told_from_one_that_is_none() {
    let dialects = shipped("auth-service");
    let renew = |fields: &[(&str, &str)]| told(on_port(&dialects, 3002), "POST /token/renew", fields, &Value::Null);
    assert_eq!(renew(&[]), refused("missing_token", &[]));
    assert_eq!(renew(&[("authorization", "Basic abc")]), refused("missing_token", &[]));
    assert_eq!(renew(&[("cookie", "jqt=")]), refused("missing_token", &[]));
    assert_eq!(renew(&[("authorization", "Bearer a b"), ("cookie", "jqt=r")]), refused("bad_token", &[]));
    assert_eq!(renew(&[("cookie", "jqt=a; jqt=b")]), refused("malformed", &[]), "case 194");
    assert_eq!(renew(&[("authorization", "Bearer "), ("cookie", "jqt=r")]), Ok(json!("r")));
    let dialects = shipped("mstack-auth");
    let refresh = |body: Value| told(on_port(&dialects, 5000), "POST /auth/refresh", &[], &body);
    assert_eq!(refresh(json!({})), refused("missing_token", &[]));
    assert_eq!(refresh(json!({"refreshToken": 7})), refused("bad_token", &[]));
}

#[test]
fn a_ticket_that_is_missing_is_a_bad_one() {
    let dialects = shipped("token-demo");
    let told = |request: &str, body: Value| told(on_port(&dialects, 6000), request, &[], &body);
    assert_eq!(told("GET /api/auth/validate_token", Value::Null), refused("bad_ticket", &[]));
    assert_eq!(told("GET /api/auth/validate_token?token=a&token=b", Value::Null), refused("malformed", &[]));
    assert_eq!(told("POST /api/auth/email-verified", Value::Null), refused("bad_ticket", &[]));
    assert_eq!(told("POST /api/auth/create_token", json!({})), refused("invalid", &[("kind", MISSING)]));
    let metadata = json!({"tokenType": "invitation", "metadata": "x"});
    assert_eq!(told("POST /api/auth/create_token", metadata), refused("invalid", &[("metadata", "must be an object")]));
}

#[test]
fn fields_are_named_as_the_client_names_them() {
    let dialects = shipped("token-demo");
    let dialect = on_port(&dialects, 6000);
    let faults = told(dialect, "POST /api/auth/signup", &[], &json!({"email": "a@b.c"})).unwrap_err().faults;
    let template = AnswerTemplate {
        status: http::StatusCode::BAD_REQUEST,
        body: AnswerBody::Json(Template::text("$error.fields").unwrap()),
    };
    let answer =
        template.render_err("invalid", &ErrorValues { message: None, faults: &faults }, route(dialect, "POST /api/auth/signup"));
    let expected = json!({
        "password": ["Password cannot be missing or empty"],
        "fName": ["F name cannot be missing or empty"],
        "lName": ["L name cannot be missing or empty"],
    });
    assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap(), expected);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        let name = prop_oneof![Just("username".to_owned()), Just("password".to_owned()), Just("email".to_owned()), "[a-z]{1,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(body in any_json()) {
        let dialects = shipped("auth-service");
        match told(on_port(&dialects, 3002), "POST /login", &[], &body) {
            Ok(login) => {
                prop_assert_eq!(&login["name"], &body["username"]);
                prop_assert_eq!(&login["password"], &body["password"]);
            }
            Err(refused) => prop_assert!(refused.code == "invalid" && !refused.faults.is_empty()),
        }
    }
}
