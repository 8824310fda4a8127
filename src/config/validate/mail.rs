//! `[auth.one_time]`, `[auth.links]` and `[auth.mail]`: links that lead where people reach the gateway, and mail
//! that can be sent.

use std::path::Path as FilePath;
use std::time::Duration;

use http::Uri;
use secrecy::{ExposeSecret as _, SecretString};

use super::store::{scheme, secret};
use super::{Check, DAY, HOUR, SECOND};
use crate::config::file;
use crate::config::place::Path;
use crate::config::{Links, Mail, MailTransport, OneTime};
use crate::dialect::Link;
use crate::mail::Sender;
use crate::mail::templates::Templates;

const MINUTE: Duration = Duration::from_secs(60);
/// A mail server that takes longer for one answer is not going to give it.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

pub(super) fn one_time(check: &mut Check<'_>, path: &Path, file: &file::OneTime) -> OneTime {
    let password_reset = check.duration(&path.key("password_reset"), &file.password_reset, MINUTE..=DAY);
    if password_reset > HOUR {
        let message = "whoever reads an old mail can set a password for longer than an hour";
        check.warn(&path.key("password_reset"), message, "\"1h\" is the default; who is late asks again");
    }
    OneTime {
        password_reset,
        email_verification: check.duration(&path.key("email_verification"), &file.email_verification, MINUTE..=30 * DAY),
        invitation: check.duration(&path.key("invitation"), &file.invitation, MINUTE..=90 * DAY),
        // OWASP ASVS 5.0 §6.5.5: what is sent out of band is good for ten minutes.
        reauthentication: check.duration(&path.key("reauthentication"), &file.reauthentication, MINUTE..=HOUR),
    }
}

/// Scheme, host and perhaps a path, without a slash at its end.
pub(super) fn public_url(check: &mut Check<'_>, path: &Path, text: Option<&str>) -> Option<String> {
    const HELP: &str = "write it like \"https://app.example.com\"";
    let text = text?.trim_end_matches('/');
    let uri: Option<Uri> = text.parse().ok();
    let fits = |uri: &Uri| {
        let clean = !text.contains(['?', '#', '@', '$']) && text.bytes().all(|byte| byte.is_ascii_graphic());
        clean && matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    };
    let Some(uri) = uri.filter(fits) else {
        check.refuse(path, "is not the address of a site", HELP);
        return None;
    };
    if uri.scheme_str() == Some("http") && !LOOPBACK.contains(&uri.host().unwrap_or_default()) {
        check.refuse(path, "links would send their tokens without TLS", HELP);
        return None;
    }
    Some(text.to_owned())
}

pub(super) fn links(check: &mut Check<'_>, path: &Path, file: &file::Links, public_url: Option<&str>) -> Option<Links> {
    let mut link = |key: &str, text: &str| {
        // Checked also where nothing is known to put in front.
        let whole = if text.starts_with('/') {
            format!("{}{text}", public_url.unwrap_or("https://public-url.invalid"))
        } else {
            text.to_owned()
        };
        check.parsed(&path.key(key), Link::parse(&whole), "write it like \"/reset-password#token=$token\"")
    };
    let password_reset = link("password_reset", &file.password_reset);
    let email_verification = link("email_verification", &file.email_verification);
    let invitation = link("invitation", &file.invitation);
    let reauthentication = link("reauthentication", &file.reauthentication);
    public_url?;
    Some(Links {
        password_reset: password_reset?,
        email_verification: email_verification?,
        invitation: invitation?,
        reauthentication: reauthentication?,
    })
}

/// `[auth.mail]`; `path` is that of `[auth]`.
pub(super) fn mail(check: &mut Check<'_>, auth: &Path, file: &file::Mail, public_url: Option<&str>) -> Option<Mail> {
    let path = auth.key("mail");
    let timeout = check.duration(&path.key("timeout"), &file.timeout, SECOND..=TIMEOUT_MAX);
    let templates = templates(check, &path.key("templates"), file);
    let from = file.from.as_deref().and_then(|from| {
        check.parsed(&path.key("from"), Sender::parse(from), "write it like \"Example <no-reply@example.com>\"")
    });
    let transport = match file.transport {
        file::MailTransport::None => return None,
        file::MailTransport::File => MailTransport::Files(check.data_dir.join(&file.directory)),
        file::MailTransport::Smtp => smtp(check, &path, file, timeout)?,
    };
    if file.from.is_none() {
        check.refuse(&path.key("from"), "mail needs a sender", "add `from = \"Example <no-reply@example.com>\"`");
    }
    if public_url.is_none() && !check.has_problem(&auth.key("public_url")) {
        let message = "mail is to be sent, and its links need to know where people reach this gateway";
        check.refuse(&auth.key("public_url"), message, "add `public_url = \"https://app.example.com\"` to [auth]");
    }
    Some(Mail {
        transport,
        from: from?,
        templates: templates?,
        service: public_url?.split_once("://").map(|(_, rest)| rest.to_owned())?,
        queue: usize::try_from(file.queue).unwrap_or(usize::MAX),
        per_address: usize::try_from(file.per_address).unwrap_or(usize::MAX),
    })
}

fn templates(check: &mut Check<'_>, path: &Path, file: &file::Mail) -> Option<Templates> {
    let Some(directory) = &file.templates else { return Some(Templates::built_in()) };
    let read = Templates::with(&FilePath::new(check.data_dir).join(directory));
    check.parsed(path, read, "begin a template with `Subject: …` and an empty line, and show {{ link }} in it")
}

fn smtp(check: &mut Check<'_>, path: &Path, file: &file::Mail, timeout: Duration) -> Option<MailTransport> {
    const HELP: &str = "write it like \"smtp://user:password@mail.example.com\" (STARTTLS) or \"smtps://…\"";
    let at = path.key("url");
    let Some(text) = &file.url else {
        check.refuse(&at, "SMTP needs a mail server", "add `url = { env = \"SMTP_URL\" }`, like \"smtp://user:password@host\"");
        return None;
    };
    let url = secret(check, &at, text);
    if url.expose_secret().is_empty() {
        return None; // Reported already.
    }
    let Some(host) = host(&url) else {
        check.refuse(&at, "this is not the URL of a mail server", HELP);
        return None;
    };
    // A server on this very machine is spoken to in clear, as everybody does; any other one only on demand.
    let clear = scheme(url.expose_secret()) == "smtp" && (LOOPBACK.contains(&&*host) || file.insecure_plaintext);
    Some(MailTransport::Smtp { url, clear, timeout })
}

/// The host, if that is the URL of a mail server and nothing else: options are keys of the file.
fn host(url: &SecretString) -> Option<String> {
    let uri: Uri = url.expose_secret().parse().ok()?;
    let bare = uri.query().is_none() && matches!(uri.path(), "" | "/") && !url.expose_secret().contains('#');
    let host = uri.host().filter(|host| !host.is_empty())?;
    (bare && matches!(uri.scheme_str(), Some("smtp" | "smtps"))).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_is_named_by_its_url_alone() {
        for (url, expected) in [
            ("smtp://mail.example.com", Some("mail.example.com")),
            ("smtps://u:p%40ss@mail.example.com:465", Some("mail.example.com")),
            ("smtp://[::1]:2525", Some("[::1]")),
            ("smtp://mail.example.com?tls=opportunistic", None),
            ("smtp://mail.example.com/helo", None),
            ("https://mail.example.com", None),
            ("smtp://", None),
            ("mail.example.com", None),
        ] {
            assert_eq!(host(&url.into()).as_deref(), expected, "{url}");
        }
    }
}
