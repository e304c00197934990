//! Flags of the commands on accounts, conferences and rooms.

use clap::{Args, Subcommand};
use confab_console::values::whole_within;
use confab_protocol::control::{Birthday, Email, Notice, Region, Slug, Title, Username};

use super::operator::AdminFlags;
use crate::domain::AccountName;

/// `users …`
#[derive(Subcommand, Debug)]
pub enum UsersCommand {
    /// Lists all accounts.
    List(ListFlags),
    /// Shows an account, where it is logged in, and its conferences.
    Show(AccountFlags),
    /// Makes an account, for which no e-mail address and no birthday is needed.
    Add(AddFlags),
    /// Makes an account for a program, and prints its token. A bot may look, join, speak, write and leave, and nothing else.
    AddBot(BotFlags),
    /// Ends the token of a bot and prints another.
    NewToken(BotFlags),
    /// Disables an account: it cannot log in any more, its sessions end, and its devices leave their rooms.
    Disable(AccountFlags),
    /// Enables an account again.
    Enable(AccountFlags),
    /// Sets a new password, which is printed if none is given. Every session of the account ends.
    ResetPassword(ResetFlags),
    /// Gives an account another e-mail address, or none: for who cannot read the mail of the old one any more.
    SetEmail(EmailFlags),
    /// Deletes an account with all that is stored of it. Asks first.
    Delete(DeleteAccountFlags),
}

/// `conferences …`
#[derive(Subcommand, Debug)]
pub enum ConferencesCommand {
    /// Lists all conferences.
    List(ListFlags),
    /// Shows a conference, its members and who is in its room.
    Show(SlugFlags),
    /// Creates a conference for an account, which becomes its owner.
    Create(CreateConferenceFlags),
    /// Makes another account the owner. The old owner becomes a moderator.
    Transfer(TransferFlags),
    /// Deletes a conference and closes its room. Asks first.
    Delete(DeleteConferenceFlags),
}

/// `rooms …`
#[derive(Subcommand, Debug)]
pub enum RoomsCommand {
    /// Lists the rooms that somebody is in, those with the most participants first.
    List(ListRoomsFlags),
    /// Shows who is in a room.
    Show(SlugFlags),
    /// Sends everybody out of a room. They may join again.
    End(SlugFlags),
}

/// Flags of a list.
#[derive(Args, Debug)]
pub struct ListFlags {
    #[command(flatten)]
    pub admin: AdminFlags,

    /// List so many at most. Default: all.
    #[arg(long, value_name = "COUNT", value_parser = whole_within(1_u32..=u32::MAX))]
    pub limit: Option<u32>,
}

/// Flags of `rooms list`.
#[derive(Args, Debug)]
pub struct ListRoomsFlags {
    #[command(flatten)]
    pub admin: AdminFlags,

    /// List the so many rooms with the most participants.
    #[arg(long, default_value_t = 100, value_name = "COUNT",
          value_parser = whole_within(1_u32..=1000))]
    pub top: u32,
}

/// The account of a command.
#[derive(Args, Debug)]
pub struct AccountFlags {
    /// Username or e-mail address of the account.
    #[arg(value_name = "ACCOUNT")]
    pub account: AccountName,

    #[command(flatten)]
    pub admin: AdminFlags,
}

/// How a password comes in.
#[derive(Args, Debug)]
pub struct NewPasswordFlags {
    /// Read the password from the first line of standard input. Default: one is made and printed.
    #[arg(long)]
    pub password_stdin: bool,
}

/// Flags of `users add`.
#[derive(Args, Debug)]
pub struct AddFlags {
    /// The username: 3 to 32 letters, digits, '.', '_' and '-'.
    #[arg(value_name = "NAME")]
    pub username: Username,

    /// E-mail address.
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<Email>,

    /// Day of birth.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub birthday: Option<Birthday>,

    #[command(flatten)]
    pub password: NewPasswordFlags,

    #[command(flatten)]
    pub admin: AdminFlags,
}

/// The bot of a command.
#[derive(Args, Debug)]
pub struct BotFlags {
    /// The bot's username: 3 to 32 letters, digits, '.', '_' and '-'.
    #[arg(value_name = "NAME")]
    pub username: Username,

    #[command(flatten)]
    pub admin: AdminFlags,
}

/// Flags of `users reset-password`.
#[derive(Args, Debug)]
pub struct ResetFlags {
    #[command(flatten)]
    pub account: AccountFlags,

    #[command(flatten)]
    pub password: NewPasswordFlags,
}

/// Flags of `users set-email`.
#[derive(Args, Debug)]
pub struct EmailFlags {
    #[command(flatten)]
    pub account: AccountFlags,

    /// The new address.
    #[arg(value_name = "ADDRESS", required_unless_present = "remove")]
    pub email: Option<Email>,

    /// The account has no address any more.
    #[arg(long)]
    pub remove: bool,
}

/// Flags of a command that asks first.
#[derive(Args, Debug)]
pub struct ConfirmFlags {
    /// Do not ask. Needed where there is no terminal to ask at.
    #[arg(long)]
    pub yes: bool,
}

/// Flags of `users delete`.
#[derive(Args, Debug)]
pub struct DeleteAccountFlags {
    #[command(flatten)]
    pub account: AccountFlags,

    /// Delete the conferences that the account owns, too. Without it such an account is not deleted.
    #[arg(long)]
    pub with_conferences: bool,

    #[command(flatten)]
    pub confirm: ConfirmFlags,
}

/// The conference of a command.
#[derive(Args, Debug)]
pub struct SlugFlags {
    /// The conference's slug.
    pub slug: Slug,

    #[command(flatten)]
    pub admin: AdminFlags,
}

/// Flags of `conferences create`.
#[derive(Args, Debug)]
pub struct CreateConferenceFlags {
    /// Its name in the service: 3 to 64 letters, digits and '-'.
    pub slug: Slug,

    /// The owner's username.
    #[arg(long, value_name = "NAME")]
    pub owner: Username,

    /// The title, 1 to 100 characters. Default: the slug.
    #[arg(long, value_name = "TEXT")]
    pub title: Option<Title>,

    /// Only invited accounts may join. Default: every account.
    #[arg(long)]
    pub invite_only: bool,

    /// Region of the relay. Default: that of the first participant.
    #[arg(long, value_name = "NAME")]
    pub region: Option<Region>,

    #[command(flatten)]
    pub admin: AdminFlags,
}

/// Flags of `conferences transfer`.
#[derive(Args, Debug)]
pub struct TransferFlags {
    #[command(flatten)]
    pub conference: SlugFlags,

    /// The new owner's username.
    #[arg(value_name = "NAME")]
    pub owner: Username,
}

/// Flags of `conferences delete`.
#[derive(Args, Debug)]
pub struct DeleteConferenceFlags {
    #[command(flatten)]
    pub conference: SlugFlags,

    #[command(flatten)]
    pub confirm: ConfirmFlags,
}

/// Flags of `message`.
#[derive(Args, Debug)]
pub struct MessageFlags {
    /// The line, of 200 characters at most.
    pub text: Notice,

    #[command(flatten)]
    pub admin: AdminFlags,
}
