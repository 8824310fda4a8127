//! The operations that routes name, each by the use case that the gateway's own API calls.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::refusal::Refusal;
use super::{Call, DialectApi, Done, one_time};
use crate::auth::login::SignedIn;
use crate::auth::register::NewAccount;
use crate::auth::terms::{Renewal, SessionTerms};
use crate::auth::tokens::Tokens;
use crate::auth::users::AdminError;
use crate::dialect::{Credentials, Dialect, Input, InputFault, Inputs, NewUser, UserValues};
use crate::identity::user::{Email, User, Username};
use crate::identity::{Caller, Credential, access_token};
use crate::reason::Reason;

/// The most users that one answer lists: these systems have no pages.
const LISTED_MAX: u32 = 1000;

impl DialectApi {
    pub(super) async fn perform(&self, call: &Call<'_>, inputs: Inputs) -> Result<Done, Refusal> {
        match inputs {
            Inputs::Login(credentials) => self.login(call, credentials).await,
            Inputs::Signup(user) => self.signup(call, user).await,
            Inputs::Refresh { refresh_token } => {
                let terms = terms(&self.auth.terms(), call.dialect);
                let tokens = self.auth.refresh_under(&terms, refresh_token.expose_secret(), &call.context.origin()).await?;
                Ok(Done { tokens: Some(tokens), ..Done::default() })
            }
            Inputs::Logout { token } => {
                self.auth.logout_strictly(token.expose_secret(), &call.context.origin()).await?;
                Ok(Done::default())
            }
            Inputs::Verify { access_token } => self.verify(&access_token).await,
            Inputs::ListUsers { access_token } => self.list_users(access_token.as_ref()).await,
            Inputs::CheckPassword(it) => {
                let from = call.context.origin();
                let user = self.auth.check_password(name(&it), it.password.expose_secret(), &from).await?;
                Ok(Done { user: Some(UserValues::from(&user)), ..Done::default() })
            }
            Inputs::CreateOneTimeToken { kind, user_id, email, metadata, access_token } => {
                let caller = match &access_token {
                    Some(token) => Some(self.in_session(token).await?),
                    None => None,
                };
                let (link, from) = (call.dialect.link.as_ref(), call.context.origin());
                let wanted = one_time::Wanted { kind, user_id, email, metadata, caller, link, from };
                one_time::create(&self.auth, wanted).await
            }
            Inputs::RedeemOneTimeToken { token } => one_time::redeem(&self.auth, &token, &call.context.origin()).await,
            Inputs::ResetPassword { ticket, new_password } => {
                check_rule(call.dialect, Input::NewPassword, &new_password)?;
                one_time::reset_password(&self.auth, &ticket, &new_password, &call.context.origin()).await
            }
            Inputs::VerifyEmail { ticket } => one_time::verify_email(&self.auth, &ticket, &call.context.origin()).await,
            Inputs::Health => Ok(Done::default()),
        }
    }

    async fn login(&self, call: &Call<'_>, it: Credentials) -> Result<Done, Refusal> {
        let terms = terms(&self.auth.terms(), call.dialect);
        let from = call.context.origin();
        // Asked before the login: one that fails does not say whether the name was unknown, and by the time that is asked
        // somebody may have taken it.
        if call.route.signs_up && self.is_unknown(&it).await? {
            match self.sign_up(call, new_user(&it), true).await {
                // Somebody was faster under this name, perhaps the same client: then it is a login like any other.
                Err(refusal) if refusal.reason() == Reason::Conflict => {}
                signed_up => return signed_up,
            }
        }
        let signed_in = self.auth.login_under(&terms, name(&it), it.password.expose_secret(), &from).await;
        let SignedIn { user, tokens } = signed_in?;
        Ok(Done { user: Some(UserValues::from(&user)), tokens: Some(tokens), ..Done::default() })
    }

    /// Whether nobody goes by this name.
    async fn is_unknown(&self, it: &Credentials) -> Result<bool, Refusal> {
        match self.auth.find_user(name(it)).await {
            Ok(_) => Ok(false),
            Err(AdminError::NoSuchUser) => Ok(true),
            Err(AdminError::Outage(outage)) => Err(outage.into()),
            Err(AdminError::Invalid(_) | AdminError::LastAdministrator) => Err(Refusal::new(Reason::Internal)),
        }
    }

    async fn signup(&self, call: &Call<'_>, user: NewUser) -> Result<Done, Refusal> {
        let Some(ticket) = user.ticket.clone() else { return self.sign_up(call, user, call.route.signs_in).await };
        check_rule(call.dialect, Input::Password, &user.password)?;
        let password = user.password.clone();
        let user = one_time::sign_up(&self.auth, &ticket, account(user), &call.context.origin()).await?;
        let tokens = if call.route.signs_in { Some(self.first_login(call, &user, &password).await?) } else { None };
        Ok(Done { user: Some(UserValues::from(&user)), tokens, spends_ticket: true, ..Done::default() })
    }

