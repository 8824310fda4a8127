//! What templates are, and what they become.

use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

use super::super::values::{UserValues, Values};
use super::*;

/// A template as a test writes it; `json!` sorts members, so an order that matters is written out.
fn template(value: &Value) -> Template {
    match value {
        Value::String(text) => Template::text(text).expect("a valid text"),
        Value::Array(elements) => Template::Array(elements.iter().map(template).collect()),
        Value::Object(members) => {
            Template::Object(members.iter().map(|(key, value)| (key.as_str().into(), template(value))).collect())
        }
        other => Template::Literal(other.clone()),
    }
}

fn rendered(written: &Value, values: &Values<'_>) -> String {
    String::from_utf8(template(written).render(&Scope::Success { values, item: None })).expect("JSON is UTF-8")
}

#[test]
fn a_text_that_begins_with_a_dollar_sign_is_a_value() {
    assert_eq!(Template::text("$user.given_name"), Ok(Template::Value(ValueName::User(UserField::GivenName))));
    for (text, literal) in
        [("plain", "plain"), ("$5", "$5"), ("a $ b", "a $ b"), ("$$user.id", "$user.id"), ("5$", "5$"), ("", "")]
    {
        assert_eq!(Template::text(text), Ok(Template::Literal(literal.into())), "{text}");
    }
    for text in ["$user", "$user.password_hash", "$acess_token", "$item.", "$token"] {
        assert_eq!(Template::text(text), Err(TemplateError::Unknown(text.to_owned())));
    }
    assert_eq!(Template::text("for $user.id"), Err(TemplateError::Inside("for $user.id".to_owned())));
    for name in ValueName::all() {
        assert_eq!(Template::text(&name.to_string()), Ok(Template::Value(name)));
    }
}

#[test]
fn a_member_without_a_value_is_left_out() {
    let user = UserValues { id: "7".to_owned(), username: Some("ada".to_owned()), ..UserValues::default() };
    let values = Values { user: Some(&user), expires_in: Some(300), ..Values::default() };
    let written = json!({"a": {"id": "$user.id", "mail": "$user.email"}, "b": ["$kind", "$expires_in"], "c": "$access_token"});
    assert_eq!(rendered(&written, &values), r#"{"a":{"id":"7"},"b":[300]}"#);
    assert_eq!(rendered(&json!("$kind"), &values), "null");
}

#[test]
fn members_keep_the_order_in_which_they_are_written() {
    let member = |key: &str, text: &str| (key.into(), Template::text(text).expect("a text"));
    let template = Template::Object(vec![member("token", "$access_token"), member("refreshToken", "$refresh_token")]);
    let values = Values { access_token: Some("a"), refresh_token: Some("r"), ..Values::default() };
    let text = template.render(&Scope::Success { values: &values, item: None });
    assert_eq!(String::from_utf8(text).expect("UTF-8"), r#"{"token":"a","refreshToken":"r"}"#);
}

#[test]
fn a_value_cannot_break_out_of_its_place() {
    let values = Values { kind: Some("x\",\"admin\":true,\"y\":\"$user.id"), ..Values::default() };
    let text = rendered(&json!({"k": "$kind"}), &values);
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), json!({"k": values.kind}));
}

fn literal() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(|n| Value::from(Number::from(n))),
        "[^$]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn a_template_without_values_is_itself(value in literal()) {
        let text = rendered(&value, &Values::default());
        prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }

    #[test]
    fn any_text_is_a_template_or_refused(text in "[$a-z._ ]{0,12}") {
        if let Ok(Template::Literal(Value::String(literal))) = Template::text(&text) {
            prop_assert_eq!(literal, text.replace("$$", "$"));
        }
    }

    #[test]
    fn any_value_comes_through_as_it_is(token in "\\PC{0,24}") {
        let values = Values { access_token: Some(&token), ..Values::default() };
        let text = rendered(&json!({"t": "$access_token"}), &values);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), json!({"t": token}));
    }
}
