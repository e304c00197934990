//! Flags of the commands on e-mail addresses.

use clap::Args;

use super::{FirstSight, PasswordFlags, default_device};

/// `verify-email`
#[derive(Debug, Args)]
pub struct VerifyEmail {
    /// The code of the mail. Without it the server sends one, and a person at a terminal is asked for it.
    pub code: Option<String>,
}

/// `change-email`
#[derive(Debug, Args)]
pub struct ChangeEmail {
    /// The new address.
    #[arg(required_unless_present = "remove")]
    pub email: Option<String>,
    /// The code of the mail to the address that the account has, if that is verified. Without it the server sends one, and a person at a
    /// terminal is asked for it.
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Remove the address; not every server allows that.
    #[arg(long)]
    pub remove: bool,
    /// The account's password.
    #[command(flatten)]
    pub password: PasswordFlags,
}

/// `reset-password`
#[derive(Debug, Args)]
pub struct ResetPassword {
    /// Name or e-mail address of the account.
    pub name: String,
    /// The code of the mail. Without it the server sends one, and a person at a terminal is asked for it.
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Name of this session in the list of sessions, up to 64 characters.
    #[arg(long, default_value_t = default_device(), value_name = "TEXT")]
    pub device: String,
    /// A server that was never seen before.
    #[command(flatten)]
    pub first_sight: FirstSight,
    /// The new password.
    #[command(flatten)]
    pub password: PasswordFlags,
}
