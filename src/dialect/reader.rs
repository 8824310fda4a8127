//! From a request to what its operation is told: every rule that is broken is found before one is told.

use secrecy::SecretString;
use serde_json::Value;

use super::inputs::{Credentials, InputFault, Inputs, NewUser, RefusedInputs};
use super::operation::{Input, LOGIN_NAMES, Operation, SIGNUP_NAMES};
use super::route::DialectRoute;
use super::sources::{Found, Sources, Unreadable};

const MISSING: &str = "cannot be missing or empty";
const NOT_TEXT: &str = "must be a string";
const NOT_TEXTS: &str = "must be a list of strings";
const NOT_OBJECT: &str = "must be an object";
const NO_MATCH: &str = "Passwords must match";

impl DialectRoute {
    /// Reads what the operation is told.
    ///
    /// # Errors
    /// The word of the refusal: an input is missing, of the wrong type, or has two readings.
    pub fn inputs(&self, request: &Sources<'_>) -> Result<Inputs, RefusedInputs> {
        let mut reader = Reader { route: self, request, faults: Vec::new() };
        let inputs = reader.read()?;
        // Every fault is found before one is told; an input without faults was read as a value.
        match inputs {
            Some(inputs) if reader.faults.is_empty() => Ok(inputs),
            _ => Err(RefusedInputs { code: "invalid", faults: reader.faults }),
        }
    }
}

struct Reader<'a> {
    route: &'a DialectRoute,
    request: &'a Sources<'a>,
    faults: Vec<InputFault>,
}

impl<'a> Reader<'a> {
    /// The inputs; none if faults keep them from being complete.
    fn read(&mut self) -> Result<Option<Inputs>, RefusedInputs> {
        use Operation::*;
        Ok(match self.route.operation {
            Login => self.credentials()?.map(Inputs::Login),
            CheckPassword => self.credentials()?.map(Inputs::CheckPassword),
            Signup => self.new_user()?.map(Inputs::Signup),
            Refresh => Some(Inputs::Refresh { refresh_token: self.token(Input::RefreshToken, "missing_token")? }),
            Logout => Some(Inputs::Logout { token: self.token(Input::Token, "missing_token")? }),
            Verify => Some(Inputs::Verify { access_token: self.token(Input::AccessToken, "missing_token")? }),
            ListUsers if self.route.public => Some(Inputs::ListUsers { access_token: None }),
            ListUsers => Some(Inputs::ListUsers { access_token: Some(self.token(Input::AccessToken, "missing_token")?) }),
            CreateOneTimeToken => self.one_time_token()?,
            RedeemOneTimeToken => Some(Inputs::RedeemOneTimeToken { token: self.token(Input::Token, "bad_ticket")? }),
            ResetPassword => {
                let ticket = self.token(Input::Ticket, "bad_ticket")?;
                let new_password = self.needed(Input::NewPassword)?.map(Into::into);
                new_password.map(|new_password| Inputs::ResetPassword { ticket, new_password })
            }
            VerifyEmail => Some(Inputs::VerifyEmail { ticket: self.token(Input::Ticket, "bad_ticket")? }),
            Health => Some(Inputs::Health),
        })
    }

    fn credentials(&mut self) -> Result<Option<Credentials>, RefusedInputs> {
        let names = self.names(LOGIN_NAMES)?;
        let password = self.needed(Input::Password)?;
        let name = names.into_iter().find_map(|(input, name)| Some((input, name?)));
        Ok(name.zip(password).map(|((name_is, name), password)| Credentials { name, name_is, password: password.into() }))
    }

    fn new_user(&mut self) -> Result<Option<NewUser>, RefusedInputs> {
        let mut names = self.names(SIGNUP_NAMES)?.into_iter();
        let mut name = || names.next().and_then(|(_, name)| name);
        let (username, email) = (name(), name());
        let password = self.needed(Input::Password)?;
        let again = self.text(Input::PasswordAgain)?;
        // A client that sends the second one at all means it to be compared.
        if let (Some(password), Some(again)) = (&password, &again)
            && password != again
        {
            self.faults.push(InputFault::new(Input::Password.word(), NO_MATCH));
            self.faults.push(InputFault::new(Input::PasswordAgain.word(), NO_MATCH));
        }
        let (given_name, family_name) = (self.text(Input::GivenName)?, self.text(Input::FamilyName)?);
        let roles = self.texts(Input::Roles)?;
        let ticket = self.text(Input::Ticket)?.map(Into::into);
        let user =
            |password: String| NewUser { username, email, password: password.into(), given_name, family_name, roles, ticket };
        Ok(password.map(user))
    }