    /// Signs a user in who has just chosen their password.
    async fn first_login(&self, call: &Call<'_>, user: &User, password: &SecretString) -> Result<Tokens, Refusal> {
        let (username, email) = (user.username.as_ref(), user.email.as_ref());
        let name = username.map(Username::as_typed).or_else(|| email.map(Email::as_typed)).unwrap_or_default();
        let (terms, from) = (terms(&self.auth.terms(), call.dialect), call.context.origin());
        Ok(self.auth.login_under(&terms, name, password.expose_secret(), &from).await?.tokens)
    }

    async fn sign_up(&self, call: &Call<'_>, user: NewUser, signs_in: bool) -> Result<Done, Refusal> {
        let dialect = call.dialect;
        check_rule(dialect, Input::Password, &user.password)?;
        let from = call.context.origin();
        if !signs_in {
            let user = self.auth.register_asking(&dialect.signup_roles, account(user), &from).await?;
            return Ok(Done { user: Some(UserValues::from(&user)), ..Done::default() });
        }
        let terms = terms(&self.auth.terms(), dialect);
        let registered = self.auth.register_and_sign_in(&dialect.signup_roles, account(user), &terms, &from);
        let (user, tokens) = registered.await?;
        let tokens = tokens.ok_or_else(|| Refusal::new(Reason::Credentials))?;
        Ok(Done { user: Some(UserValues::from(&user)), tokens: Some(tokens), ..Done::default() })
    }

    async fn verify(&self, token: &SecretString) -> Result<Done, Refusal> {
        let caller = self.authenticator.authenticate(token.expose_secret()).await?;
        let claims = access_token::payload_of_verified(token.expose_secret());
        Ok(Done { user: Some(said_of(&caller)), claims, ..Done::default() })
    }

    /// The caller, who must be a user in a session: what programs hold (API keys, clients' tokens) manages nobody.
    async fn in_session(&self, token: &SecretString) -> Result<Arc<Caller>, Refusal> {
        let caller = self.authenticator.authenticate(token.expose_secret()).await?;
        if caller.principal.credential == Credential::Session { Ok(caller) } else { Err(Refusal::new(Reason::Forbidden)) }
    }

    /// Everybody's public name; whoever proves to be an administrator sees all that routes can show.
    async fn list_users(&self, token: Option<&SecretString>) -> Result<Done, Refusal> {
        if let Some(token) = token {
            let caller = self.in_session(token).await?;
            if !self.auth.is_administrator(&caller) {
                return Err(Refusal::new(Reason::Forbidden));
            }
        }
        let users = self.auth.list_users_after(None, LISTED_MAX).await?;
        let users = users.iter().map(UserValues::from);
        let users = match token {
            Some(_) => users.collect(),
            // Nothing but names leaves, whatever a template might ask for; an address is not a public name.
            None => {
                let named = users.filter(|user| user.username.is_some());
                named.map(|UserValues { username, .. }| UserValues { username, ..UserValues::default() }).collect()
            }
        };
        Ok(Done { users, ..Done::default() })
    }
}

/// The name to look up: one in the wrong form for its route belongs to nobody, and is answered like any other.
fn name(it: &Credentials) -> &str {
    let address = it.name.contains('@');
    let fits = match it.name_is {
        Input::Email => address,
        Input::Username => !address,
        _ => true,
    };
    if fits { &it.name } else { "" }
}

fn new_user(it: &Credentials) -> NewUser {
    let is_address = it.name_is == Input::Email || (it.name_is == Input::Identifier && it.name.contains('@'));
    let name = Some(it.name.clone());
    let (username, email) = if is_address { (None, name) } else { (name, None) };
    let password = it.password.clone();
    NewUser { username, email, password, given_name: None, family_name: None, roles: Vec::new(), ticket: None }
}

fn account(user: NewUser) -> NewAccount {
    let NewUser { username, email, password, given_name, family_name, roles, ticket: _ } = user;
    NewAccount { username, email, password, given_name, family_name, roles }
}

/// The system's own rule for new passwords; the gateway's is the use case's to hold.
fn check_rule(dialect: &Dialect, input: Input, password: &SecretString) -> Result<(), Refusal> {
    match dialect.password {
        Some(rule) if !rule.allows(password.expose_secret()) => Err(Refusal::invalid(InputFault::new(input.word(), rule.text()))),
        _ => Ok(()),
    }
}

/// Under which terms the dialect's tokens are issued: the gateway's own, except where it says otherwise.
fn terms(own: &SessionTerms, dialect: &Arc<Dialect>) -> SessionTerms {
    let claims = Arc::clone(dialect);
    SessionTerms {
        access_token: dialect.ttl.access.unwrap_or(own.access_token),
        refresh_token: dialect.ttl.refresh.unwrap_or(own.refresh_token),
        renewal: match dialect.rotate {
            true => Renewal::Rotate { revokes_access: dialect.revoke_access_on_refresh },
            false => Renewal::Stand,
        },
        claims: Some(Arc::new(move |user: &User| claims.claims.render(&UserValues::from(user)))),
    }
}

/// What an access token says about its user.
fn said_of(caller: &Caller) -> UserValues {
    let principal = &caller.principal;
    UserValues {
        id: principal.subject.to_string(),
        username: principal.username.as_deref().map(str::to_owned),
        email: principal.email.as_deref().map(str::to_owned),
        given_name: None,
        family_name: None,
        roles: principal.roles.iter().map(ToString::to_string).collect(),
    }
}
