//! `user import` and `user delete`.

use serde_json::json;

use super::{Place, assert_says};

/// `correct horse battery staple`, as another system keeps it.
const BCRYPT: &str = "$2b$10$";
const PASSWORD: &str = "correct horse battery staple";

fn bcrypt() -> String {
    let hash = portcullis::identity::password::PasswordPolicy {
        hashing: portcullis::identity::password::Hashing::Bcrypt { cost: 10 },
        ..Default::default()
    };
    let password = portcullis::identity::password::Password::new(PASSWORD).unwrap();
    let hash = portcullis::identity::password::hash(&hash, &password, [3; 16]).unwrap();
    assert!(hash.as_stored().starts_with(BCRYPT));
    hash.as_stored().to_owned()
}

fn line(name: &str, hash: &str) -> String {
    json!({"username": name, "email": format!("{name}@example.com"), "password_hash": hash}).to_string()
}

impl Place {
    fn with_lines(lines: &[String]) -> Self {
        let place = Self::new();
        place.write_lines(lines);
        place
    }

    fn write_lines(&self, lines: &[String]) {
        std::fs::write(self.path("users.jsonl"), lines.join("\n")).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let listed = self.run("user list --json").json();
        let mut names: Vec<_> =
            listed.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect();
        // Users added within one millisecond are listed in any order.
        names.sort();
        names
    }
}

#[tokio::test]
async fn imported_users_sign_in_with_the_password_that_they_have() {
    let full = json!({
        "username": "grace", "email": "grace@example.com", "password_hash": bcrypt(), "given_name": "Grace",
        "family_name": "Hopper", "roles": ["editor", "admin"], "email_verified": true,
    });
    let place = Place::with_lines(&[line("ada", &bcrypt()), String::new(), full.to_string()]);
    assert_eq!(place.run("user import users.jsonl").ok(), "2 users imported\n");
    let listed = place.user("grace");
    assert_eq!((&listed["given_name"], &listed["roles"]), (&json!("Grace"), &json!(["admin", "editor"])));

    let source = portcullis::config::Source { path: place.path("gateway.toml"), ..Default::default() };
    let config = portcullis::config::load(&source).unwrap();
    let metrics = std::sync::Arc::new(portcullis::telemetry::metrics::Metrics::new());
    let services = portcullis::app::Services::open(&config, &metrics).await.unwrap();
    let from = portcullis::auth::Origin::default();
    assert!(services.auth.login("ada", PASSWORD, &from).await.is_ok());
    assert!(services.auth.login("grace@example.com", PASSWORD, &from).await.is_ok());
    assert!(services.auth.login("ada", "not it, not at all", &from).await.is_err());
    let grace = services.auth.find_user("grace").await.unwrap();
    assert!(grace.email_verified_at.is_some());
    assert!(services.auth.find_user("ada").await.unwrap().email_verified_at.is_none());
}

#[test]
fn every_bad_line_is_named_and_the_good_ones_are_imported() {
    let place = Place::with_lines(&[
        line("ada", &bcrypt()),
        "{\"username\":\"eve\"".to_owned(),
        line("a@b", &bcrypt()),
        line("bob", "5f4dcc3b5aa765d61d8327deb882cf99"),
        json!({"username": "carl"}).to_string(),
        json!({"username": "dan", "password_hash": bcrypt(), "admin": true}).to_string(),
        json!({"password_hash": bcrypt()}).to_string(),
        json!({"username": "erin", "password_hash": bcrypt(), "roles": ["a b"]}).to_string(),
        json!({"username": "finn", "password_hash": bcrypt(), "email_verified": true}).to_string(),
        json!({"username": 7, "password_hash": bcrypt()}).to_string(),
        line("ADA", &bcrypt()),
        line("grace", &bcrypt()),
    ]);
    let complaint = place.run("user import users.jsonl").refused(1);
    assert_says(
        &complaint,
        &[
            "line 2: it is not JSON",
            "line 3: the username must not contain `@`",
            "line 4: the password_hash must be a complete bcrypt",
            "line 5: missing field `password_hash`",
            "line 6: unknown field `admin`",
            "line 7: the username is required unless there is an email",
            "line 8: the roles must consist of letters",
            "line 9: the email_verified needs an email",
            "line 10: a value has the wrong type",
            "line 11: the ",
            " is taken\n",
            "2 users imported, 10 lines refused",
            "--skip-existing",
        ],
    );
    assert!(!complaint.contains("$2b$10") && !complaint.contains("5f4dcc3b"), "{complaint}");
    assert_eq!(place.names(), ["ada", "grace"]);
    assert_says(&place.run("audit list --json").ok(), &["user_imported"]);
}

