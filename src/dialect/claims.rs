//! Claims that the access tokens of a dialect carry besides the standard ones.

use serde_json::{Map, Value};

use super::template::{Template, UserField, ValueName};
use super::values::{Scope, UserValues, Values};

/// Claims by name, each a template over `$user.…`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims(pub Vec<(Box<str>, Template)>);

/// Claims that decide something, here or where our tokens are verified: of RFC 7519, 7800, 8693, 9068 and OpenID Connect.
const RESERVED: &[&str] = &[
    "iss",
    "aud",
    "sub",
    "sid",
    "jti",
    "iat",
    "nbf",
    "exp",
    "auth_time",
    "roles",
    "preferred_username",
    "email",
    "scope",
    "client_id",
    "cnf",
    "act",
    "may_act",
    "acr",
    "amr",
    "azp",
    "nonce",
    "entitlements",
    "groups",
];

impl Claims {
    /// The claims of a user's token. None overrides a standard one: `check` saw to it.
    #[must_use]
    pub fn render(&self, user: &UserValues) -> Map<String, Value> {
        let values = Values { user: Some(user), ..Values::default() };
        let scope = Scope::Success { values: &values, item: None };
        self.0.iter().filter_map(|(name, template)| Some((name.to_string(), template.value(&scope)?))).collect()
    }
}

/// Whether a claim may be called so. One that says what the standard claim says anyway does no harm.
pub(super) fn may_be(name: &str, template: &Template) -> bool {
    let same = match name {
        "sub" => Some(UserField::Id),
        "preferred_username" => Some(UserField::Username),
        "email" => Some(UserField::Email),
        "roles" => Some(UserField::Roles),
        _ => None,
    };
    !RESERVED.contains(&name) || same.is_some_and(|field| *template == Template::Value(ValueName::User(field)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_made_of_what_is_known_about_the_user() {
        let claim = |name: &str, text: &str| (name.into(), Template::text(text).unwrap());
        let claims =
            Claims(vec![claim("username", "$user.username"), claim("type", "access"), claim("firstName", "$user.given_name")]);
        let user = UserValues { id: "7".to_owned(), username: Some("ada".to_owned()), ..UserValues::default() };
        assert_eq!(Value::from(claims.render(&user)), json!({"username": "ada", "type": "access"}));
    }

    #[test]
    fn a_claim_may_repeat_a_standard_one_and_not_replace_it() {
        let template = |text| Template::text(text).unwrap();
        assert!(may_be("roles", &template("$user.roles")) && may_be("email", &template("$user.email")));
        assert!(may_be("username", &template("$user.username")) && may_be("id", &template("$user.id")));
        for (name, text) in [("roles", "admin"), ("sub", "$user.username"), ("exp", "9"), ("scope", "all"), ("jti", "$user.id")] {
            assert!(!may_be(name, &template(text)), "{name}");
        }
    }
}
