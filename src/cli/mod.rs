//! The command line: what an operator can ask for, one file per command.
//!
//! Commands that administer use the gateway's own stores and use cases (`administration`), so that what is done
//! by hand keeps the same promises as what is done over HTTP.

mod administration;
mod api_key;
mod audit;
mod check;
mod client;
mod completions;
mod config;
mod failure;
mod invite;
mod keys;
mod output;
mod password;
mod revoke;
mod run;
mod running_gateway;
mod session;
mod user;
mod user_import;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{Environment, Source};
use failure::Failure;

const ABOUT: &str = "An authenticating edge gateway: users, sessions, tokens and revocation in front of your APIs";

const AFTER_HELP: &str = "\
Examples:
  portcullis config default > gateway.toml   something to begin with, explained
  portcullis check                           every mistake at once, with its line
  portcullis run                             serve; SIGTERM drains and stops
  portcullis user add ada --role admin       asks for the password
  portcullis invite --role editor            a link by which somebody can register
  portcullis session revoke --user ada       sign ada out everywhere, at once
  portcullis revoke --token @leaked.jwt      refuse a token from the next request on
  portcullis client add billing              a program of its own; prints the secret once
  portcullis keys rotate                     let a new key take over signing

Every key of the configuration can be overridden: by --set auth.access_token=5m, or with less force by \
PORTCULLIS__AUTH__ACCESS_TOKEN=5m in the environment. `portcullis COMMAND --help` says more.

Exit codes:
  0   done
  1   failed; standard error says why and what to do
  2   the command line is not understood
  64  the configuration is refused";

const CONFIGURATION: &str = "Configuration";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about = ABOUT, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration comes from; the same for every command. `--set` belongs here, too: see [`with_sets`].
#[derive(Debug, Args)]
struct Configuration {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "gateway.toml", help_heading = CONFIGURATION)]
    config: PathBuf,
    /// Where relative paths of the configuration live: `data` beside it unless given
    #[arg(long, global = true, value_name = "DIR", help_heading = CONFIGURATION)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C
    Run(run::Run),
    /// Say everything that is wrong with the configuration and the key file
    Check(check::Check),
    /// Add, list and change users
    #[command(subcommand)]
    User(user::UserCommand),
    /// Let somebody register: prints the link, and mails it if it is for an address
    Invite(invite::Invite),
    /// List and revoke sessions
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Revoke a token, a session, all of a user's sessions or a signing key: no gateway accepts it once this returns
    Revoke(revoke::Revoke),
    /// List who did what to which account
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Register, list, disable and delete clients: programs that sign in as themselves
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// List and revoke users' API keys
    #[command(subcommand)]
    ApiKey(api_key::ApiKeyCommand),
    /// List, rotate, retire and remove signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Print the reference configuration, or the JSON Schema for editors
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a completion script for a shell
    #[command(after_help = completions::AFTER_HELP)]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Does what the process' arguments ask for, and tells the caller's exit code.
#[must_use]
pub fn main() -> ExitCode {
    let (arguments, sets) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help goes to standard output, a mistake to standard error; if neither can be written, the code says it.
            drop(error.print());
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let Configuration { config, data_dir } = arguments.configuration;
    let source = Source { path: config, sets, environment: Environment::of_process(), data_dir };
    match arguments.command.run(&source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(&source.environment);
            failure.exit_code()
        }
    }
}

/// The arguments, and every `--set` among them.
fn parse() -> Result<(Arguments, Vec<String>), clap::Error> {
    let matches = command_line().try_get_matches()?;
    let sets = sets(&matches);
    Ok((Arguments::from_arg_matches(&matches)?, sets))
}

/// The tree of commands, complete.
fn command_line() -> clap::Command {
    with_sets(Arguments::command())
}

/// Adds `--set` to every level. As a global argument of clap's, one that stands in front of a command would be
/// dropped without a word when another one stands behind it.
fn with_sets(command: clap::Command) -> clap::Command {
    let set = Arg::new("set")
        .long("set")
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .help("Overrides one key, like `auth.access_token=5m`; may be given several times")
        .help_heading(CONFIGURATION);
    command.arg(set).mut_subcommands(with_sets)
}

/// Every `--set`, in their order.
fn sets(matches: &ArgMatches) -> Vec<String> {
    let levels = std::iter::successors(Some(matches), |level| level.subcommand().map(|(_, deeper)| deeper));
    levels.flat_map(|level| level.get_many("set").into_iter().flatten().cloned()).collect()
}

impl Command {
    fn run(self, source: &Source) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.run(source),
            Self::Check(check) => check.run(source),
            Self::User(command) => command.run(source),
            Self::Invite(invite) => invite.run(source),
            Self::Session(command) => command.run(source),
            Self::Revoke(revoke) => revoke.run(source),
            Self::Audit(command) => command.run(source),
            Self::Client(command) => command.run(source),
            Self::ApiKey(command) => command.run(source),
            Self::Keys(command) => command.run(source),
            Self::Config(command) => command.run(),
            Self::Completions { shell } => completions::print(shell),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_commands_is_consistent() {
        command_line().debug_assert();
    }

    #[test]
    fn no_override_is_lost_wherever_it_stands() {
        let words = ["portcullis", "--set", "a=1", "user", "--set", "b=2", "list", "--set=c=3", "--set", "d=4"];
        let matches = command_line().try_get_matches_from(words).unwrap();
        assert_eq!(sets(&matches), ["a=1", "b=2", "c=3", "d=4"]);
    }
}