    fn one_time_token(&mut self) -> Result<Option<Inputs>, RefusedInputs> {
        let kind = self.needed(Input::Kind)?;
        let (user_id, email) = (self.text(Input::UserId)?, self.text(Input::Email)?);
        let metadata = match self.find(Input::Metadata)? {
            None => None,
            Some(Found::Json(value @ Value::Object(_))) => Some(value.clone()),
            Some(_) => self.fault(Input::Metadata, NOT_OBJECT),
        };
        let access_token = self.text(Input::AccessToken)?.map(Into::into);
        Ok(kind.map(|kind| Inputs::CreateOneTimeToken { kind, user_id, email, metadata, access_token }))
    }

    /// The names by which a user goes, of which the route reads at least one: if only one is read it must be there,
    /// else any.
    fn names(&mut self, inputs: &'static [Input]) -> Result<Vec<(Input, Option<String>)>, RefusedInputs> {
        let before = self.faults.len();
        let read: Vec<Input> = inputs.iter().copied().filter(|input| self.route.inputs.contains_key(input)).collect();
        let names: Vec<_> = inputs.iter().map(|input| Ok((*input, self.text(*input)?))).collect::<Result<_, RefusedInputs>>()?;
        let told = self.faults.len() > before;
        if !told && names.iter().all(|(_, name)| name.is_none()) {
            let _: Option<()> = read.first().and_then(|input| self.fault(*input, MISSING));
        }
        Ok(names)
    }

    /// A credential that must be there: a token in the wrong type, or in no place, is not an invalid field.
    fn token(&mut self, input: Input, missing: &'static str) -> Result<SecretString, RefusedInputs> {
        let refused = |code| RefusedInputs { code, faults: Vec::new() };
        let bad = if missing == "missing_token" { "bad_token" } else { missing };
        match self.find(input)? {
            None => Err(refused(missing)),
            Some(Found::Text(text)) => Ok(text.into_owned().into()),
            Some(Found::Json(Value::String(text))) => Ok(text.as_str().into()),
            Some(Found::Json(_)) => Err(refused(bad)),
        }
    }

    /// A text that must be there.
    fn needed(&mut self, input: Input) -> Result<Option<String>, RefusedInputs> {
        let before = self.faults.len();
        let text = self.text(input)?;
        if text.is_none() && self.faults.len() == before {
            return Ok(self.fault(input, MISSING));
        }
        Ok(text)
    }

    /// A text that may be there, unless the route requires it.
    fn text(&mut self, input: Input) -> Result<Option<String>, RefusedInputs> {
        match self.find(input)? {
            None if self.route.required.contains(&input) => Ok(self.fault(input, MISSING)),
            None => Ok(None),
            Some(Found::Text(text)) => Ok(Some(text.into_owned())),
            Some(Found::Json(Value::String(text))) => Ok(Some(text.clone())),
            Some(Found::Json(_)) => Ok(self.fault(input, NOT_TEXT)),
        }
    }

    /// A list of texts; one text is a list of one.
    fn texts(&mut self, input: Input) -> Result<Vec<String>, RefusedInputs> {
        let list = match self.find(input)? {
            None if self.route.required.contains(&input) => self.fault(input, MISSING),
            None => None,
            Some(Found::Text(text)) => Some(vec![text.into_owned()]),
            Some(Found::Json(Value::String(text))) => Some(vec![text.clone()]),
            Some(Found::Json(Value::Array(elements))) => {
                let texts: Option<Vec<_>> = elements.iter().map(|element| element.as_str().map(str::to_owned)).collect();
                texts.or_else(|| self.fault(input, NOT_TEXTS))
            }
            Some(Found::Json(_)) => self.fault(input, NOT_TEXTS),
        };
        Ok(list.unwrap_or_default())
    }

    fn fault<T>(&mut self, input: Input, rule: &'static str) -> Option<T> {
        self.faults.push(InputFault::new(input.word(), rule));
        None
    }

    /// What stands at the first of the input's places that has something.
    fn find(&self, input: Input) -> Result<Option<Found<'a>>, RefusedInputs> {
        for place in self.route.places(input) {
            let found = self.request.find(place).map_err(|unreadable| match unreadable {
                Unreadable::Malformed => RefusedInputs { code: "malformed", faults: Vec::new() },
                Unreadable::BadToken => RefusedInputs { code: "bad_token", faults: Vec::new() },
                Unreadable::NoObject => RefusedInputs { code: "invalid", faults: vec![InputFault::new("body", NOT_OBJECT)] },
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
