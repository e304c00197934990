//! The commands on accounts, conferences and rooms.

mod ask;

use confab_console::out;
use confab_protocol::control::Slug;
use confab_protocol::control::room::Visibility;
use confab_protocol::wire::admin_response::Kind;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::json;

pub use ask::InputError;
use ask::{confirm, new_password};

use super::answers::{answer, object, report_change};
use super::asked::operator;
use super::errors::CommandError;
use crate::cluster::nodes::admin::{AdminRequest, NewAccount, NewPassword};
use crate::domain::AccountName;
use crate::flags::{
    AdminFlags, BotFlags, ConferencesCommand, CreateConferenceFlags, ListFlags, MessageFlags,
    RoomsCommand, UsersCommand,
};
use crate::operator::admin::Listed;
use crate::operator::{OperatorError, listing};

pub(super) async fn users(command: &UsersCommand) -> Result<(), CommandError> {
    match command {
        UsersCommand::List(flags) => list(flags, Listed::Accounts).await,
        UsersCommand::Show(flags) => {
            let ask = AdminRequest::ShowAccount(flags.account.clone());
            let Kind::Account(details) = admin(&flags.admin, ask).await? else {
                return Err(OperatorError::Malformed.into());
            };
            match flags.admin.json {
                true => object(&listing::account_details_json(&details)),
                false => answer(listing::account(&details).trim_end()),
            }
            Ok(())
        }
        UsersCommand::Add(flags) => {
            let (password, is_made) = new_password(&flags.password)?;
            let ask = AdminRequest::AddAccount(NewAccount {
                username: flags.username.clone(),
                email: flags.email.clone(),
                birthday: flags.birthday,
                password: password.clone(),
            });
            change(&flags.admin, ask).await?;
            let name = flags.username.as_str();
            let text = format!("{name}: account added");
            report_password(
                &flags.admin,
                ("added", name),
                &text,
                is_made.then_some(&password),
            );
            Ok(())
        }
        UsersCommand::AddBot(flags) => {
            let ask = AdminRequest::AddBot(flags.username.clone());
            token(flags, ask, ("bot_added", "bot added")).await
        }
        UsersCommand::NewToken(flags) => {
            let ask = AdminRequest::RenewToken(flags.username.clone());
            let done = ("token_renewed", "the old token has ended");
            token(flags, ask, done).await
        }
        UsersCommand::Disable(flags) => set_disabled(&flags.admin, &flags.account, true).await,
        UsersCommand::Enable(flags) => set_disabled(&flags.admin, &flags.account, false).await,
        UsersCommand::ResetPassword(flags) => {
            let (password, is_made) = new_password(&flags.password)?;
            let (flags, account) = (&flags.account.admin, &flags.account.account);
            let ask = AdminRequest::ResetPassword(account.clone(), password.clone());
            change(flags, ask).await?;
            let name = account.as_str();
            let text = format!("{name}: new password set, and logged out everywhere");
            let made = is_made.then_some(&password);
            report_password(flags, ("password_reset", name), &text, made);
            Ok(())
        }
        UsersCommand::SetEmail(flags) => {
            if flags.remove && flags.email.is_some() {
                return Err(InputError::AddressAndRemove.into());
            }
            let (admin, account) = (&flags.account.admin, &flags.account.account);
            let ask = AdminRequest::SetEmail(account.clone(), flags.email.clone());
            change(admin, ask).await?;
            let name = account.as_str();
            let text = match &flags.email {
                Some(email) => format!("{name}: the e-mail address is {}", email.as_str()),
                None => format!("{name}: no e-mail address any more"),
            };
            report_change(admin, ("email_set", name), &text);
            Ok(())
        }
        UsersCommand::Delete(flags) => {
            let name = flags.account.account.as_str();
            let question = format!("delete the account {name}, for ever?");
            confirm(&flags.confirm, &question)?;
            let ask = AdminRequest::DeleteAccount {
                account: flags.account.account.clone(),
                with_conferences: flags.with_conferences,
            };
            change(&flags.account.admin, ask).await?;
            let text = format!("{name}: deleted");
            report_change(&flags.account.admin, ("deleted", name), &text);
            Ok(())
        }
    }
}

