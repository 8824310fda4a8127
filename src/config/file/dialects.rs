//! `[[dialects]]` as it is written. What the texts mean is the business of `crate::dialect`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::config::units::DurationText;

/// `[[dialects]]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "match", "routes"]))]
pub struct Dialect {
    /// What `--set dialects.NAME.key=value` and logs call it.
    pub name: String,
    /// Which requests are in it.
    pub r#match: Match,
    /// Lives of the tokens that it issues.
    pub ttl: Ttl,
    /// Whether a refresh answers with the next refresh token.
    pub rotate: bool,
    /// Whether a refresh revokes the session's earlier access tokens.
    pub revoke_access_on_refresh: bool,
    /// Claims of its access tokens besides the standard ones; texts like "$user.username" are values.
    pub claims: BTreeMap<String, serde_json::Value>,
    /// Roles that whoever signs up may ask for.
    pub signup_roles: Vec<String>,
    /// Cookies that it sets.
    pub cookie: Cookies,
    /// Whether an expired access token passes with the live refresh cookie of its session.
    pub cookie_revives: bool,
    /// The link in mails with a one-time token, with `$token` in it.
    pub link: Option<String>,
    /// A rule for new passwords besides the gateway's own.
    pub password: Option<PasswordRule>,
    /// Pages of other origins.
    pub cors: Option<Cors>,
    /// How refusals read, by their code; "*" is any other.
    pub err: BTreeMap<String, Refusal>,
    /// What it answers itself.
    pub routes: Vec<DialectRoute>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            name: String::new(),
            r#match: Match::default(),
            ttl: Ttl::default(),
            // RFC 9700 §2.2.2: a dialect whose answers cannot carry the next refresh token says so.
            rotate: true,
            revoke_access_on_refresh: false,
            claims: BTreeMap::new(),
            signup_roles: Vec::new(),
            cookie: Cookies::default(),
            cookie_revives: false,
            link: None,
            password: None,
            cors: None,
            err: BTreeMap::new(),
            routes: Vec::new(),
        }
    }
}

/// `match` of a dialect; all that is given must hold.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The port of the listener.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// `api.example.com`, or `*.example.com` for any name under it.
    pub host: Option<String>,
    /// Path prefix; whole segments must match.
    pub prefix: Option<String>,
}

/// `ttl` of a dialect.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ttl {
    /// Of an access token; `auth.access_token` unless set.
    pub access: Option<DurationText>,
    /// Of a refresh token; `auth.refresh_token` unless set.
    pub refresh: Option<DurationText>,
}

/// `cookie` of a dialect.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cookies {
    /// Carries the refresh token.
    pub refresh: Option<Cookie>,
    /// Carries the ticket of a redeemed one-time token.
    pub ticket: Option<Cookie>,
}

/// A cookie; always `HttpOnly`.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// The paths that it is sent to.
    pub path: String,
    /// Whether it is sent from pages of other sites.
    pub same_site: SameSite,
    /// Whether it is sent over TLS only.
    pub secure: bool,
    /// How long the browser keeps it; until it is closed unless set.
    pub max_age: Option<DurationText>,
}

impl Default for Cookie {
    fn default() -> Self {
        Self { name: String::new(), path: "/".to_owned(), same_site: SameSite::Strict, secure: true, max_age: None }
    }
}

/// Whether a cookie is sent from pages of other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SameSite {
    /// Never.
    Strict,
    /// When the user follows a link.
    Lax,
    /// Always.
    None,
}

/// `password` of a dialect.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordRule {
    /// The fewest characters; `auth.password.min_length` unless set.
    #[schemars(range(max = 64))]
    pub min: Option<u32>,
    /// How many of: lower case, upper case, digits, `!@#$%^&*`.
    #[schemars(range(max = 4))]
    pub classes: u8,
}

/// `cors` of a dialect.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["origins"]))]
pub struct Cors {
    /// The origins, as browsers send them.
    pub origins: Vec<String>,
}

/// `[[dialects.routes]]`
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["on", "do", "ok"]))]
pub struct DialectRoute {
    /// Method and path, like "POST /login"; or several.
    pub on: OneOrMany,
    /// The operation that it performs.
    pub r#do: String,
    /// Where each input is: "body.x", "query.x", "cookie.x" or "bearer"; or several, tried in order.
    pub r#in: BTreeMap<String, OneOrMany>,
    /// Inputs that must be there.
    pub required: Vec<String>,
    /// How success reads.
    pub ok: Success,
    /// How refusals read here.
    pub err: BTreeMap<String, Refusal>,
    /// `login`: an unknown name is a new user.
    pub signs_up: bool,
    /// `signup`: the new user gets tokens.
    pub signs_in: bool,
    /// `list_users`: anybody may ask, for names only.
    pub public: bool,
}

/// `ok` of a route.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["status"]))]
pub struct Success {
    /// The status.
    #[schemars(range(min = 200, max = 299))]
    pub status: u16,
    /// A JSON body; texts like "$access_token" are values.
    pub json: Option<serde_json::Value>,
    /// A body of text.
    pub text: Option<String>,
    /// "$users": a JSON array with one `json` for each.
    pub each: Option<Each>,
}

/// What an answer may list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Each {
    /// The users.
    #[serde(rename = "$users")]
    Users,
}

/// An entry of `err`.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["status"]))]
pub struct Refusal {
    /// The status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// A JSON body; texts like "$error.message" are values.
    pub json: Option<serde_json::Value>,
    /// A body of text.
    pub text: Option<String>,
}

/// A text, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a text, or an array of texts",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        })
    }
}