#[test]
fn users_who_are_there_already_are_skipped_when_asked_to() {
    let place = Place::with_lines(&[line("ada", &bcrypt())]);
    place.run("user import users.jsonl").ok();
    place.write_lines(&[line("ada", &bcrypt()), line("grace", &bcrypt()), line("Grace", &bcrypt())]);
    assert_says(&place.run("user import users.jsonl").refused(1), &["line 1: the ", " is taken\n", "line 3: the "]);
    assert_eq!(place.run("user import users.jsonl --skip-existing").ok(), "0 users imported, 3 skipped\n");
    let counted = place.run("user import users.jsonl --skip-existing --json").json();
    assert_eq!(counted, json!({"imported": 0, "skipped": 3, "refused": 0}));
    assert_eq!(place.names(), ["ada", "grace"]);
}

#[test]
fn a_line_is_imported_whole_or_not_at_all() {
    let place = Place::with_lines(&[line("ada", &bcrypt())]);
    place.run("user import users.jsonl").ok();
    // The name is free, the address is taken.
    let clash = json!({"username": "eve", "email": "ADA@example.com", "password_hash": bcrypt(), "roles": ["x"]});
    place.write_lines(&[clash.to_string()]);
    assert_says(&place.run("user import users.jsonl").refused(1), &["line 1: the email is taken"]);
    assert_eq!(place.names(), ["ada"]);
}

#[test]
fn a_dry_run_checks_and_imports_nothing() {
    let place = Place::with_lines(&[line("ada", &bcrypt()), line("bob", "none")]);
    assert_says(&place.run("user import users.jsonl --dry-run").refused(1), &["line 2", "1 user could be imported, 1 line"]);
    place.write_lines(&[line("ada", &bcrypt())]);
    assert_eq!(place.run("user import users.jsonl --dry-run").ok(), "1 user could be imported\n");
    assert!(place.names().is_empty());
}

#[test]
fn lines_may_come_on_standard_input_and_more_of_them_than_a_batch() {
    let place = Place::new();
    let hash = bcrypt();
    let lines: Vec<_> = (0..123).map(|number| line(&format!("user{number}"), &hash)).collect();
    assert_eq!(place.run_with("user import -", &lines.join("\r\n")).ok(), "123 users imported\n");
    assert_eq!(place.names().len(), 123);
}

#[test]
fn what_is_no_list_of_users_is_refused() {
    let place = Place::with_lines(&["x".repeat(70_000)]);
    assert_says(&place.run("user import users.jsonl").refused(1), &["line 1 is longer than 65536 bytes"]);
    assert_says(&place.run("user import nowhere.jsonl").refused(1), &["cannot read nowhere.jsonl"]);
}

#[test]
fn a_deleted_user_is_gone_with_everything() {
    let place = Place::with_lines(&[line("ada", &bcrypt()), line("grace", &bcrypt())]);
    place.run("user import users.jsonl").ok();
    let id = place.user("ada")["id"].as_str().unwrap().to_owned();
    assert_says(&place.run("user delete ADA").ok(), &["ada is deleted and signed out everywhere"]);
    assert_eq!(place.names(), ["grace"]);
    assert_says(&place.run("user delete ada").refused(1), &["there is no user `ada`"]);
    let events = place.run(&format!("audit list --user {id} --json")).json();
    assert_eq!(events[0]["kind"], "user_deleted", "the record outlives the user");
    place.run("user import users.jsonl --skip-existing").ok();
    assert_eq!(place.names().len(), 2);
}
