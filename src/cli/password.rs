//! Passwords typed by an operator: at the terminal, unseen and twice, or on standard input. Never an argument,
//! because everybody on the machine can read those.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::Context as _;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::failure::Failure;

/// More than any password may have, so that a wrong file on standard input is noticed.
const STDIN_BYTES_MAX: u64 = 64 * 1024;

/// Where a password comes from.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct PasswordSource {
    /// Read the password from standard input, one line, instead of asking at the terminal
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordSource {
    /// The password, as typed.
    pub(super) fn read(self) -> Result<SecretString, Failure> {
        if self.password_stdin {
            return one_line(io::stdin().lock());
        }
        if !io::stdin().is_terminal() {
            let message = "there is no terminal to ask for the password at: use --password-stdin";
            return Err(Failure::Usage(message.to_owned()));
        }
        let ask = |prompt| rpassword::prompt_password(prompt).map(SecretString::from).context("cannot ask for the password");
        let (first, second) = (ask("Password: ")?, ask("The same again: ")?);
        if first.expose_secret() != second.expose_secret() {
            return Err(anyhow::anyhow!("the two passwords differ: nothing was changed").into());
        }
        Ok(first)
    }
}

/// Everything up to the end, which may be a newline that `echo` wrote.
fn one_line(input: impl io::Read) -> Result<SecretString, Failure> {
    let mut text = String::new();
    input.take(STDIN_BYTES_MAX).read_to_string(&mut text).context("cannot read the password from standard input")?;
    let ending = if text.ends_with("\r\n") { 2 } else { usize::from(text.ends_with('\n')) };
    text.truncate(text.len() - ending);
    let text = SecretString::from(text);
    if text.expose_secret().contains(['\n', '\r']) {
        return Err(anyhow::anyhow!("standard input has more than one line: the password is one").into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_ending_is_not_part_of_a_password_and_white_space_is() {
        for (input, password) in [("a b", "a b"), ("a \n", "a "), ("a\r\n", "a"), ("", "")] {
            assert_eq!(one_line(input.as_bytes()).unwrap().expose_secret(), password);
        }
        for input in ["a\n\n", "a\nb", "a\rb\n"] {
            assert!(one_line(input.as_bytes()).is_err(), "{input:?}");
        }
    }
}
