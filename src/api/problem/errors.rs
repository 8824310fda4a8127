//! What each way in which a use case can fail is for the client: the one table from errors to words.

use std::time::Duration;

use super::{CHALLENGE_INVALID_REQUEST, Problem};
use crate::auth::FieldError;
use crate::auth::api_keys::{ApiKeyError, KEYS_MAX};
use crate::auth::authenticate::AuthenticateError;
use crate::auth::invitation::InviteError;
use crate::auth::login::LoginError;
use crate::auth::logout::LogoutError;
use crate::auth::mail::{NoPostage, NotMailed, NotSent};
use crate::auth::one_time::OneTimeError;
use crate::auth::outage::Outage;
use crate::auth::password_change::PasswordChangeError;
use crate::auth::password_reset::PasswordResetError;
use crate::auth::profile::ProfileError;
use crate::auth::reauthenticate::ReauthenticateError;
use crate::auth::refresh::RefreshError;
use crate::auth::register::RegisterError;
use crate::auth::revocation::RevokeError;
use crate::auth::sessions::RevokeSessionError;
use crate::auth::throttle::Throttled;
use crate::auth::users::AdminError;
use crate::policy::bearer::BearerError;
use crate::reason::Reason;

impl From<Outage> for Problem {
    fn from(outage: Outage) -> Self {
        let reason = outage.reason();
        let cause: &dyn std::error::Error = &outage;
        // The client learns that it may try again, the operator what broke.
        if reason == Reason::Internal {
            tracing::error!(error = cause, code = reason.word(), "a request to the API failed");
        } else {
            tracing::warn!(error = cause, code = reason.word(), "a request to the API failed");
        }
        Self::new(reason)
    }
}

impl From<Throttled> for Problem {
    fn from(throttled: Throttled) -> Self {
        Self { retry_after: Some(throttled.retry_after), ..Self::new(Reason::TooMany) }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Invalid(errors) => Self::invalid(errors),
            LoginError::Credentials => Self::new(Reason::Credentials),
            LoginError::Throttled(throttled) => throttled.into(),
            LoginError::Outage(outage) => outage.into(),
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Closed => Self::new(Reason::Forbidden).with_detail("registration is closed"),
            RegisterError::NotInvited => Self::new(Reason::Forbidden).with_detail("registration needs an invitation"),
            RegisterError::BadInvitation => Self::new(Reason::BadTicket),
            RegisterError::Invalid(errors) => Self::invalid(errors),
            RegisterError::Taken(field) => {
                Self { errors: vec![FieldError::new(field, "is taken")], ..Self::new(Reason::Conflict) }
            }
            RegisterError::Throttled(throttled) => throttled.into(),
            RegisterError::Outage(outage) => outage.into(),
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Forged => Self::new(Reason::BadToken),
            RefreshError::Expired => Self::new(Reason::ExpiredToken),
            RefreshError::Ended => Self::new(Reason::RevokedToken),
            RefreshError::Reused(session) => {
                tracing::warn!(%session, "a used refresh token came back: the session has been ended");
                Self::new(Reason::RevokedToken).with_detail("this refresh token was used before; sign in again")
            }
            RefreshError::Outage(outage) => outage.into(),
        }
    }
}

impl From<PasswordChangeError> for Problem {
    fn from(error: PasswordChangeError) -> Self {
        match error {
            PasswordChangeError::Invalid(errors) => Self::invalid(errors),
            PasswordChangeError::Credentials => Self::new(Reason::Credentials).with_detail("the current password is wrong"),
            PasswordChangeError::Throttled(throttled) => throttled.into(),
            PasswordChangeError::Outage(outage) => outage.into(),
        }
    }
}

impl From<OneTimeError> for Problem {
    fn from(error: OneTimeError) -> Self {
        match error {
            OneTimeError::Refused => Self::new(Reason::BadTicket),
            OneTimeError::Throttled(throttled) => throttled.into(),
            OneTimeError::Outage(outage) => outage.into(),
        }
    }
}

impl From<PasswordResetError> for Problem {
    fn from(error: PasswordResetError) -> Self {
        match error {
            PasswordResetError::Invalid(errors) => Self::invalid(errors),
            PasswordResetError::Refused => Self::new(Reason::BadTicket),
            PasswordResetError::Throttled(throttled) => throttled.into(),
            PasswordResetError::Outage(outage) => outage.into(),
        }
    }
}

impl From<NoPostage> for Problem {
    fn from(error: NoPostage) -> Self {
        match error {
            NoPostage::Off => Self::new(Reason::Forbidden).with_detail("this gateway sends no mail"),
            NoPostage::TooMany => {
                let within = Some(Duration::from_secs(3600));
                let full = Self::new(Reason::TooMany).with_detail("this address was sent enough mail for the hour");
                Self { retry_after: within, ..full }
            }
            NoPostage::Full => Self::new(Reason::Unavailable),
        }
    }
}

