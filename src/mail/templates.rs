//! The words of letters: Jinja templates, built in, and replaced by files that an operator keeps in a directory.
//!
//! `password_reset.txt` begins with the line `Subject: …` and an empty line; `password_reset.html` beside it is
//! sent along if there is one. Templates know `link`, `email`, `name` (may be unset), `expires` and `service`.
//! Each is tried out when it is read, so that a mistake is found before the first mail.

use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use super::LetterKind;

/// The largest template, in bytes: more is a file of another kind.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1024;

/// The templates of every letter.
#[derive(Debug, Clone)]
pub struct Templates(Environment<'static>);

/// What a letter's templates are told.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// Whoever has it can use it.
    pub(super) link: &'a str,
    pub(super) email: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) expires: &'a str,
    pub(super) service: &'a str,
}

/// A letter in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Worded {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: Option<String>,
}

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a template, or names what no letter has.
    #[error("{name}: {}", said(source))]
    Template {
        /// The template.
        name: String,
        /// Why.
        source: minijinja::Error,
    },
    /// It does not begin with its subject.
    #[error("{0}: must begin with a line `Subject: …` and an empty line")]
    Subject(String),
    /// It lacks what it is for.
    #[error("{0}: does not show {{{{ link }}}}")]
    Link(String),
    /// No letter has templates of this name.
    #[error("{}: no letter has a template of this name; there are password_reset, email_verification, invitation and reauthentication, each .txt and .html", .0.display())]
    Unknown(PathBuf),
}

/// What the engine says, without the text around it.
fn said(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{line}{}{}", error.kind(), error.detail().map(|detail| format!(", {detail}")).unwrap_or_default())
}

impl Templates {
    /// The built-in ones.
    #[must_use]
    pub fn built_in() -> Self {
        let mut engine = Environment::new();
        // A misspelt name must not become an empty place in a mail.
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
        for kind in LetterKind::ALL {
            let text = match kind {
                LetterKind::PasswordReset => include_str!("templates/password_reset.txt"),
                LetterKind::EmailVerification => include_str!("templates/email_verification.txt"),
                LetterKind::Invitation => include_str!("templates/invitation.txt"),
                LetterKind::Reauthentication => include_str!("templates/reauthentication.txt"),
            };
            engine.add_template_owned(text_name(kind), text).expect("the built-in templates are templates");
        }
        Self(engine)
    }

    /// The built-in ones, with those that `directory` has in their place.
    ///
    /// # Errors
    /// A file cannot be read, is not a template, or belongs to no letter.
    pub fn with(directory: &Path) -> Result<Self, TemplateError> {
        let mut templates = Self::built_in();
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| TemplateError::Read { path, source }
        };
        let ours: Vec<String> = LetterKind::ALL.into_iter().flat_map(|kind| [text_name(kind), html_name(kind)]).collect();
        for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
            let path = entry.map_err(unreadable(directory))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Kubernetes mounts have `..data`, editors leave `.password_reset.txt.swp`.
            if name.starts_with('.') {
                continue;
            }
            if !ours.contains(&name) {
                return Err(TemplateError::Unknown(path));
            }
            let text = read(&path).map_err(unreadable(&path))?;
            let added = templates.0.add_template_owned(name.clone(), text);
            added.map_err(|source| TemplateError::Template { name, source })?;
        }
        LetterKind::ALL.into_iter().try_for_each(|kind| templates.try_out(kind))?;
        Ok(templates)
    }

    /// Words a sample letter.
    fn try_out(&self, kind: LetterKind) -> Result<(), TemplateError> {
        const LINK: &str = "https://sample.example/#sample";
        for name in [None, Some("Ada")] {
            let facts = Facts { link: LINK, email: "ada@sample.example", name, expires: "never", service: "sample" };
            let worded = self.word(kind, &facts)?;
            if !worded.text.contains(LINK) {
                return Err(TemplateError::Link(text_name(kind)));
            }
        }
        Ok(())
    }

    /// Words a letter.
    pub(super) fn word(&self, kind: LetterKind, facts: &Facts<'_>) -> Result<Worded, TemplateError> {
        let values = context! {
            link => facts.link, email => facts.email, name => facts.name,
            expires => facts.expires, service => facts.service,
        };
        let rendered = |name: String| {
            let template = self.0.get_template(&name).and_then(|template| template.render(values.clone()));
            template.map_err(|source| TemplateError::Template { name, source })
        };
        let written = rendered(text_name(kind))?;
        let no_subject = || TemplateError::Subject(text_name(kind));
        let (first, rest) = written.split_once('\n').ok_or_else(no_subject)?;
        let subject = first.strip_prefix("Subject:").map(str::trim).filter(|subject| !subject.is_empty());
        let text = rest.trim_end_matches('\r').strip_prefix('\n').or_else(|| rest.strip_prefix("\r\n"));
        let html = html_name(kind);
        let html = if self.0.templates().any(|(name, _)| name == html) { Some(rendered(html)?) } else { None };
        Ok(Worded { subject: subject.ok_or_else(no_subject)?.to_owned(), text: text.ok_or_else(no_subject)?.to_owned(), html })
    }
}

