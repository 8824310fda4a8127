//! `portcullis user import`: accounts of another system, one JSON object per line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::administration::Administration;
use super::failure::Failure;
use super::output::{self, Format};
use crate::auth::accounts::ForeignAccount;
use crate::auth::audit::Actor;
use crate::auth::register::{NewAccount, RegisterError};
use crate::store::NewUser;

/// Users handed to the store at once, so that the progress is seen.
const BATCH: usize = 50;
/// Longer than any account; what is longer is another kind of file.
const LINE_BYTES_MAX: u64 = 64 * 1024;

const AFTER_HELP: &str = "\
Each line of FILE is a JSON object:
  {\"username\": \"ada\", \"email\": \"ada@example.com\", \"password_hash\": \"$2b$12$…\", \"given_name\": \"Ada\",
   \"family_name\": \"Lovelace\", \"roles\": [\"editor\"], \"email_verified\": true}
Needed are a username or an email, and the password_hash: bcrypt ($2a$, $2b$, $2y$) or argon2id ($argon2id$). Users keep \
their passwords; a hash that is weaker than configured is upgraded when its owner signs in. A line is imported whole or \
not at all, and a bad line does not keep the others out.

Examples:
  portcullis user import users.jsonl --dry-run
  portcullis user import users.jsonl
  portcullis user import - --skip-existing < users.jsonl";

/// What `user import` takes.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Import {
    /// JSON lines; `-` for standard input
    file: PathBuf,
    /// Pass over users whose name or address is taken instead of refusing their lines
    #[arg(long)]
    skip_existing: bool,
    /// Check every line and import nothing; does not tell which names are taken
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    username: Option<String>,
    email: Option<String>,
    password_hash: String,
    given_name: Option<String>,
    family_name: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    email_verified: bool,
}

/// What became of the lines.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    imported: usize,
    skipped: usize,
    refused: usize,
}

impl Import {
    pub(super) async fn run(self, office: &Administration) -> Result<(), Failure> {
        let mut lines = Lines::open(&self.file)?;
        let mut outcome = Outcome::default();
        let mut batch = Vec::with_capacity(BATCH);
        while let Some((number, text)) = lines.next()? {
            match parse(&text).and_then(|account| office.auth().foreign_user(&account).map_err(|errors| Failure::rules(&errors)))
            {
                Ok(_) if self.dry_run => outcome.imported += 1,
                Ok(user) => batch.push((number, user)),
                Err(problem) => lines.refuse(number, &problem, &mut outcome),
            }
            if batch.len() == BATCH {
                self.import(office, &mut batch, &mut lines, &mut outcome).await?;
            }
        }
        self.import(office, &mut batch, &mut lines, &mut outcome).await?;
        lines.bar.finish_and_clear();
        self.conclude(&outcome)
    }

    async fn import(
        &self,
        office: &Administration,
        batch: &mut Vec<(u64, NewUser)>,
        lines: &mut Lines,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let (numbers, users): (Vec<u64>, Vec<NewUser>) = batch.drain(..).unzip();
        for (number, imported) in numbers.iter().zip(office.auth().import_users(&users, &Actor::operator()).await) {
            match imported {
                Ok(()) => outcome.imported += 1,
                Err(RegisterError::Taken(_)) if self.skip_existing => outcome.skipped += 1,
                Err(error @ RegisterError::Taken(_)) => lines.refuse(*number, &error.to_string(), outcome),
                Err(error) => {
                    lines.bar.finish_and_clear();
                    let error = anyhow::Error::from(error).context(format!("stopped at line {number}"));
                    let help = "users of earlier lines are imported: when it is repaired, run it again with --skip-existing";
                    return Err(Failure::new(error, help));
                }
            }
        }
        Ok(())
    }

    fn conclude(&self, outcome: &Outcome) -> Result<(), Failure> {
        let done = if self.dry_run { "could be imported" } else { "imported" };
        let mut said = format!("{} {done}", output::count(outcome.imported, "user"));
        if outcome.skipped > 0 {
            said += &format!(", {} skipped", outcome.skipped);
        }
        if outcome.refused > 0 {
            let error = anyhow::anyhow!("{said}, {} refused", output::count(outcome.refused, "line"));
            return Err(Failure::new(error, "correct these lines and run it again with --skip-existing"));
        }
        if self.format.json { output::print_json(outcome) } else { output::print(&said) }
    }
}

/// The lines of the file with their numbers, and how far they are read.
struct Lines {
    input: BufReader<Box<dyn Read>>,
    number: u64,
    bar: ProgressBar,
}

impl Lines {
    fn open(path: &PathBuf) -> Result<Self, Failure> {
        let (input, bytes): (Box<dyn Read>, u64) = if path.as_os_str() == "-" {
            (Box::new(io::stdin()), 0)
        } else {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            (Box::new(file), bytes)
        };
        // Whoever redirects standard error wants lines, not a picture.
        let bar = if io::stderr().is_terminal() { ProgressBar::new(bytes) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}  {eta}");
        bar.set_style(style.expect("the template is well-formed"));
        Ok(Self { input: BufReader::new(input), number: 0, bar })
    }

    /// The next line that is not empty.
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, Failure> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).context("cannot read further")?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !line.ends_with(b"\n") && read as u64 == LINE_BYTES_MAX {
                let error = anyhow::anyhow!("line {} is longer than {LINE_BYTES_MAX} bytes", self.number);
                return Err(Failure::new(error, "each line is one JSON object; earlier lines are imported"));
            }
            self.bar.inc(read as u64);
            self.bar.set_message(format!("line {}", self.number));
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.number, line)));
            }
        }
    }

    fn refuse(&mut self, number: u64, problem: &str, outcome: &mut Outcome) {
        outcome.refused += 1;
        self.bar.suspend(|| eprintln!("line {number}: {problem}"));
    }
}

/// What is wrong is said without repeating what was read: it may be a hash.
fn parse(line: &[u8]) -> Result<ForeignAccount, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        match error.classify() {
            Category::Data
                if ["missing field", "unknown field", "duplicate field"].iter().any(|start| text.starts_with(start)) =>
            {
                text.split(" at line ").next().unwrap_or_default().to_owned()
            }
            Category::Data => format!("a value has the wrong type at column {}", error.column()),
            Category::Syntax | Category::Eof | Category::Io => format!("it is not JSON at column {}", error.column()),
        }
    })?;
    let Line { username, email, password_hash, given_name, family_name, roles, email_verified } = line;
    let password = SecretString::default();
    let account = NewAccount { username, email, password, given_name, family_name, roles };
    Ok(ForeignAccount { account, password_hash: password_hash.into(), email_verified })
}