impl From<NotMailed> for Problem {
    fn from(error: NotMailed) -> Self {
        match error {
            NotMailed::NoPostage(why) => why.into(),
            NotMailed::Throttled(throttled) => throttled.into(),
            NotMailed::Outage(outage) => outage.into(),
        }
    }
}

impl From<NotSent> for Problem {
    fn from(error: NotSent) -> Self {
        match error {
            NotSent::NotFound => ProfileError::NotFound.into(),
            NotSent::NoAddress => Self::new(Reason::NotFound).with_detail("the user has no e-mail address"),
            NotSent::Verified => Self::new(Reason::Conflict).with_detail("the e-mail address is verified already"),
            NotSent::NotMailed(why) => why.into(),
        }
    }
}

impl From<InviteError> for Problem {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::Closed => Self::new(Reason::Forbidden).with_detail("registration is closed"),
            InviteError::Forbidden => Self::new(Reason::Forbidden).with_detail(InviteError::Forbidden.to_string()),
            InviteError::Invalid(errors) => Self::invalid(errors),
            InviteError::NoPostage(why) => why.into(),
            InviteError::Outage(outage) => outage.into(),
        }
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NoSuchUser => Self::new(Reason::NotFound).with_detail("there is no such user"),
            AdminError::LastAdministrator => Self::new(Reason::Forbidden).with_detail(error.to_string()),
            AdminError::Invalid(errors) => Self::invalid(errors),
            AdminError::Outage(outage) => outage.into(),
        }
    }
}

impl From<ReauthenticateError> for Problem {
    fn from(error: ReauthenticateError) -> Self {
        match error {
            ReauthenticateError::Invalid(errors) => Self::invalid(errors),
            ReauthenticateError::Credentials => Self::new(Reason::Credentials).with_detail("the password is wrong"),
            ReauthenticateError::Refused => Self::new(Reason::BadTicket),
            ReauthenticateError::Ended => Self::new(Reason::RevokedToken),
            ReauthenticateError::Throttled(throttled) => throttled.into(),
            ReauthenticateError::Outage(outage) => outage.into(),
        }
    }
}

impl From<RevokeSessionError> for Problem {
    fn from(error: RevokeSessionError) -> Self {
        match error {
            RevokeSessionError::NotFound => Self::new(Reason::NotFound).with_detail("there is no such session"),
            RevokeSessionError::Outage(outage) => outage.into(),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Invalid(rule) => Self::invalid(vec![rule]),
            RevokeError::NoSuchSession => Self::new(Reason::NotFound).with_detail("there is no such session"),
            RevokeError::NoSuchUser => Self::new(Reason::NotFound).with_detail("there is no such user"),
            RevokeError::Issuer(_) => {
                Self::new(Reason::Unavailable).with_detail("the token's issuer does not say what it is known by")
            }
            RevokeError::Outage(outage) => outage.into(),
        }
    }
}

impl From<LogoutError> for Problem {
    fn from(error: LogoutError) -> Self {
        match error {
            LogoutError::Forged => Self::new(Reason::BadToken),
            LogoutError::Ended => Self::new(Reason::RevokedToken),
            LogoutError::Outage(outage) => outage.into(),
        }
    }
}

impl From<ApiKeyError> for Problem {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::Disabled => Self::new(Reason::Forbidden).with_detail("api keys are switched off"),
            ApiKeyError::NoSuchUser => Self::new(Reason::NotFound).with_detail("the token's subject has no account here"),
            ApiKeyError::NoSuchKey => Self::new(Reason::NotFound).with_detail("there is no such api key"),
            ApiKeyError::Invalid(errors) => Self::invalid(errors),
            ApiKeyError::TooMany => {
                Self::new(Reason::Forbidden).with_detail(format!("there are {KEYS_MAX} api keys already: revoke one"))
            }
            ApiKeyError::Outage(outage) => outage.into(),
        }
    }
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::NotFound => Self::new(Reason::NotFound).with_detail("the token's subject has no account here"),
            ProfileError::Invalid(errors) => Self::invalid(errors),
            ProfileError::Outage(outage) => outage.into(),
        }
    }
}

impl From<BearerError> for Problem {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::Repeated => Self {
                challenge: Some(CHALLENGE_INVALID_REQUEST.into()),
                ..Self::new(Reason::Malformed).with_detail("there is more than one authorization field")
            },
            BearerError::Empty => Self::new(Reason::MissingToken),
            BearerError::Malformed | BearerError::TooLong => Self::new(Reason::BadToken),
        }
    }
}

impl From<AuthenticateError> for Problem {
    fn from(error: AuthenticateError) -> Self {
        // Which check failed would help only those who try; the log has it.
        tracing::debug!(code = error.reason().word(), detail = error.reason_detail(), "an access token was refused");
        Self::new(error.reason())
    }
}