fn text_name(kind: LetterKind) -> String {
    format!("{}.txt", kind.as_str())
}

fn html_name(kind: LetterKind) -> String {
    format!("{}.html", kind.as_str())
}

fn read(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > TEMPLATE_BYTES_MAX {
        return Err(std::io::Error::other("the file is too large for a template"));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts {
        link: "https://app.example.com/r#token=abc",
        email: "ada@example.com",
        name: Some("<b>Ada</b>"),
        expires: "2027-01-01 00:00 UTC",
        service: "app.example.com",
    };

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn every_built_in_letter_says_what_its_reader_needs() {
        let templates = Templates::built_in();
        for kind in LetterKind::ALL {
            templates.try_out(kind).unwrap();
            let words = templates.word(kind, &FACTS).unwrap();
            for fact in [FACTS.link, FACTS.email, FACTS.expires, FACTS.service] {
                assert!(words.text.contains(fact), "{kind:?} {fact}: {}", words.text);
            }
            assert!(!words.subject.is_empty() && words.html.is_none());
        }
    }

    #[test]
    fn a_file_replaces_the_built_in_letter_of_its_name_only() {
        let files = [
            ("invitation.txt", "Subject: Come in\n\nHere: {{ link }}\n"),
            ("invitation.html", "<p>{{ name }} <a href=\"{{ link }}\">in</a>"),
            (".invitation.txt.swp", "{{ rubbish"),
        ];
        let templates = Templates::with(directory(&files).path()).unwrap();
        let words = templates.word(LetterKind::Invitation, &FACTS).unwrap();
        assert_eq!((&*words.subject, &*words.text), ("Come in", "Here: https://app.example.com/r#token=abc"));
        let html = words.html.unwrap();
        assert!(html.contains("&lt;b&gt;Ada") && !html.contains("<b>"), "{html}");
        let other = Templates::built_in().word(LetterKind::PasswordReset, &FACTS).unwrap();
        assert_eq!(templates.word(LetterKind::PasswordReset, &FACTS).unwrap(), other);
    }

    #[test]
    fn a_template_that_cannot_be_used_is_refused_when_it_is_read() {
        for (name, text, words) in [
            ("invitation.txt", "Subject: x\n\n{{ link", "line 3"),
            ("invitation.txt", "Subject: x\n\n{{ link }} {{ lnik }}", "undefined"),
            ("invitation.txt", "{{ link }}", "must begin with"),
            ("invitation.txt", "Subject: x\n{{ link }}", "must begin with"),
            ("invitation.txt", "Subject:\n\n{{ link }}", "must begin with"),
            ("invitation.txt", "Subject: x\n\nno way in", "does not show {{ link }}"),
            ("invitation.html", "{% if %}", "line 1"),
            ("welcome.txt", "", "no letter has a template of this name"),
        ] {
            let error = Templates::with(directory(&[(name, text)]).path()).expect_err(text).to_string();
            assert!(error.contains(words) && error.contains(name), "{text:?}: {error}");
        }
        assert!(Templates::with(Path::new("/nonexistent")).is_err());
    }
}