pub(super) async fn conferences(command: &ConferencesCommand) -> Result<(), CommandError> {
    match command {
        ConferencesCommand::List(flags) => list(flags, Listed::Conferences).await,
        ConferencesCommand::Show(flags) => {
            let ask = AdminRequest::ShowConference(flags.slug.clone());
            let Kind::Conference(details) = admin(&flags.admin, ask).await? else {
                return Err(OperatorError::Malformed.into());
            };
            match flags.admin.json {
                true => object(&listing::conference_details_json(&details)),
                false => answer(listing::conference(&details).trim_end()),
            }
            Ok(())
        }
        ConferencesCommand::Create(flags) => create_conference(flags).await,
        ConferencesCommand::Transfer(flags) => {
            let slug = &flags.conference.slug;
            let ask = AdminRequest::Transfer {
                slug: slug.clone(),
                owner: flags.owner.clone(),
            };
            let owner = flags.owner.as_str();
            let pending = change(&flags.conference.admin, ask).await?;
            let text = format!("{slug}: {owner} owns it now{pending}");
            let event = ("transferred", slug.as_str());
            report_change(&flags.conference.admin, event, &text);
            Ok(())
        }
        ConferencesCommand::Delete(flags) => {
            let slug = &flags.conference.slug;
            let question = format!("delete the conference {slug} and its memberships, for ever?");
            confirm(&flags.confirm, &question)?;
            let ask = AdminRequest::DeleteConference(slug.clone());
            let pending = change(&flags.conference.admin, ask).await?;
            let text = format!("{slug}: deleted{pending}");
            report_change(&flags.conference.admin, ("deleted", slug.as_str()), &text);
            Ok(())
        }
    }
}

pub(super) async fn rooms(command: &RoomsCommand) -> Result<(), CommandError> {
    match command {
        RoomsCommand::List(flags) => {
            let ask = AdminRequest::ListRooms { limit: flags.top };
            let Kind::Rooms(rooms) = admin(&flags.admin, ask).await? else {
                return Err(OperatorError::Malformed.into());
            };
            match flags.admin.json {
                true => listing::rooms_json(&rooms).iter().for_each(object),
                false => answer(listing::rooms(&rooms).trim_end()),
            }
            Ok(())
        }
        RoomsCommand::Show(flags) => {
            let ask = AdminRequest::ShowRoom(flags.slug.clone());
            let Kind::Room(roster) = admin(&flags.admin, ask).await? else {
                return Err(OperatorError::Malformed.into());
            };
            match flags.admin.json {
                true => object(&json!({
                    "slug": flags.slug.as_str(),
                    "present": listing::present_json(&roster.present),
                })),
                false => answer(listing::room(&roster.present).trim_end()),
            }
            Ok(())
        }
        RoomsCommand::End(flags) => end_room(&flags.admin, &flags.slug).await,
    }
}

pub(super) async fn message(flags: &MessageFlags) -> Result<(), CommandError> {
    change(&flags.admin, AdminRequest::Announce(flags.text.clone())).await?;
    let event = ("shown", flags.text.as_str());
    report_change(&flags.admin, event, "shown to everybody who is connected");
    Ok(())
}

async fn list(flags: &ListFlags, listed: Listed) -> Result<(), CommandError> {
    let mut is_first = true;
    let each = |rows| {
        if flags.admin.json {
            listing::objects(&rows).iter().for_each(object);
        } else {
            if is_first {
                answer(&listing::heads(&rows));
            }
            listing::lines(&rows).iter().for_each(|line| answer(line));
        }
        is_first = false;
        // Page by page, so that a slow reader does not fill the memory.
        Ok::<(), CommandError>(out().wait()?)
    };
    let operator = operator(&flags.admin.operator)?;
    operator.list(listed, flags.limit, each).await
}

