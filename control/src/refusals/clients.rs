//! Sign-ins for which there is no place.

use std::time::Duration;

use confab_protocol::control::{ErrorCode, Refusal};

use crate::clients::SignInError;
use crate::clients::share::MAX_CONNECTIONS;

/// Time until some of the lost connections are given up.
const FULL_RETRY: Duration = Duration::from_secs(10);

impl From<SignInError> for Refusal {
    fn from(error: SignInError) -> Self {
        let refusal = match error {
            SignInError::NodeFull => Self::new(
                ErrorCode::Busy,
                "the server has as many people as it takes: try again in a moment",
            ),
            SignInError::AccountFull => Self::new(
                ErrorCode::LimitReached,
                format!(
                    "this account has {MAX_CONNECTIONS} connections here, as many as may be: close one"
                ),
            ),
        };
        refusal.after(FULL_RETRY)
    }
}
