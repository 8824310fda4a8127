//! What is accepted, what is refused, and how the refusal reads.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::super::document::Document;
use super::super::file::{File, Route};
use super::super::problem::Severity;
use super::super::{Balance, Config, Environment, HashBy, MailTransport, Registration, UpstreamHttp, schema};
use super::*;
use crate::identity::password::PasswordPolicy;
use crate::limit::RequestLimits;
use crate::policy::access::{Access, OnUnknown};

/// The least that is accepted; a test appends what it is about.
const LEAST: &str = "[upstreams.app]\nservers = [\"http://127.0.0.1:3000\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";

fn source() -> Source {
    Source { path: "/etc/portcullis/gateway.toml".into(), ..Source::default() }
}

fn config(before: &str) -> Result<Config, Report> {
    read(&format!("{before}\n{LEAST}"), &source())
}

/// The messages of all problems with the keys they are about.
fn problems(result: Result<Config, Report>) -> Vec<String> {
    let report = result.map_or_else(|report| report, |config| config.warnings);
    report.problems().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

/// Asserts that the only problem is about `key`, refuses, and is said with these words.
fn refused(before: &str, key: &str, words: &str) {
    let report = config(before).expect_err(before);
    let errors: Vec<_> = report.problems().iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{before}\n{report}");
    assert_eq!(errors[0].path, key, "{report}");
    assert!(errors[0].message.contains(words), "{report}");
    assert!(errors[0].help.is_some() && errors[0].place.is_some(), "{report}");
}

#[test]
fn the_reference_file_is_accepted_without_a_word() {
    let config = read(EXAMPLE, &source()).expect("gateway.toml is valid");
    assert!(config.warnings.is_empty(), "{}", config.warnings);
    let access: Vec<_> = config.routes.iter().map(|route| (&*route.name, route.access, route.websocket)).collect();
    let expected = [
        ("/public", Access::Public, false),
        ("/optional", Access::Optional, false),
        ("/admin", Access::Authenticated, false),
        ("/ws", Access::Authenticated, true),
        ("/", Access::Authenticated, false),
    ];
    assert_eq!(access, expected);
    assert_eq!(config.store.url.expose_secret(), "sqlite:/etc/portcullis/data/portcullis.db");
    assert_eq!(config.auth.keys, std::path::Path::new("/etc/portcullis/data/keys.json"));
}

#[test]
fn the_reference_file_states_the_built_in_defaults() {
    let (document, syntax) = Document::parse("gateway.toml", EXAMPLE);
    let (mut file, structural) = schema::read(&document);
    assert!(syntax.is_empty() && structural.is_empty(), "{syntax:?} {structural:?}");
    let app = file.upstreams.remove("app").expect("the example's upstream");
    let built_in = super::super::file::Upstream { servers: app.servers.clone(), ..Default::default() };
    assert_eq!(app, built_in);
    let first = &file.routes[0];
    let built_in = Route { path: first.path.clone(), upstream: first.upstream.clone(), access: first.access, ..Route::default() };
    assert_eq!(*first, built_in);
    file.routes.clear();
    file.tests.clear();
    assert_eq!(file, File::default());
}

#[test]
fn the_built_in_defaults_are_those_of_the_components() {
    let config = config("").expect("the least is accepted");
    assert_eq!(config.server.limits, RequestLimits::default());
    assert_eq!(config.auth.password, PasswordPolicy::default());
}

#[test]
fn the_reference_file_names_every_key() {
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(members) => {
                if let Some(properties) = members.get("properties").and_then(|properties| properties.as_object()) {
                    found.extend(properties.keys().cloned());
                }
                members.values().for_each(|member| keys(member, found));
            }
            serde_json::Value::Array(elements) => elements.iter().for_each(|element| keys(element, found)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    keys(schema::schema(), &mut all);
    assert!(all.len() > 60, "the walk found the keys: {all:?}");
    for key in all {
        let written = |line: &str| {
            let line = line.trim_start_matches("# ");
            let (left, _) = line.split_once('=').unwrap_or((line, ""));
            left.trim() == key
                || line.contains(&format!("{{ {key} ="))
                || line.contains(&format!(", {key} ="))
                || left.trim().ends_with(&format!(".{key}"))
                || left.trim().starts_with(&format!("{key}."))
                || line.contains(&format!("[{key}"))
                || line.contains(&format!(".{key}]"))
        };
        assert!(EXAMPLE.lines().any(written), "gateway.toml does not mention `{key}`");
    }
}

#[test]
fn the_configuration_of_the_acceptance_checks_is_accepted() {
    let text = "[server]\nlisten = [\"127.0.0.1:41001\"]\nadmin = \"127.0.0.1:41002\"\n[store]\nurl = \"sqlite:/tmp/t/gate.db\"\n\
        [revocation]\nurl = \"redis://127.0.0.1:41003\"\n[upstreams.app]\nservers = [\"http://127.0.0.1:41004\"]\n\
        [[routes]]\npath = \"/public\"\nupstream = \"app\"\naccess = \"public\"\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";
    let config = read(text, &source()).expect("accepted as it is");
    assert!(config.warnings.is_empty(), "{}", config.warnings);
    assert_eq!(config.store.url.expose_secret(), "sqlite:/tmp/t/gate.db");
    assert_eq!(config.revocation.expect("configured").prefix, "");
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let text = "[server]\nlisten = [\"nowhere\"]\nthreads = \"four\"\n[auth]\nacess_token = \"5m\"\nregistration = \"opne\"\n\
        [upstreams.app]\nservers = [\"http://127.0.0.1:3000\"]\n[[routes]]\npath = \"/\"\nupstream = \"ap\"\n[[routes]]\npath = \"/x\"\n";
    let report = read(text, &source()).expect_err("much is wrong");
    let rendered = report.render(false);
    for part in [
        "server.listen[0]: \"nowhere\" is not an address",
        "server.threads: expected a whole number from 1 to 1024, found text",
        "gateway.toml:3:11",
        "auth.acess_token: unknown key",
        "did you mean `access_token`?",
        "expected one of \"open\", \"invitation\", \"closed\"",
        "did you mean \"open\"?",
        "routes[0].upstream: there is no upstream called \"ap\"",
        "did you mean \"app\"?",
        "routes[1].upstream: is missing",
        "6 errors, 1 warning",
    ] {
        assert!(rendered.contains(part), "{part:?} is missing in\n{rendered}");
    }
}

#[test]
fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
    let report = config("[server]\nregistration = \"open\"").expect_err("unknown there");
    assert_eq!(report.problems()[0].help.as_deref(), Some("`registration` belongs to [auth]"));
}

#[test]
fn listeners_that_cannot_both_be_opened_are_refused() {
    let listen = |listen: &str, admin: &str| format!("[server]\nlisten = {listen}\nadmin = \"{admin}\"");
    refused(&listen("['127.0.0.1:80', '127.0.0.1:80']", "off"), "server.listen[1]", "is taken");
    refused(&listen("['0.0.0.0:80']", "127.0.0.1:80"), "server.admin", "is taken");
    refused(&listen("[]", "off"), "server.listen", "nowhere");
    for (first, second) in [("127.0.0.1:80", "127.0.0.1:81"), ("127.0.0.1:0", "127.0.0.1:0"), ("0.0.0.0:80", "[::1]:80")] {
        assert!(config(&listen(&format!("['{first}']"), second)).is_ok(), "{first} {second}");
    }
    assert_eq!(config(&listen("['127.0.0.1:80']", "off")).expect("valid").server.admin, None);
}

#[test]
fn listeners_that_lack_what_they_need_are_refused() {
    let certificate = "[[server.tls.certificates]]\ncertificate = 'a.crt'\nkey = 'a.key'\n";
    let listener = |keys: &str| format!("[[server.listeners]]\naddress = '127.0.0.1:1'\n{keys}\n");
    for protocol in ["https", "redirect"] {
        let without = listener(&format!("protocol = '{protocol}'"));
        refused(&without, "server.listeners[0].protocol", "no certificate");
        let server = config(&(without + certificate)).expect("complete").server;
        assert_eq!(server.listen, server.listeners.iter().map(|listener| listener.address).collect::<Vec<_>>());
        assert_eq!(&*server.tls.expect("it is needed").certificates[0].name, "a.crt");
    }
    refused(&listener("proxy_protocol = true"), "server.listeners[0].proxy_protocol", "no peer is trusted");
    let trusted = "[server]\ntrusted_proxies = ['10.0.0.0/8']\n".to_owned() + &listener("proxy_protocol = true");
    assert!(config(&trusted).expect("complete").server.listeners[1].proxy_protocol);
    refused("[[server.listeners]]\naddress = '127.0.0.1:8080'", "server.listeners[0].address", "is taken");
    refused("[[server.listeners]]\naddress = '127.0.0.1:9090'", "server.admin", "is taken");
    assert_eq!(config(&("[server]\nlisten = []\n".to_owned() + &listener(""))).expect("one is enough").server.listen.len(), 1);
    assert_eq!(problems(config(certificate)), ["server.tls.certificates: no listener shows these certificates"]);
}

#[test]
fn http2_is_spoken_unless_it_is_switched_off() {
    let http2 = |keys: &str| config(&format!("[server.http2]\n{keys}")).map(|config| config.server.http2);
    assert_eq!(http2("").expect("valid"), Some(crate::config::Http2 { streams_max: 32 }));
    assert_eq!(http2("streams = 1").expect("valid"), Some(crate::config::Http2 { streams_max: 1 }));
    assert_eq!(http2("enabled = false").expect("valid"), None);
    for wrong in ["streams = 0", "streams = 1001", "streams = '32'"] {
        assert!(http2(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn certificates_by_acme_need_hosts_agreement_and_a_way_in() {
    let listener =
        |protocol: &str, port: u16| format!("[[server.listeners]]\naddress = '127.0.0.1:{port}'\nprotocol = '{protocol}'\n");
    let with = |keys: &str| format!("{}[server.acme]\nterms_of_service = true\n{keys}\n", listener("https", 1));
    let server = config(&with("hosts = ['API.example.com', 'b.example']\ncontact = ['ops@example.com']")).expect("valid").server;
    let acme = server.acme.expect("hosts are named");
    assert_eq!(acme.hosts.concat(), "api.example.comb.example");
    assert_eq!(
        (acme.contact, acme.directory.as_str()),
        (vec!["ops@example.com".to_owned()], "https://acme-v02.api.letsencrypt.org/directory")
    );
    assert!(server.tls.is_some_and(|tls| tls.certificates.is_empty()), "no file is needed");
    assert!(config("[server.acme]\nterms_of_service = true").expect("nothing is ordered").server.acme.is_none());
    for (keys, path, message) in [
        ("hosts = ['*.example.com']", "hosts[0]", "dns-01"),
        ("hosts = ['192.0.2.1']", "hosts[0]", "not for addresses"),
        ("hosts = ['[2001:db8::1]']", "hosts[0]", "not for addresses"),
        ("hosts = ['a.example:443']", "hosts[0]", "no port"),
        ("hosts = ['a.example', 'A.example']", "hosts[1]", "named twice"),
        ("hosts = ['a.example']\ncontact = ['nobody']", "contact[0]", ""),
        ("hosts = ['a.example']\ndirectory = 'http://ca.example/directory'", "directory", "not the https:// URL"),
        ("hosts = ['a.example']\ndirectory = 'ca.example'", "directory", "not the https:// URL"),
        ("hosts = ['a.example']\nca = 'nowhere.pem'", "ca", "cannot read"),
        ("hosts = ['a.example']\nexternal_account = { key_id = 'k', key = 'not base64!' }", "external_account.key", "base64url"),
    ] {
        refused(&with(keys), &format!("server.acme.{path}"), message);
    }
    let hosts = "[server.acme]\nhosts = ['a.example']\n";
    refused(&(listener("https", 1) + hosts), "server.acme.terms_of_service", "agreement");
    refused(&(hosts.to_owned() + "terms_of_service = true"), "server.acme.hosts", "no listener");
    let only = format!("[server]\nlisten = []\n{}{hosts}terms_of_service = true\n", listener("https", 1));
    refused(&only, "server.acme.challenge", "no listener speaks");
    assert!(config(&(only.clone() + "challenge = 'tls-alpn-01'")).is_ok());
    let redirect = listener("redirect", 2);
    assert!(config(&only.replace("[server.acme]", &format!("{redirect}[server.acme]"))).is_ok());
    let file = with("hosts = ['a.example']")
        + "[[server.tls.certificates]]\ncertificate = 'a.crt'\nkey = 'a.key'\nhosts = ['a.example']";
    assert_eq!(
        problems(config(&file)),
        ["server.acme.hosts[0]: a certificate from a file is shown for this host, and the one ordered is not"]
    );
}

#[test]
fn tls_that_cannot_be_meant_is_refused() {
    let with = |keys: &str| {
        format!(
            "{keys}\n[[server.listeners]]\naddress = '127.0.0.1:1'\nprotocol = 'https'\n[[server.tls.certificates]]\ncertificate = 'a.crt'\nkey = 'a.key'\n"
        )
    };
    let hsts = |keys: &str| config(&with(&format!("[server.tls]\n{keys}"))).expect("valid").server.tls.expect("used").hsts;
    assert_eq!(hsts("").as_deref(), Some("max-age=15552000"));
    assert_eq!(hsts("hsts = '365d'\nhsts_subdomains = true").as_deref(), Some("max-age=31536000; includeSubDomains"));
    assert_eq!(hsts("hsts = '0s'").as_deref(), Some("max-age=0"));
    assert_eq!(hsts("hsts = 'off'"), None);
    refused(&with("[server.tls]\nhsts = 'on'"), "server.tls.hsts", "not a duration");
    refused(&with("[server.tls]\nhandshake_timeout = '0s'"), "server.tls.handshake_timeout", "out of bounds");
    assert!(config(&with("[server.tls]\nmin_version = '1.1'")).is_err());
    refused(&with("[server.tls.clients]\ncertificates = 'required'"), "server.tls.clients.authorities", "nobody's");
    refused(&(with("") + "hosts = ['a.example:443']"), "server.tls.certificates[0].hosts[0]", "no port");
    let twice = with("") + "[[server.tls.certificates]]\ncertificate = 'a.crt'\nkey = 'b.key'";
    refused(&twice, "server.tls.certificates[1].name", "is taken");
    refused("[identity_headers]\nclient_certificate = 'X-Auth-Subject'", "identity_headers.client_certificate", "is taken");
}

#[test]
fn trusting_every_address_is_refused() {
    refused("[server]\ntrusted_proxies = ['0.0.0.0/0']", "server.trusted_proxies[0]", "every address");
    refused("[server]\ntrusted_proxies = ['proxy']", "server.trusted_proxies[0]", "not a network");
    assert_eq!(config("[server]\ntrusted_proxies = ['10.0.0.0/8', '::1']").expect("valid").server.trusted_proxies.len(), 2);
}

#[test]
fn lives_must_nest() {
    refused("[auth]\nrefresh_token = '91d'", "auth.refresh_token", "outlives its session");
    refused("[auth]\nrefresh_token = '14m'", "auth.refresh_token", "expires before the access token");
    assert!(config("[auth]\nrefresh_token = '90d'").is_ok(), "as long as the session");
    assert!(config("[auth]\nrefresh_token = '15m'").is_ok(), "as long as the access token");
}

#[test]
fn a_long_access_token_is_warned_about_and_a_very_long_one_is_refused() {
    assert!(problems(config("[auth]\naccess_token = '1h'")).is_empty());
    assert_eq!(problems(config("[auth]\naccess_token = '3601s'")), ["auth.access_token: an access token that lives 1h 1s"]);
    assert!(config("[auth]\naccess_token = '24h'").is_ok());
    refused("[auth]\naccess_token = '86401s'", "auth.access_token", "out of bounds");
    refused("[auth]\naccess_token = '1500ms'", "auth.access_token", "whole seconds");
    refused("[auth]\naccess_token = '0s'", "auth.access_token", "out of bounds");
}

#[test]
fn deadlines_and_timeouts_of_zero_are_refused() {
    refused("[revocation]\ndeadline = '0s'", "revocation.deadline", "out of bounds");
    refused("[server]\nheader_timeout = '0s'", "server.header_timeout", "out of bounds");
    assert!(config("[server]\ndrain_delay = '0s'").is_ok());
}

#[test]
fn a_mirror_needs_a_redis_and_a_bound_that_somebody_can_live_with() {
    let mirror = |keys: &str| format!("[revocation]\nurl = 'redis://r'\ncheck = 'mirror'\n{keys}");
    let bounds = config(&mirror("")).expect("accepted").revocation.expect("configured").mirror.expect("asked for");
    assert_eq!((bounds.staleness_max, bounds.records_max), (Duration::from_secs(1), 2_000_000));
    assert!(config("[revocation]\nurl = 'redis://r'").expect("accepted").revocation.expect("configured").mirror.is_none());
    refused("[revocation]\ncheck = 'mirror'", "revocation.check", "no Redis");
    refused(&mirror("max_staleness = '99ms'"), "revocation.max_staleness", "out of bounds");
    refused(&mirror("max_staleness = '31s'"), "revocation.max_staleness", "out of bounds");
    assert!(config(&mirror("max_staleness = '30s'")).is_ok());
    assert_eq!(problems(config(&mirror("max_staleness = '5s'"))), Vec::<String>::new());
    assert_eq!(problems(config(&mirror("max_staleness = '6s'"))).len(), 1);
    refused(&mirror("max_records = 999"), "revocation.max_records", "");
    refused(&mirror("check = 'bloom'").replacen("check = 'mirror'\n", "", 1), "revocation.check", "expected one of");
}

#[test]
fn weak_password_hashing_is_refused() {
    refused("[auth.password]\nargon2_memory = '18MiB'", "auth.password.argon2_memory", "argon2id needs at least");
    refused("[auth.password]\nargon2_passes = 1", "auth.password.argon2_passes", "argon2id needs at least");
    refused("[auth.password]\nalgorithm = 'bcrypt'\nbcrypt_cost = 9", "auth.password.bcrypt_cost", "bcrypt needs");
    refused("[auth.password]\nmin_length = 7", "auth.password.min_length", "out of bounds");
    assert!(config("[auth.password]\nalgorithm = 'bcrypt'\nbcrypt_cost = 10\nmin_length = 8").is_ok());
}

#[test]
fn scopes_are_words_of_a_list_and_keys_of_programs_end() {
    for key in ["auth.session_scopes", "auth.api_keys.scopes"] {
        let (table, name) = key.rsplit_once('.').expect("a table and a name");
        for scope in ["a b", "", "\\\\", "ä"] {
            refused(&format!("[{table}]\n{name} = [\"{scope}\"]"), &format!("{key}[0]"), "the scope");
        }
    }
    refused("[auth.api_keys]\nlife_max = '0s'", "auth.api_keys.life_max", "out of bounds");
    refused("[auth.api_keys]\nlife_max = '11y'", "auth.api_keys.life_max", "out of bounds");
    let keys = config("[auth.api_keys]\nscopes = ['reports:read']\nlife_max = '1s'").expect("complete").auth.api_keys;
    assert_eq!(keys.expect("on").life_max, Duration::from_secs(1));
    assert!(config("[auth.api_keys]\nenabled = false").expect("complete").auth.api_keys.is_none());
}

// RFC 8414 §3.1: where there is a path in the issuer, the metadata would be asked for elsewhere.
#[test]
fn clients_find_the_endpoints_at_the_host_of_the_issuer() {
    let origin = |issuer| config(&format!("[auth]\nissuer = '{issuer}'")).expect("complete").auth.issuer_origin;
    assert_eq!(origin("https://id.example.com").as_deref(), Some("https://id.example.com"));
    assert_eq!(origin("https://id.example.com:8443/").as_deref(), Some("https://id.example.com:8443"));
    for issuer in ["portcullis", "https://id.example.com/auth", "https://a@id.example.com", "https://id.example.com?x", "ftp://a"]
    {
        assert_eq!(origin(issuer), None, "{issuer}");
    }
}

const MAIL: &str = "[auth]\npublic_url = 'https://app.example.com/portal/'\n[auth.mail]\nfrom = 'Gate <gate@example.com>'\n";

#[test]
fn mail_needs_a_sender_a_way_out_and_the_address_of_its_links() {
    let smtp = "transport = 'smtp'\nurl = 'smtp://u:p@mail.example.com'";
    let mail = config(&format!("{MAIL}{smtp}")).expect("complete").auth.mail.expect("mail is sent");
    assert_eq!(mail.service, "app.example.com/portal");
    assert!(matches!(mail.transport, MailTransport::Smtp { clear: false, .. }));
    let file = config(&format!("{MAIL}transport = 'file'")).expect("complete").auth.mail.expect("mail is sent");
    assert!(
        matches!(file.transport, MailTransport::Files(directory) if directory == std::path::Path::new("/etc/portcullis/data/mail"))
    );
    assert!(config("").expect("no mail").auth.mail.is_none());

    refused(&format!("[auth.mail]\nfrom = 'a@b.c'\n{smtp}"), "auth.public_url", "where people reach");
    refused(&format!("[auth]\npublic_url = 'https://a.example'\n[auth.mail]\n{smtp}"), "auth.mail.from", "needs a sender");
    refused(&format!("{MAIL}transport = 'smtp'"), "auth.mail.url", "needs a mail server");
    for url in ["smtp://", "mail.example.com", "https://mail.example.com", "smtp://a.example?tls=opportunistic"] {
        refused(&format!("{MAIL}transport = 'smtp'\nurl = '{url}'"), "auth.mail.url", "not the URL of a mail server");
    }
    refused("[auth.mail]\nfrom = 'nobody'", "auth.mail.from", "not a mail address");
    refused("[auth.mail]\ntemplates = '/nonexistent'", "auth.mail.templates", "cannot read /nonexistent");
}

#[test]
fn only_a_mail_server_on_this_machine_is_spoken_to_in_clear() {
    let clear = |url: &str, keys: &str| {
        let mail = config(&format!("{MAIL}transport = 'smtp'\nurl = '{url}'\n{keys}")).expect(url).auth.mail;
        let Some(MailTransport::Smtp { clear, .. }) = mail.map(|mail| mail.transport) else { panic!("{url}: not by SMTP") };
        clear
    };
    assert!(clear("smtp://localhost", "") && clear("smtp://[::1]:2525", "") && clear("smtp://127.0.0.1", ""));
    assert!(!clear("smtp://mail.example.com", "") && !clear("smtps://localhost", ""));
    assert!(!clear("smtp://localhost.example.com", "") && !clear("smtp://localhost@mail.example.com", ""));
    assert!(clear("smtp://mail.example.com", "insecure_plaintext = true"));
}

#[test]
fn links_carry_one_token_to_a_page_over_tls() {
    let links = |text: &str| config(text).expect(text).auth.links;
    assert!(links("").is_none(), "nobody knows where people reach the gateway");
    let there = links("[auth]\npublic_url = 'https://app.example.com/'").expect("known");
    assert_eq!(there.password_reset.with("t"), "https://app.example.com/reset-password#token=t");
    let own = "[auth]\npublic_url = 'https://a.example'\nlinks = { invitation = 'https://b.example/join?t=$token' }";
    assert_eq!(links(own).expect("known").invitation.with("t"), "https://b.example/join?t=t");
    for (link, words) in
        [("/reset", "exactly one $token"), ("http://a.example/$token", "without TLS"), ("reset/$token", "not a web address")]
    {
        refused(&format!("[auth.links]\npassword_reset = '{link}'"), "auth.links.password_reset", words);
    }
    for url in ["app.example.com", "ftp://app.example.com", "https://app.example.com/?x", "https://u@app.example.com", "https://"]
    {
        refused(&format!("[auth]\npublic_url = '{url}'"), "auth.public_url", "not the address of a site");
    }
    refused("[auth]\npublic_url = 'http://app.example.com'", "auth.public_url", "without TLS");
    assert!(links("[auth]\npublic_url = 'http://localhost:8080'").is_some());
}

#[test]
fn a_password_reset_is_short_lived() {
    assert!(problems(config("[auth.one_time]\npassword_reset = '1h'")).is_empty());
    let warned = problems(config("[auth.one_time]\npassword_reset = '61m'"));
    assert_eq!(warned, ["auth.one_time.password_reset: whoever reads an old mail can set a password for longer than an hour"]);
    refused("[auth.one_time]\npassword_reset = '25h'", "auth.one_time.password_reset", "out of bounds");
    refused("[auth.one_time]\ninvitation = '0s'", "auth.one_time.invitation", "out of bounds");
}

/// `[revocation]` with these keys.
fn revocation(keys: &str) -> String {
    format!("[revocation]\n{keys}\n")
}

const SENTINELS: &str = "servers = ['redis://a:1', 'redis://b:1', 'redis://c:1']";
const CLUSTER: &str = "cluster = ['redis://a:1', 'redis://b:1', 'redis://c:1']";

#[test]
fn there_is_one_redis_however_it_is_reached() {
    use crate::config::RedisLayout;
    let layout = |keys: &str| config(&revocation(keys)).expect(keys).revocation.expect("configured").redis.layout;
    assert!(matches!(layout("url = 'redis://r'"), RedisLayout::Single(_)));
    let sentinel = format!("sentinel = {{ {SENTINELS}, primary = 'main', password = 'p' }}");
    let RedisLayout::Sentinel { sentinels, primary, login } = layout(&sentinel) else { panic!("sentinels") };
    assert_eq!((sentinels.len(), &*primary, login.password.is_some()), (3, "main", true));
    let cluster = format!("{CLUSTER}\nprefix = 'gw:{{portcullis}}:'");
    assert!(matches!(layout(&cluster), RedisLayout::Cluster(nodes) if nodes.len() == 3));
    assert!(
        config(&revocation("min_replica_acks = 2\nurl = 'redis://r'"))
            .expect("accepted")
            .revocation
            .expect("configured")
            .replica_acks_min
            == 2
    );

    refused(&revocation(&format!("url = 'redis://r'\n{sentinel}")), "revocation.sentinel", "there is one Redis");
    refused(&revocation(&format!("{cluster}\n{sentinel}")), "revocation.cluster", "there is one Redis");
    for keys in ["username = 'u'\n", "password = 'p'\n", "min_replica_acks = 1\n"] {
        let key = keys.split(' ').next().expect("a key");
        refused(&revocation(keys), &format!("revocation.{key}"), "no Redis");
    }
    refused(&revocation("min_replica_acks = 17\nurl = 'redis://r'"), "revocation.min_replica_acks", "");
    let postgres = "[store]\nurl = 'postgres://u:p@db/app'\n";
    assert!(
        config(&format!("{postgres}{}", revocation(&sentinel))).is_ok()
            && config(&format!("{postgres}{}", revocation(&cluster))).is_ok()
    );
}

#[test]
fn a_cluster_keeps_the_whole_set_in_one_slot() {
    for prefix in ["", "gateway:", "{}:", "{a"] {
        refused(&revocation(&format!("{CLUSTER}\nprefix = '{prefix}'")), "revocation.prefix", "unnoticed");
    }
}

#[test]
fn whoever_says_where_the_primary_is_can_be_asked_and_counts_once() {
    let cluster = |nodes: &str| revocation(&format!("cluster = [{nodes}]\nprefix = '{{a}}'"));
    for (nodes, index, words) in [
        ("'redis://a', 'redis://b', 'c:1'", 2, "not the URL"),
        ("'redis://a', 'redis://u:p@b', 'redis://c'", 1, "not the URL"),
        ("'redis://a', 'redis://b/1', 'redis://c'", 1, "not the URL"),
        ("'redis://a', 'rediss://b', 'redis://c'", 1, "some are not"),
        ("'redis://a', 'redis://b', 'redis://a'", 2, "twice"),
    ] {
        refused(&cluster(nodes), &format!("revocation.cluster[{index}]"), words);
    }
    assert_eq!(problems(config(&cluster("'redis://a', 'redis://b', 'redis://c'"))), Vec::<String>::new());
    assert_eq!(problems(config(&cluster("'redis://a', 'redis://b'"))).len(), 1, "neither can be spared");
    let sentinel = |keys: &str| revocation(&format!("sentinel = {{ {keys} }}"));
    refused(&sentinel(&format!("{SENTINELS}, primary = ''")), "revocation.sentinel.primary", "no name");
    refused(&sentinel(&format!("{SENTINELS}, primary = 'm', username = 'u'")), "revocation.sentinel.username", "no password");
}

#[test]
fn redis_over_tls_is_verified_and_has_files_that_can_be_read() {
    refused(&revocation("url = 'rediss://r/#insecure'"), "revocation.url", "verification");
    refused(&revocation("url = 'redis://r'\ntls = {}"), "revocation.tls", "not");
    refused(&revocation("url = 'rediss://r'\ntls = { ca = 'absent.pem' }"), "revocation.tls.ca", "cannot read");
    refused(&revocation("url = 'rediss://r'\ntls = { key = 'absent.pem' }"), "revocation.tls.key", "no certificate");
    assert!(config(&revocation("url = 'rediss://r'\ntls = {}")).is_ok());
    refused(&revocation("url = 'redis://u:p@r'\npassword = 'p'"), "revocation.password", "two places");
    refused(&revocation("url = 'redis://r'\nusername = 'u'"), "revocation.username", "no password");
}

#[test]
fn a_shared_database_needs_redis() {
    let postgres = "[store]\nurl = 'postgres://u:p@db/app'\n";
    refused(postgres, "store.url", "would not see each other's logouts");
    assert!(config(&format!("{postgres}[revocation]\nurl = 'redis://r'")).is_ok());
    assert!(config(&format!("{postgres}[revocation]\ninsecure_single_replica = true")).is_ok());
}

#[test]
fn a_url_that_no_store_takes_is_refused() {
    refused("[store]\nurl = 'oracle://db'", "store.url", "no store for \"oracle\"");
    refused("[store]\nurl = 'sqlite::memory:'", "store.url", "forgets");
    refused("[store]\nurl = 'sqlite:a.db?mode=ro'", "store.url", "options");
    refused("[revocation]\nurl = 'redis://'", "revocation.url", "not the URL of a Redis");
    refused("[store]\nurl = { env = 'ABSENT' }", "store.url", "ABSENT is not set");
    refused("[store]\nurl = { evn = 'X' }", "store.url", "expected text, { env");
}

#[test]
fn credentials_are_never_shown() {
    let source = Source { environment: [("PORTCULLIS__REVOCATION__URL", "redis:hunter2")].into_iter().collect(), ..source() };
    let texts = [
        "[auth.mail]\nurl = 'hunter2'\ntransport = 'smtp'\n",
        "[auth.mail]\nurl = 'http://u:hunter2@mail'\ntransport = 'smtp'\n",
        "[store]\nurl = 'oracle://u:hunter2@db'\n",
        "[store]\nurl = 'hunter2'\n",
        "[store]\nurl = \"postgres://u:hunter2@db\n",
    ];
    for text in texts {
        let report = read(&format!("{text}{LEAST}"), &source).expect_err("refused");
        assert!(!report.render(false).contains("hunter2"), "{report}");
        assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
    }
}

#[test]
fn https_by_address_needs_the_name_in_the_certificate() {
    let upstream = |more: &str| format!("[upstreams.tls]\n{more}\n");
    let route = "[[routes]]\npath = '/tls'\nupstream = 'tls'\n";
    let text = |more: &str| format!("{}{route}", upstream(more));
    refused(&text("servers = ['https://10.0.0.5']"), "upstreams.tls.servers[0]", "no name to verify");
    let config = config(&text("servers = ['https://10.0.0.5']\ntls = { server_name = 'app.internal' }")).expect("named");
    let server = &config.upstreams.iter().find(|upstream| &*upstream.name == "tls").expect("present").servers[0];
    assert_eq!(server.tls_name.as_deref(), Some("app.internal"));
    refused(
        &text("servers = ['http://10.0.0.5']\ntls = { server_name = 'a' }"),
        "upstreams.tls.tls",
        "no server of this upstream is https",
    );
    refused(&text("servers = []"), "upstreams.tls.servers", "has no servers");
    refused(&text("servers = ['http://127.0.0.1:8080']"), "upstreams.tls.servers[0]", "this gateway itself");
}

#[test]
fn how_an_upstream_is_served_must_make_sense() {
    let text = |more: &str| format!("[upstreams.two]\n{more}\n[[routes]]\npath = '/two'\nupstream = 'two'\n");
    let two = |more: &str| text(&format!("servers = ['http://10.0.0.5', 'https://b.internal']\n{more}"));
    for (more, key, words) in [
        ("weights = [1]", "weights", "1 weights for 2 servers"),
        ("hash_by = 'subject'", "hash_by", "nothing is chosen by it"),
        ("balance = 'hash'\nhash_by = 'header:'", "hash_by", "not a header name"),
        ("balance = 'hash'\nhash_by = 'cookie'", "hash_by", "nothing to choose"),
        ("health = { path = 'healthz' }", "health.path", "not a path"),
        ("health = { interval = '1s' }", "health.timeout", "longer than `interval`"),
        ("ejection = { time = '10m' }", "ejection.time_max", "shorter than `time`"),
        ("http = '1.1'\nhttp2 = { streams = 10 }", "http2", "not spoken"),
        ("http2 = { ping_interval = '10ms' }", "http2.ping_interval", "out of bounds"),
        ("tls = { server_name = '' }", "tls.server_name", "not a host name"),
        ("tls = { server_name = '10.0.0.5' }", "tls.server_name", "not a host name"),
        ("tls = { ca = 'nowhere.pem' }", "tls.ca", "cannot read"),
        ("tls = { certificate = 'nowhere.pem' }", "tls.certificate", "has no key"),
        ("tls = { key = 'nowhere.pem' }", "tls.key", "has no certificate"),
    ] {
        refused(&two(more), &format!("upstreams.two.{key}"), words);
    }
    for (more, key) in [
        ("weights = [0, 1]", "weights[0]"),
        ("ejection = { share = 0 }", "ejection.share"),
        ("http = '3'", "http"),
        ("http2 = { streams = 0 }", "http2.streams"),
        ("breaker = { pending = 0 }", "breaker.pending"),
    ] {
        let problems = problems(config(&two(more)));
        assert!(problems.iter().any(|problem| problem.starts_with(&format!("upstreams.two.{key}: expected"))), "{problems:?}");
    }
    let config = config(&two("weights = [3, 1]\nbalance = 'hash'\nhash_by = 'header:X-Tenant'\nejection = { failures = 0 }"));
    let config = config.expect("valid");
    let two = config.upstreams.iter().find(|upstream| &*upstream.name == "two").expect("present");
    assert_eq!(two.balance, Balance::Hash(HashBy::Header("x-tenant".parse().expect("a name"))));
    assert_eq!(two.servers.iter().map(|server| server.weight).collect::<Vec<_>>(), [3, 1]);
    assert_eq!((two.ejection.is_none(), two.servers[1].tls_name.as_deref()), (true, Some("b.internal")));
    assert_eq!((two.http, two.http2.streams, two.http2.ping_interval), (UpstreamHttp::Auto, 100, None));
}

/// Without TLS there is nothing to negotiate by: HTTP/2 is spoken where it is asked for.
#[test]
fn http_2_without_tls_is_spoken_only_if_it_is_written() {
    let text = |more: &str| {
        format!("[upstreams.two]\nservers = ['http://10.0.0.5']\n{more}\n[[routes]]\npath = '/two'\nupstream = 'two'\n")
    };
    refused(&text("http2 = { streams = 10 }"), "upstreams.two.http2", "not spoken");
    let config = config(&text("http = '2'\nhttp2 = { streams = 10, ping_interval = '6m' }")).expect("valid");
    let two = config.upstreams.iter().find(|upstream| &*upstream.name == "two").expect("present");
    assert_eq!((two.http, two.http2.streams, two.http2.ping_interval), (UpstreamHttp::Two, 10, Some(Duration::from_mins(6))));
}

#[test]
fn the_times_of_a_route_must_be_reachable() {
    let text = |times: &str| format!("[[routes]]\npath = '/t'\nupstream = 'app'\ntimeouts = {{ {times} }}\n");
    refused(&text("response_head = '2s', read = '1s'"), "routes[0].timeouts.response_head", "longer than `read`");
    refused(&text("total = '0s'"), "routes[0].timeouts.total", "out of bounds");
    let config = config(&text("response_head = '1s', read = '1s'")).expect("valid");
    let times = config.routes[0].timeouts.expect("some are set");
    assert_eq!((times.response_head, times.total), (Some(Duration::from_secs(1)), None));
    assert_eq!(config.routes[1].timeouts, None);
}

#[test]
fn an_identity_header_has_a_name_of_its_own() {
    refused("[identity_headers]\nsubject = 'Host'", "identity_headers.subject", "a meaning of its own");
    refused("[identity_headers]\nsubject = 'X User'", "identity_headers.subject", "not a header name");
    refused("[identity_headers]\nusername = 'x-auth-subject'", "identity_headers.username", "is taken");
    assert_eq!(config("[identity_headers]\nsubject = 'Remote-User'").expect("valid").identity_headers.subject, "remote-user");
}

#[test]
fn two_routes_for_the_same_requests_are_refused() {
    let route = |more: &str| format!("[[routes]]\npath = '/a'\nupstream = 'app'\n{more}\n");
    let both = |first: &str, second: &str| format!("{}{}", route(first), route(second));
    refused(&both("", "name = 'b'"), "routes[1]", "another route serves the same requests");
    refused(&both("methods = ['GET', 'POST']", "methods = ['POST']"), "routes[1]", "the same requests");
    refused(&both("methods = ['GET']", "methods = ['HEAD']"), "routes[1]", "the same requests");
    refused(&both("host = 'A.example'", "host = 'a.example'"), "routes[1]", "the same requests");
    refused(&both("name = 'x'", "name = 'x'\nhost = 'a.example'"), "routes[1].name", "is called \"x\"");
    for (first, second) in [("", "methods = ['GET']"), ("methods = ['GET']", "methods = ['POST']"), ("", "host = 'a.example'")] {
        assert!(config(&both(first, second)).is_ok(), "{first} {second}");
    }
}

#[test]
fn a_route_that_protects_less_than_it_says_is_refused() {
    let route = |more: &str| format!("[[routes]]\npath = '/a'\nupstream = 'app'\n{more}\n");
    refused(&route("access = 'public'\nrequire = { roles = ['admin'] }"), "routes[0].require", "never be checked");
    refused(&route("access = 'public'\nrequire = { max_age = '5m' }"), "routes[0].require", "never be checked");
    refused(&route("access = 'public'\non_unknown = 'insecure_allow'"), "routes[0].on_unknown", "never be looked at");
    refused(&route("on_unknown = 'allow'"), "routes[0].on_unknown", "insecure_allow");
    refused(&route("require = { max_age = '0s' }"), "routes[0].require.max_age", "out of bounds");
    refused(&route("require = { max_age = '1500ms' }"), "routes[0].require.max_age", "whole seconds");
    refused(&route("require = { roles = ['a,b'] }"), "routes[0].require.roles[0]", "the role \"a,b\"");
    refused(&route("methods = ['POST']\nwebsocket = true"), "routes[0].websocket", "no upgrade");
    refused(&route("require = { role = ['admin'] }"), "routes[0].require.role", "unknown key");
    let text = format!("{}[auth]\nself_assigned_roles = ['editor']", route("require = { roles = ['editor'] }"));
    assert_eq!(problems(config(&text)), ["routes[0].require.roles: whoever registers may take the role `editor`"]);
}

#[test]
fn whoever_lets_tokens_pass_that_may_be_revoked_is_warned() {
    let decided = |more: &str| config(&format!("[[routes]]\npath = '/a'\nupstream = 'app'\n{more}\n")).expect("accepted");
    for (written, expected, warned) in [
        ("", OnUnknown::Deny, false),
        ("on_unknown = 'deny'", OnUnknown::Deny, false),
        ("access = 'public'\non_unknown = 'deny'", OnUnknown::Deny, false),
        ("on_unknown = 'insecure_allow'", OnUnknown::Allow, true),
        ("access = 'optional'\non_unknown = 'insecure_allow_safe_methods'", OnUnknown::AllowSafeMethods, true),
    ] {
        let config = decided(written);
        assert_eq!(config.routes[0].on_unknown, expected, "{written}");
        let warnings: Vec<_> = config.warnings.problems().iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(warnings, if warned { vec!["routes[0].on_unknown"] } else { vec![] }, "{written}");
    }
}

#[test]
fn whoever_lets_everybody_administer_is_warned() {
    for (list, roles) in [("default_roles", "['root']"), ("self_assigned_roles", "['editor', 'root']")] {
        let text = format!("[[routes]]\npath = '/a'\nupstream = 'app'\n[auth]\nadmin_role = 'root'\n{list} = {roles}");
        let warned = format!("auth.{list}: whoever registers may be an administrator: `root` is in auth.{list}");
        assert_eq!(problems(config(&text)), [warned]);
    }
}

#[test]
fn a_throttle_that_lets_too_much_through_is_refused() {
    let throttle = |key: &str| format!("[[routes]]\npath = '/a'\nupstream = 'app'\n[auth.throttle]\n{key}\n");
    for rate in ["101/1h", "60/30m", "2/1m"] {
        refused(&throttle(&format!("account = '{rate}'")), "auth.throttle.account", "more than 100 failures per hour");
    }
    for rate in ["100/1h", "50/30m", "5/3m", "2/24h"] {
        assert!(config(&throttle(&format!("account = '{rate}'"))).is_ok(), "{rate}");
    }
    refused(&throttle("network = '100'"), "auth.throttle.network", "not a rate");
    refused(&throttle("network = '0/1h'"), "auth.throttle.network", "out of bounds");
    refused(&throttle("register = '1/25h'"), "auth.throttle.register", "out of bounds");
    let off = config(&throttle("insecure_off = true"));
    assert_eq!(problems(off), ["auth.throttle.insecure_off: passwords may be guessed as fast as they are hashed"]);
}

#[test]
fn a_block_list_that_cannot_be_read_is_refused() {
    let text = "[[routes]]\npath = '/a'\nupstream = 'app'\n[auth.password]\nblock_list = 'nowhere.txt'\n";
    refused(text, "auth.password.block_list", "cannot read");
}

#[test]
fn the_role_of_administrators_is_a_role() {
    let text = "[[routes]]\npath = '/a'\nupstream = 'app'\n[auth]\nadmin_role = 'a b'\n";
    refused(text, "auth.admin_role", "must consist of letters");
}

#[test]
fn a_route_that_no_request_reaches_is_refused() {
    let route = |path: &str| format!("[[routes]]\npath = '{path}'\nupstream = 'app'\n");
    for path in ["/auth", "/auth/login", "/%61uth"] {
        refused(&route(path), "routes[0].path", "the gateway itself answers under /auth");
    }
    refused(&route("/.well-known/jwks.json"), "routes[0].path", "the gateway itself answers");
    refused(&route("/a/../b"), "routes[0].path", "");
    refused(&route("/a/*"), "routes[0].path", "wildcard");
    refused(&route("a"), "routes[0].path", "begins with");
    assert!(config(&route("/authority")).is_ok());
    refused("[auth]\nprefix = '/'", "auth.prefix", "cover every route");
}

#[test]
fn a_gateway_without_routes_is_refused() {
    let report = read("", &source()).expect_err("nothing to do");
    assert_eq!(report.problems()[0].path, "routes");
    assert!(read("routes = []", &source()).expect_err("nothing to do").refuses());
}

#[test]
fn overrides_are_checked_like_the_file() {
    let source = Source {
        sets: vec!["auth.access_token=5 parsecs".to_owned(), "auth.registration=closed".to_owned(), "atuh.prefix=/a".to_owned()],
        ..source()
    };
    let report = read(LEAST, &source).expect_err("two overrides are wrong");
    let rendered = report.render(false);
    assert!(rendered.contains("--set:1:19") && rendered.contains("is not a duration"), "{rendered}");
    assert!(rendered.contains("atuh: unknown key") && rendered.contains("did you mean `auth`?"), "{rendered}");
    let sets = vec!["auth.registration=closed".to_owned()];
    let environment: Environment = [("PORTCULLIS__UPSTREAMS__APP__RETRIES", "0")].into_iter().collect();
    let config = read(LEAST, &Source { sets, environment, ..source }).expect("valid");
    assert_eq!((config.auth.registration, config.upstreams[0].retries), (Registration::Closed, 0));
}

#[test]
fn the_data_directory_is_beside_the_file_unless_named() {
    assert_eq!(source().data_dir(), std::path::Path::new("/etc/portcullis/data"));
    assert_eq!(Source { path: "gateway.toml".into(), ..Source::default() }.data_dir(), std::path::Path::new("data"));
    assert_eq!(Source { data_dir: Some("/var/lib/p".into()), ..source() }.data_dir(), std::path::Path::new("/var/lib/p"));
}

#[test]
fn a_missing_file_is_named_and_the_way_out_too() {
    let report = load(&Source { path: "/nonexistent/gateway.toml".into(), ..Source::default() }).expect_err("missing");
    let rendered = report.render(false);
    assert!(rendered.contains("/nonexistent/gateway.toml") && rendered.contains("config default"), "{rendered}");
}

#[test]
fn a_test_that_could_never_pass_is_refused() {
    let refused = |keys: &str, key: &str, words: &str| self::refused(&format!("[[tests]]\n{keys}\n"), key, words);
    refused("path = \"x\"\nexpect.decision = \"allow\"", "tests[0].path", "is not a path");
    refused("path = \"/\"\nexpect = {}", "tests[0].expect", "nothing is expected");
    refused("path = \"/\"\nexpect.decision = \"alow\"", "tests[0].expect.decision", "is not a decision");
    refused("path = \"/\"\nexpect.route = \"none\"", "tests[0].expect.route", "is not the name of a route");
    refused("path = \"/\"\nexpect.upstream = \"ap\"", "tests[0].expect.upstream", "is not the name of an upstream");
    refused("path = \"/\"\nheaders.host = \"a\"\nexpect.decision = \"allow\"", "tests[0].headers.host", "cannot be sent");
    refused("path = \"/\"\ncaller.roles = [\"a b\"]\nexpect.decision = \"allow\"", "tests[0].caller.roles[0]", "a b");
    let config = config("[[tests]]\npath = \"/x\"\nexpect.decision = \"missing_token\"\n").expect("it could pass");
    assert_eq!((config.tests[0].name.as_str(), config.tests[0].port), ("GET /x", 8080));
}

/// Asserts that a route with these keys, in front of the least, is refused at `key` below it with these words.
fn route_refused(keys: &str, key: &str, words: &str) {
    let upstream = if keys.contains("redirect") { "" } else { "upstream = \"app\"\n" };
    refused(&format!("[[routes]]\npath = \"/x\"\n{upstream}{keys}"), &format!("routes[0]{key}"), words);
}

#[test]
fn what_routes_do_besides_is_refused_where_it_would_forge_mislead_or_never_happen() {
    for (keys, key, words) in [
        ("request_headers = { set = { X-Auth-Subject = \"root\" } }", ".request_headers.set.X-Auth-Subject", "only the gateway"),
        ("request_headers = { add = { X_Auth_Roles = \"root\" } }", ".request_headers.add.X_Auth_Roles", "only the gateway"),
        ("request_headers = { remove = [\"X-Forwarded-For\"] }", ".request_headers.remove[0]", "only the gateway"),
        ("request_headers = { set = { X-Original-URL = \"/\" } }", ".request_headers.set.X-Original-URL", "only the gateway"),
        ("request_headers = { set = { Host = \"a\" } }", ".request_headers.set.Host", "rewrite"),
        ("request_headers = { set = { Authorization = \"x\" } }", ".request_headers.set.Authorization", "pass_token"),
        ("request_headers = { set = { Content-Length = \"5\" } }", ".request_headers.set.Content-Length", "frames"),
        ("request_headers = { set = { transfer_encoding = \"x\" } }", ".request_headers.set.transfer_encoding", "frames"),
        ("request_headers = { set = { X-A = \"a\\r\\nb\" } }", ".request_headers.set.X-A", "header value"),
        ("response_headers = { set = { Connection = \"close\" } }", ".response_headers.set.Connection", "frames"),
        ("response_headers = { add = { Set-Cookie = \"a=b\" } }", ".response_headers.add.Set-Cookie", "upstream's"),
        (
            "response_headers = { set = { Access-Control-Allow-Origin = \"*\" } }",
            ".response_headers.set.Access-Control-Allow-Origin",
            "cors",
        ),
        ("match = { headers = { X-Auth-Roles = \"admin\" } }", ".match.headers.X-Auth-Roles", "says nothing"),
        ("cors = { origins = [\"*\"], credentials = true }", ".cors.credentials", "every page"),
        ("cors = { origins = [\"*\", \"https://a.example\"] }", ".cors.origins[0]", "every page"),
        ("cors = { origins = [\"null\"] }", ".cors.origins[0]", "every page"),
        ("cors = { origins = [\"https://a.example/\"] }", ".cors.origins[0]", "not an origin"),
        ("cors = { origins = [] }", ".cors.origins", "nobody"),
        ("websocket = true\norigins = [\"null\"]", ".origins[0]", "every page"),
        ("websocket = true\norigins = [\"https://a.example\", \"a.example\"]", ".origins[1]", "not an origin"),
        ("origins = [\"https://a.example\"]", ".origins", "never be looked at"),
        ("rate_limits = [{ limit = \"0/1m\" }]", ".rate_limits[0].limit", "not a limit"),
        ("rate_limits = [{ limit = \"5/500ms\" }]", ".rate_limits[0].limit", "not a limit"),
        ("rate_limits = [{ limit = \"5/1m\", shared = true }]", ".rate_limits[0].shared", "no Redis"),
        ("rate_limits = [{ limit = \"5/1m\" }, { limit = \"9/1h\" }]", ".rate_limits[1]", "another limit"),
        ("access = \"public\"\nrate_limits = [{ limit = \"5/1m\" }]", ".rate_limits[0]", "no callers"),
        ("strip_prefix = true\nrewrite = { prefix = \"/v2\" }", ".rewrite", "stripped already"),
        ("rewrite = { prefix = \"/a\", path = \"/b\" }", ".rewrite.prefix", "whole path"),
        ("rewrite = { prefix = \"/a/../b\" }", ".rewrite.prefix", "dot segment"),
        ("rewrite = { host = \"a/b\" }", ".rewrite.host", "character"),
        ("rewrite = { }", ".rewrite", "nothing"),
        ("redirect = { }", ".redirect", "back to itself"),
        ("redirect = { scheme = \"https\" }", ".redirect", "not known"),
        ("host = \"*.a.example\"\nredirect = { scheme = \"https\" }", ".redirect", "not known"),
        ("redirect = { status = 304, path = \"/y\" }", ".redirect.status", "not a redirect"),
        ("redirect = { scheme = \"gopher\", host = \"a\" }", ".redirect.scheme", "not a scheme"),
        ("redirect = { path = \"//evil.example\" }", ".redirect.path", "empty segment"),
        ("redirect = { path = \"/y\" }\nstrip_prefix = true", ".redirect", "nothing is sent"),
    ] {
        route_refused(keys, key, words);
    }
    let both = "[[routes]]\npath = \"/x\"\nupstream = \"app\"\nredirect = { path = \"/y\" }";
    refused(both, "routes[0].redirect", "reaches no upstream");
    refused("[[routes]]\npath = \"/x/{id\"\nupstream = \"app\"", "routes[0].path", "whole segment");
}

#[test]
fn what_routes_do_besides_is_read_as_written() {
    let read = |keys: &str| {
        let config = config(&format!("[[routes]]\npath = \"/x\"\n{keys}")).expect(keys);
        config.routes[0].filters.clone().expect("it does something")
    };
    let redirect = read("host = \"a.example\"\nredirect = { scheme = \"https\" }").redirect.expect("a redirect");
    assert_eq!((redirect.status.as_u16(), redirect.origin.as_deref()), (302, Some("https://a.example")));
    let filters =
        read("upstream = \"app\"\nrate_limits = [{ limit = \"5/1m\" }]\ncors = { origins = [\"*\"], max_age = \"1h\" }");
    assert_eq!((&*filters.limits[0].name, filters.limits[0].quota), ("caller", 5));
    assert_eq!(filters.cors.expect("rules").max_age, Duration::from_hours(1));
    assert_eq!(config("").expect("the least").routes[0].filters, None, "a route that uses none of it has none of it");
}
