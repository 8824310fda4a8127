//! Why a command did not do what it was asked to: what is wrong, what to do about it, and the exit code.

use std::process::ExitCode;

use super::output;
use crate::auth::FieldError;
use crate::auth::outage::Outage;
use crate::auth::register::RegisterError;
use crate::auth::users::AdminError;
use crate::config::{Environment, Report};
use crate::store::StoreError;

/// BSD's `EX_USAGE`, which init systems and scripts can tell from a crash.
const CONFIGURATION_REFUSED: u8 = 64;
const USAGE: u8 = 2;

/// What to do about a database that is not there.
const DATABASE: &str = "see that the database of `store.url` answers and lets you in, then run the same command again";

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration is refused.
    Refused(Report),
    /// The configuration is refused, and standard output says so already.
    RefusedAsPrinted,
    /// The command line asks for something that makes no sense here.
    Usage(String),
    /// Anything else.
    Failed {
        /// What is wrong.
        error: anyhow::Error,
        /// What to do about it, if the error does not say.
        help: Option<String>,
    },
}

impl Failure {
    /// Something is wrong, and this is what to do about it.
    pub(super) fn new(error: impl Into<anyhow::Error>, help: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), help: Some(help.into()) }
    }

    /// Says it on standard error.
    pub(super) fn report(&self, environment: &Environment) {
        match self {
            Self::Refused(report) => eprintln!("{}", report.render(output::in_colour(&std::io::stderr(), environment))),
            Self::RefusedAsPrinted => {}
            Self::Usage(message) => eprintln!("error: {message}\n\nFor more information, try '--help'."),
            Self::Failed { error, help } => {
                eprintln!("error: {error:#}");
                if let Some(help) = help {
                    eprintln!("help: {help}");
                }
            }
        }
    }

    /// As `--help` documents them.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused(_) | Self::RefusedAsPrinted => ExitCode::from(CONFIGURATION_REFUSED),
            Self::Usage(_) => ExitCode::from(USAGE),
            Self::Failed { .. } => ExitCode::FAILURE,
        }
    }

    /// The gateway's services that cannot be opened.
    pub(super) fn of_opening(error: anyhow::Error) -> Self {
        match error.downcast_ref() {
            Some(StoreError::Unavailable { .. }) => Self::new(error, DATABASE),
            _ => error.into(),
        }
    }

    /// Every rule that is broken, in one sentence.
    pub(super) fn rules(errors: &[FieldError]) -> String {
        rules(errors)
    }

    /// No user of this name.
    pub(super) fn no_such_user(name: &str) -> Self {
        let error = anyhow::anyhow!("there is no user `{}`", output::shown(name));
        Self::new(error, "`portcullis user list` lists them; a name with an `@` is looked up as an e-mail address")
    }

    /// An operation on the user called `name` that was refused.
    pub(super) fn of_user(name: &str) -> impl Fn(AdminError) -> Self {
        move |error| match error {
            AdminError::NoSuchUser => Self::no_such_user(name),
            AdminError::Invalid(errors) => anyhow::anyhow!("{}", rules(&errors)).into(),
            error @ AdminError::LastAdministrator => anyhow::Error::from(error).into(),
            AdminError::Outage(outage) => outage.into(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed { error, help: None }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Refused(report)
    }
}

impl From<Outage> for Failure {
    fn from(outage: Outage) -> Self {
        match outage {
            Outage::NotPublished(error) => Self::new(
                error,
                "see that the Redis of `[revocation]` answers, then run the same command again: until it succeeds, \
                 running gateways may still accept the tokens",
            ),
            Outage::Store(error @ StoreError::Unavailable { .. }) => Self::new(error, DATABASE),
            _ => anyhow::Error::from(outage).into(),
        }
    }
}

impl From<RegisterError> for Failure {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Invalid(errors) => anyhow::anyhow!("{}", rules(&errors)).into(),
            RegisterError::Taken(_) => {
                Self::new(error, "names and addresses are compared without regard to case; choose another")
            }
            RegisterError::Outage(outage) => outage.into(),
            RegisterError::Closed | RegisterError::NotInvited | RegisterError::BadInvitation | RegisterError::Throttled(_) => {
                anyhow::Error::from(error).into()
            }
        }
    }
}

/// Every rule that is broken, in one sentence.
pub(super) fn rules(errors: &[FieldError]) -> String {
    let rules: Vec<_> = errors.iter().map(|error| format!("the {} {}", error.field, error.message)).collect();
    rules.join(", and ")
}
