//! Templates: JSON in which a text like `$access_token` stands for a value. Members keep the order in which they were
//! written, and a member whose value is not there is left out.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

use super::operation::words;
use super::values::Scope;

/// What an answer or a claim looks like.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// As it is.
    Literal(Value),
    /// A value.
    Value(ValueName),
    /// In order.
    Array(Vec<Template>),
    /// In order.
    Object(Vec<(Box<str>, Template)>),
}

/// A value that a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueName {
    /// `$access_token`
    AccessToken,
    /// `$refresh_token`
    RefreshToken,
    /// `$token_type`: always `Bearer`.
    TokenType,
    /// `$expires_in`: the access token's life, in seconds.
    ExpiresIn,
    /// `$refresh_expires_in`: the refresh token's life, in seconds.
    RefreshExpiresIn,
    /// `$claims`: everything that the access token says.
    Claims,
    /// `$kind` of a one-time token.
    Kind,
    /// `$metadata` of a one-time token.
    Metadata,
    /// `$user.id` and so on.
    User(UserField),
    /// `$item.username` and so on, in an answer with `each`.
    Item(UserField),
    /// `$error.message`: what is wrong, as a sentence.
    ErrorMessage,
    /// `$error.code`: our word for it.
    ErrorCode,
    /// `$error.fields`: the client's own names of what it sent, each with its list of sentences.
    ErrorFields,
}

words! {
    /// What can be told about a user. There is no way to name a hash.
    UserField {
        /// `sub`.
        Id = "id",
        /// As typed.
        Username = "username",
        /// As typed.
        Email = "email",
        /// Profile.
        GivenName = "given_name",
        /// Profile.
        FamilyName = "family_name",
        /// A list.
        Roles = "roles",
    }
}

/// Why a text cannot stand in a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No operation has such a value.
    #[error("there is no value {0:?}")]
    Unknown(String),
    /// A value in the middle of a text.
    #[error("a value stands alone, not inside of text: {0:?}")]
    Inside(String),
}

impl Template {
    /// A text: a value if it begins with `$`, else itself. `$$` is a dollar sign.
    ///
    /// # Errors
    /// It names a value that does not exist, or has one inside.
    pub fn text(written: &str) -> Result<Self, TemplateError> {
        if let Some(name) = written.strip_prefix('$').filter(|rest| begins_a_name(rest)) {
            return ValueName::parse(name).map(Self::Value).ok_or_else(|| TemplateError::Unknown(written.to_owned()));
        }
        let plain = written.replace("$$", "");
        if plain.match_indices('$').any(|(at, _)| begins_a_name(&plain[at + 1..])) {
            return Err(TemplateError::Inside(written.to_owned()));
        }
        Ok(Self::Literal(written.replace("$$", "$").into()))
    }

    /// Every value in it, with the way to it from here.
    pub(super) fn values(&self) -> Vec<(Vec<TemplateStep>, ValueName)> {
        let inside = |step: TemplateStep, template: &Self| {
            let below = template.values().into_iter();
            below.map(move |(path, name)| ([vec![step.clone()], path].concat(), name)).collect::<Vec<_>>()
        };
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Value(name) => vec![(Vec::new(), *name)],
            Self::Array(elements) => {
                elements.iter().enumerate().flat_map(|(index, element)| inside(TemplateStep::Index(index), element)).collect()
            }
            Self::Object(members) => {
                members.iter().flat_map(|(key, member)| inside(TemplateStep::Key(key.clone()), member)).collect()
            }
        }
    }

    /// The JSON text.
    pub(super) fn render(&self, scope: &Scope<'_>) -> Vec<u8> {
        serde_json::to_vec(&Rendered { template: self, scope }).expect("a template is JSON with texts for names")
    }

    /// The JSON value; none if the template is one value that is not there.
    pub(super) fn value(&self, scope: &Scope<'_>) -> Option<Value> {
        let rendered = Rendered { template: self, scope };
        rendered.exists().then(|| serde_json::to_value(&rendered).expect("a template is JSON with texts for names"))
    }
}

/// One step into a template.
pub(super) use super::fault::FaultStep as TemplateStep;

/// A template with its values.
struct Rendered<'a> {
    template: &'a Template,
    scope: &'a Scope<'a>,
}

impl<'a> Rendered<'a> {
    fn inside(&self, template: &'a Template) -> Self {
        Self { template, scope: self.scope }
    }

    fn exists(&self) -> bool {
        !matches!(self.template, Template::Value(name) if self.scope.get(*name).is_none())
    }
}

impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.template {
            Template::Literal(value) => value.serialize(serializer),
            Template::Value(name) => self.scope.get(*name).serialize(serializer),
            Template::Array(elements) => {
                let mut array = serializer.serialize_seq(None)?;
                for element in elements.iter().map(|element| self.inside(element)).filter(Rendered::exists) {
                    array.serialize_element(&element)?;
                }
                array.end()
            }
            Template::Object(members) => {
                let mut object = serializer.serialize_map(None)?;
                for (key, member) in members.iter().map(|(key, member)| (key, self.inside(member))) {
                    if member.exists() {
                        object.serialize_entry(&**key, &member)?;
                    }
                }
                object.end()
            }
        }
    }
}

fn begins_a_name(rest: &str) -> bool {
    rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

impl ValueName {
    /// The value called so, without the `$`.
    fn parse(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|value| value.to_string()[1..] == *name)
    }

    /// Every value there is.
    #[must_use]
    pub fn all() -> Vec<Self> {
        use ValueName::*;
        let plain = [AccessToken, RefreshToken, TokenType, ExpiresIn, RefreshExpiresIn, Claims, Kind, Metadata];
        let error = [ErrorMessage, ErrorCode, ErrorFields];
        let of_users = UserField::ALL.iter().flat_map(|field| [User(*field), Item(*field)]);
        plain.into_iter().chain(error).chain(of_users).collect()
    }
}

impl fmt::Display for ValueName {
    /// As it is written, with its `$`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessToken => "$access_token",
            Self::RefreshToken => "$refresh_token",
            Self::TokenType => "$token_type",
            Self::ExpiresIn => "$expires_in",
            Self::RefreshExpiresIn => "$refresh_expires_in",
            Self::Claims => "$claims",
            Self::Kind => "$kind",
            Self::Metadata => "$metadata",
            Self::ErrorMessage => "$error.message",
            Self::ErrorCode => "$error.code",
            Self::ErrorFields => "$error.fields",
            Self::User(field) => return write!(f, "$user.{}", field.word()),
            Self::Item(field) => return write!(f, "$item.{}", field.word()),
        })
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
