//! Secrets that may stand in the file, in the environment or in a file of their own. Only here and in
//! [`Environment::of_process`] does anything read the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

/// A secret as the file names it. Not serialisable, and its `Debug` shows no value.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("examples" = ["text", {"env": "DATABASE_URL"}, {"file": "/run/secrets/database-url"}]))]
pub enum SecretText {
    /// The value itself.
    Value(String),
    /// The name of an environment variable that holds it.
    Env(FromEnv),
    /// The path of a file that holds it; white space at its ends is dropped.
    File(FromFile),
}

/// `{ env = "DATABASE_URL" }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromEnv {
    /// The variable's name.
    pub env: String,
}

/// `{ file = "/run/secrets/database-url" }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromFile {
    /// The file's path; a relative one is under the data directory.
    pub file: PathBuf,
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(redacted)"),
            Self::Env(from) => from.fmt(f),
            Self::File(from) => from.fmt(f),
        }
    }
}

/// The variables of the process, read once, so that a configuration is a function of its arguments.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Environment {
    /// Names only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 cannot be meant for us.
    #[must_use]
    pub fn of_process() -> Self {
        let text =
            |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// The variable called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Variables whose name begins with `prefix`, in order of their names, without it.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    /// The environment does not have it.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing, or only white space.
    #[error("the secret is empty")]
    Empty,
}

impl SecretText {
    /// The secret itself. Relative files are under `data_dir`.
    pub(super) fn resolve(&self, environment: &Environment, data_dir: &Path) -> Result<SecretString, SecretError> {
        let text = match self {
            Self::Value(value) => value.clone(),
            Self::Env(from) => {
                environment.get(&from.env).ok_or_else(|| SecretError::NotSet(from.env.clone())).map(str::to_owned)?
            }
            Self::File(from) => {
                let path = data_dir.join(&from.file);
                std::fs::read_to_string(&path).map_err(|source| SecretError::Unreadable { path, source })?
            }
        };
        // An editor's newline at the end of a secret file is not part of the secret.
        let text = text.trim();
        if text.is_empty() { Err(SecretError::Empty) } else { Ok(text.into()) }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn env(name: &str) -> SecretText {
        SecretText::Env(FromEnv { env: name.to_owned() })
    }

    #[test]
    fn a_secret_comes_from_the_file_the_environment_or_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("url"), "redis://c\n").unwrap();
        let environment: Environment = [("REDIS", "redis://b")].into_iter().collect();
        let file = SecretText::File(FromFile { file: "url".into() });
        for (secret, value) in
            [(SecretText::Value("redis://a".into()), "redis://a"), (env("REDIS"), "redis://b"), (file, "redis://c")]
        {
            assert_eq!(secret.resolve(&environment, dir.path()).unwrap().expose_secret(), value);
        }
    }

    #[test]
    fn a_missing_secret_is_named_and_an_empty_one_is_refused() {
        let environment: Environment = [("EMPTY", " ")].into_iter().collect();
        let dir = Path::new("/nonexistent");
        assert!(matches!(env("ABSENT").resolve(&environment, dir), Err(SecretError::NotSet(name)) if name == "ABSENT"));
        assert!(matches!(env("EMPTY").resolve(&environment, dir), Err(SecretError::Empty)));
        let file = SecretText::File(FromFile { file: "url".into() });
        assert!(file.resolve(&environment, dir).unwrap_err().to_string().starts_with("cannot read /nonexistent/url"));
    }

    #[test]
    fn no_secret_is_shown_by_debug() {
        let environment: Environment = [("REDIS", "hunter2")].into_iter().collect();
        let shown = format!("{:?} {environment:?}", SecretText::Value("hunter2".into()));
        assert!(!shown.contains("hunter2") && shown.contains("REDIS"), "{shown}");
    }
}
