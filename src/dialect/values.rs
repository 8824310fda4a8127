//! The values of an operation, as templates see them: what a success yields, and what can be said about a refusal.

use std::fmt;

use serde_json::{Map, Value};

use super::inputs::InputFault;
use super::route::DialectRoute;
use super::template::{UserField, ValueName};
use crate::identity::user::{Role, User};

/// What a successful operation yields. What it does not yield is left out, also of the answer.
#[derive(Clone, Copy, Default)]
pub struct Values<'a> {
    /// The access token.
    pub access_token: Option<&'a str>,
    /// Its life, in seconds.
    pub expires_in: Option<u64>,
    /// The refresh token.
    pub refresh_token: Option<&'a str>,
    /// Its life, in seconds.
    pub refresh_expires_in: Option<u64>,
    /// The user whom it is about.
    pub user: Option<&'a UserValues>,
    /// The users, for `each = "$users"`.
    pub users: &'a [UserValues],
    /// Everything that an access token says.
    pub claims: Option<&'a Value>,
    /// The kind of a one-time token.
    pub kind: Option<&'a str>,
    /// What a one-time token carries.
    pub metadata: Option<&'a Value>,
}

/// What can be told about a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserValues {
    /// `sub`.
    pub id: String,
    /// As typed.
    pub username: Option<String>,
    /// As typed.
    pub email: Option<String>,
    /// Profile.
    pub given_name: Option<String>,
    /// Profile.
    pub family_name: Option<String>,
    /// In order.
    pub roles: Vec<String>,
}

/// What can be said about a refusal.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorValues<'a> {
    /// A sentence; made of `faults` unless given, and without either the kind of refusal in words.
    pub message: Option<&'a str>,
    /// The inputs that break rules.
    pub faults: &'a [InputFault],
}

impl fmt::Debug for Values<'_> {
    /// No token is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("user", &self.user).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl From<&User> for UserValues {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username.as_ref().map(|name| name.as_typed().to_owned()),
            email: user.email.as_ref().map(|email| email.as_typed().to_owned()),
            given_name: user.given_name.clone(),
            family_name: user.family_name.clone(),
            roles: user.roles.iter().map(|role| Role::as_str(role).to_owned()).collect(),
        }
    }
}

impl UserValues {
    fn get(&self, field: UserField) -> Option<Value> {
        match field {
            UserField::Id => Some(self.id.as_str().into()),
            UserField::Username => self.username.as_deref().map(Into::into),
            UserField::Email => self.email.as_deref().map(Into::into),
            UserField::GivenName => self.given_name.as_deref().map(Into::into),
            UserField::FamilyName => self.family_name.as_deref().map(Into::into),
            UserField::Roles => Some(self.roles.clone().into()),
        }
    }
}

/// Where a template gets its values from.
pub(super) enum Scope<'a> {
    /// A success; `item` is the user of this element of an answer with `each`.
    Success { values: &'a Values<'a>, item: Option<&'a UserValues> },
    /// A refusal, on a route or of a proxied request.
    Refusal { code: &'a str, error: &'a ErrorValues<'a>, route: Option<&'a DialectRoute> },
}

impl Scope<'_> {
    pub(super) fn get(&self, name: ValueName) -> Option<Value> {
        match self {
            Self::Success { values, item } => match name {
                ValueName::AccessToken => values.access_token.map(Into::into),
                ValueName::RefreshToken => values.refresh_token.map(Into::into),
                ValueName::TokenType => values.access_token.map(|_| "Bearer".into()),
                ValueName::ExpiresIn => values.expires_in.map(Into::into),
                ValueName::RefreshExpiresIn => values.refresh_expires_in.map(Into::into),
                ValueName::Claims => values.claims.cloned(),
                ValueName::Kind => values.kind.map(Into::into),
                ValueName::Metadata => values.metadata.cloned(),
                ValueName::User(field) => values.user?.get(field),
                ValueName::Item(field) => (*item)?.get(field),
                ValueName::ErrorMessage | ValueName::ErrorCode | ValueName::ErrorFields => None,
            },
            Self::Refusal { code, error, route } => match name {
                ValueName::ErrorMessage => Some(message(code, error, *route).into()),
                ValueName::ErrorCode => Some((*code).into()),
                ValueName::ErrorFields => Some(fields(error.faults, *route)),
                _ => None,
            },
        }
    }
}

fn message(code: &str, error: &ErrorValues<'_>, route: Option<&DialectRoute>) -> String {
    if let Some(message) = error.message {
        return message.to_owned();
    }
    let sentences: Vec<String> = error.faults.iter().map(|fault| fault.sentence(client_name(fault, route))).collect();
    if sentences.is_empty() { super::errors::title(code).to_owned() } else { sentences.join(". ") }
}

/// `{"confirmPassword": ["Passwords must match"]}`
fn fields(faults: &[InputFault], route: Option<&DialectRoute>) -> Value {
    let mut fields = Map::new();
    for fault in faults {
        let name = client_name(fault, route);
        let sentences = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(sentences) = sentences {
            sentences.push(fault.sentence(name).into());
        }
    }
    fields.into()
}

/// What the client calls an input: it never heard of our names.
fn client_name<'a>(fault: &'a InputFault, route: Option<&'a DialectRoute>) -> &'a str {
    let place = route.and_then(|route| {
        let input = super::operation::Input::parse(&fault.input)?;
        route.inputs.get(&input)?.first()
    });
    place.map_or(&*fault.input, |place| place.name())
}