async fn set_disabled(
    flags: &AdminFlags,
    account: &AccountName,
    disabled: bool,
) -> Result<(), CommandError> {
    change(flags, AdminRequest::SetDisabled(account.clone(), disabled)).await?;
    let name = account.as_str();
    let (event, text) = match disabled {
        true => ("disabled", "disabled, and logged out everywhere"),
        false => (
            "enabled",
            "enabled: it can log in again (a bot: with the token of `users new-token`)",
        ),
    };
    report_change(flags, (event, name), &format!("{name}: {text}"));
    Ok(())
}

/// Has a token made and shows it, as the environment of `confab` takes it.
async fn token(
    flags: &BotFlags,
    ask: AdminRequest,
    (event, text): (&str, &str),
) -> Result<(), CommandError> {
    let Kind::Token(made) = admin(&flags.admin, ask).await? else {
        return Err(OperatorError::Malformed.into());
    };
    let name = flags.username.as_str();
    let token = BASE64URL_NOPAD.encode(&made.token);
    let fingerprint = format!("sha256:{}", HEXLOWER.encode(&made.authority));
    if flags.admin.json {
        object(&json!({ "event": event, "of": name, "token": token, "fingerprint": fingerprint }));
        return Ok(());
    }
    answer(&format!("{name}: {text}"));
    answer(&format!("CONFAB_TOKEN={token}"));
    answer(&format!("CONFAB_FINGERPRINT={fingerprint}"));
    answer(
        "the token is shown this once; with both, and CONFAB_SERVER, in its environment `confab join SLUG` is the bot",
    );
    Ok(())
}

async fn create_conference(flags: &CreateConferenceFlags) -> Result<(), CommandError> {
    let (slug, owner) = (&flags.slug, flags.owner.as_str());
    let title = flags.title.clone();
    let ask = AdminRequest::CreateConference {
        title: match title {
            Some(title) => title,
            // A slug is a title, too.
            None => slug
                .as_str()
                .parse()
                .map_err(|_| OperatorError::Malformed)?,
        },
        slug: slug.clone(),
        visibility: match flags.invite_only {
            true => Visibility::Invite,
            false => Visibility::Public,
        },
        region: flags.region.clone(),
        owner: flags.owner.clone(),
    };
    change(&flags.admin, ask).await?;
    let text = format!("{slug}: created; {owner} owns it");
    report_change(&flags.admin, ("created", slug.as_str()), &text);
    Ok(())
}

async fn end_room(flags: &AdminFlags, slug: &Slug) -> Result<(), CommandError> {
    let ask = AdminRequest::EndRoom(slug.clone());
    let Kind::Count(count) = admin(flags, ask).await? else {
        return Err(OperatorError::Malformed.into());
    };
    let text = match count {
        0 => format!("{slug}: nobody is in the room"),
        1 => format!("{slug}: ended; one account was sent out"),
        count => format!("{slug}: ended; {count} accounts were sent out"),
    };
    report_change(flags, ("ended", slug.as_str()), &text);
    Ok(())
}

async fn admin(flags: &AdminFlags, ask: AdminRequest) -> Result<Kind, CommandError> {
    Ok(operator(&flags.operator)?.admin(ask).await?)
}

/// Has something changed. Returns what a report of it has to add.
async fn change(flags: &AdminFlags, ask: AdminRequest) -> Result<&'static str, CommandError> {
    Ok(match operator(&flags.operator)?.admin_done(ask).await? {
        true => "",
        false => "; a relay that cannot be reached obeys when it is back",
    })
}

/// Reports that an account has a new password. One that was made is shown, once.
fn report_password(
    flags: &AdminFlags,
    (event, of): (&str, &str),
    text: &str,
    made: Option<&NewPassword>,
) {
    let made = made.map(|password| password.0.as_str());
    if flags.json {
        return object(&match made {
            Some(password) => json!({ "event": event, "of": of, "password": password }),
            None => json!({ "event": event, "of": of }),
        });
    }
    answer(text);
    if let Some(password) = made {
        answer(&format!("password: {password}"));
        answer("it is shown this once; `confab passwd` changes it");
    }
}
