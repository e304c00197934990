//! Errors of sign-ins at the maximum of connections.

use std::time::Duration;

use confab_protocol::control::{ErrorCode, Refusal};

use crate::clients::SignInError;
use crate::clients::share::MAX_CONNECTIONS;

/// Time until some lost connections have timed out.
const FULL_RETRY: Duration = Duration::from_secs(10);

impl From<SignInError> for Refusal {
    fn from(error: SignInError) -> Self {
        let refusal = match error {
            SignInError::NodeFull => Self::new(
                ErrorCode::Busy,
                "the server has its maximum of signed-in connections: try again in a moment",
            ),
            SignInError::AccountFull => Self::new(
                ErrorCode::LimitReached,
                format!(
                    "this account has {MAX_CONNECTIONS} connections to this server, the maximum: close one"
                ),
            ),
        };
        refusal.after(FULL_RETRY)
    }
}
