//! Requests of operators about accounts, conferences and rooms, as domain types. Answers are messages, which the operator's command
//! shows as they are.

use std::fmt;

use bytes::Bytes;
use confab_protocol::control::room::{BadField, Visibility};
use confab_protocol::control::{Birthday, Email, Notice, Region, Slug, Title, Username};
use confab_protocol::wire::{self, admin_request::Kind};
use zeroize::Zeroizing;

use crate::domain::AccountName;
use crate::store::Cursor;

/// Maximum number of items on a page.
pub const MAX_PAGE: u32 = 500;
/// Maximum number of rooms in a list.
pub const MAX_ROOMS: u32 = 1000;

/// A request of an operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdminRequest {
    ListAccounts(Span),
    ShowAccount(AccountName),
    AddAccount(NewAccount),
    /// Makes an account for a program.
    AddBot(Username),
    /// Ends the token of a bot and makes another.
    RenewToken(Username),
    /// Disables the account and ends its sessions, or enables it.
    SetDisabled(AccountName, bool),
    /// Sets a password and ends every session of the account.
    ResetPassword(AccountName, NewPassword),
    /// Gives the account another e-mail address, or none.
    SetEmail(AccountName, Option<Email>),
    DeleteAccount {
        account: AccountName,
        /// False: an account that owns a conference is refused.
        with_conferences: bool,
    },
    ListConferences(Span),
    ShowConference(Slug),
    CreateConference {
        slug: Slug,
        title: Title,
        visibility: Visibility,
        region: Option<Region>,
        owner: Username,
    },
    Transfer {
        slug: Slug,
        owner: Username,
    },
    DeleteConference(Slug),
    /// The rooms with the most participants, on all nodes.
    ListRooms {
        /// At most [`MAX_ROOMS`].
        limit: u32,
    },
    ShowRoom(Slug),
    /// Sends everybody out.
    EndRoom(Slug),
    /// Shows a line to every client that is connected to any node.
    Announce(Notice),
}

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    pub after: Option<Cursor>,
    /// 1 to [`MAX_PAGE`].
    pub limit: u32,
}

/// An account to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewAccount {
    pub username: Username,
    pub email: Option<Email>,
    pub birthday: Option<Birthday>,
    pub password: NewPassword,
}

/// A password as an operator chose it. Not normalized.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPassword(pub Zeroizing<String>);

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword")
    }
}

impl From<&AdminRequest> for wire::AdminRequest {
    fn from(ask: &AdminRequest) -> Self {
        let name = |name: &AccountName| name.as_str().to_owned();
        let kind = match ask {
            AdminRequest::ListAccounts(span) => Kind::ListAccounts(span.into()),
            AdminRequest::ShowAccount(account) => Kind::ShowAccount(name(account)),
            AdminRequest::AddAccount(new) => Kind::AddAccount(wire::AdminNewAccount {
                username: new.username.as_str().to_owned(),
                email: new.email.as_ref().map_or("", Email::as_str).to_owned(),
                birthday: new.birthday.map(|day| day.to_string()).unwrap_or_default(),
                password: new.password.0.to_string(),
            }),
            AdminRequest::AddBot(bot) => Kind::AddBot(bot.as_str().to_owned()),
            AdminRequest::RenewToken(bot) => Kind::RenewToken(bot.as_str().to_owned()),
            AdminRequest::SetDisabled(account, true) => Kind::DisableAccount(name(account)),
            AdminRequest::SetDisabled(account, false) => Kind::EnableAccount(name(account)),
            AdminRequest::ResetPassword(account, password) => {
                Kind::ResetPassword(wire::AdminPassword {
                    account: name(account),
                    password: password.0.to_string(),
                })
            }
            AdminRequest::SetEmail(account, email) => Kind::SetEmail(wire::AdminEmail {
                account: name(account),
                email: email.as_ref().map_or("", Email::as_str).to_owned(),
            }),
            AdminRequest::DeleteAccount {
                account,
                with_conferences,
            } => Kind::DeleteAccount(wire::AdminDeleteAccount {
                account: name(account),
                with_conferences: *with_conferences,
            }),
            AdminRequest::ListConferences(span) => Kind::ListConferences(span.into()),
            AdminRequest::ShowConference(slug) => Kind::ShowConference(slug.to_string()),
            AdminRequest::CreateConference {
                slug,
                title,
                visibility,
                region,
                owner,
            } => Kind::CreateConference(wire::AdminNewConference {
                conference: Some(wire::CreateConference {
                    slug: slug.to_string(),
                    title: title.to_string(),
                    visibility: (*visibility).into(),
                    region: region.as_ref().map(Region::to_string).unwrap_or_default(),
                }),
                owner: owner.as_str().to_owned(),
            }),
            AdminRequest::Transfer { slug, owner } => {
                Kind::TransferConference(wire::AdminTransfer {
                    slug: slug.to_string(),
                    owner: owner.as_str().to_owned(),
                })
            }
            AdminRequest::DeleteConference(slug) => Kind::DeleteConference(slug.to_string()),
            AdminRequest::ListRooms { limit } => Kind::ListRooms(*limit),
            AdminRequest::ShowRoom(slug) => Kind::ShowRoom(slug.to_string()),
            AdminRequest::EndRoom(slug) => Kind::EndRoom(slug.to_string()),
            AdminRequest::Announce(notice) => Kind::Announce(wire::OperatorNotice {
                text: notice.to_string(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::AdminRequest> for AdminRequest {
    type Error = BadField;

    fn try_from(request: wire::AdminRequest) -> Result<Self, BadField> {
        let slug = |text: String| text.parse::<Slug>().map_err(|_| BadField("slug"));
        Ok(match request.kind.ok_or(BadField("kind"))? {
            Kind::ListAccounts(list) => Self::ListAccounts(list.try_into()?),
            Kind::ShowAccount(name) => Self::ShowAccount(account(&name)?),
            Kind::AddAccount(new) => Self::AddAccount(new.try_into()?),
            Kind::AddBot(name) => Self::AddBot(username(&name)?),
            Kind::RenewToken(name) => Self::RenewToken(username(&name)?),
            Kind::DisableAccount(name) => Self::SetDisabled(account(&name)?, true),
            Kind::EnableAccount(name) => Self::SetDisabled(account(&name)?, false),
            Kind::ResetPassword(reset) => {
                Self::ResetPassword(account(&reset.account)?, password(reset.password))
            }
            Kind::SetEmail(set) => Self::SetEmail(account(&set.account)?, email(set.email)?),
            Kind::DeleteAccount(delete) => Self::DeleteAccount {
                account: account(&delete.account)?,
                with_conferences: delete.with_conferences,
            },
            Kind::ListConferences(list) => Self::ListConferences(list.try_into()?),
            Kind::ShowConference(text) => Self::ShowConference(slug(text)?),
            Kind::CreateConference(create) => {
                let new = create.conference.ok_or(BadField("conference"))?;
                Self::CreateConference {
                    visibility: match new.visibility() {
                        Visibility::Unspecified => return Err(BadField("visibility")),
                        known => known,
                    },
                    slug: slug(new.slug)?,
                    title: new.title.parse().map_err(|_| BadField("title"))?,
                    region: Region::parse(&new.region).map_err(|_| BadField("region"))?,
                    owner: create.owner.parse().map_err(|_| BadField("owner"))?,
                }
            }
            Kind::TransferConference(transfer) => Self::Transfer {
                slug: slug(transfer.slug)?,
                owner: transfer.owner.parse().map_err(|_| BadField("owner"))?,
            },
            Kind::DeleteConference(text) => Self::DeleteConference(slug(text)?),
            Kind::ListRooms(limit) => Self::ListRooms {
                limit: within(limit, MAX_ROOMS)?,
            },
            Kind::ShowRoom(text) => Self::ShowRoom(slug(text)?),
            Kind::EndRoom(text) => Self::EndRoom(slug(text)?),
            Kind::Announce(announce) => Self::Announce(parse_notice(&announce)?),
        })
    }
}

impl From<&Span> for wire::AdminList {
    fn from(span: &Span) -> Self {
        let cursor = span.after.as_ref().map(|cursor| cursor.0.clone());
        Self {
            cursor: cursor.unwrap_or_default(),
            limit: span.limit,
        }
    }
}

impl TryFrom<wire::AdminList> for Span {
    type Error = BadField;

    fn try_from(list: wire::AdminList) -> Result<Self, BadField> {
        // A copy: the cursor keeps no hold of the buffer of the whole request.
        let cursor = || Cursor(Bytes::copy_from_slice(&list.cursor));
        Ok(Self {
            after: (!list.cursor.is_empty()).then(cursor),
            limit: within(list.limit, MAX_PAGE)?,
        })
    }
}

impl TryFrom<wire::AdminNewAccount> for NewAccount {
    type Error = BadField;

    fn try_from(new: wire::AdminNewAccount) -> Result<Self, BadField> {
        let birthday = Some(new.birthday).filter(|day| !day.is_empty());
        let birthday = birthday.map(|day| day.parse().map_err(|_| BadField("birthday")));
        Ok(Self {
            username: username(&new.username)?,
            email: email(new.email)?,
            birthday: birthday.transpose()?,
            password: password(new.password),
        })
    }
}

/// The text of an announcement.
pub(super) fn parse_notice(announce: &wire::OperatorNotice) -> Result<Notice, BadField> {
    announce.text.parse().map_err(|_| BadField("text"))
}

pub(super) fn within(limit: u32, most: u32) -> Result<u32, BadField> {
    match (1..=most).contains(&limit) {
        true => Ok(limit),
        false => Err(BadField("limit")),
    }
}

fn username(name: &str) -> Result<Username, BadField> {
    name.parse().map_err(|_| BadField("username"))
}

fn account(name: &str) -> Result<AccountName, BadField> {
    name.parse().map_err(|_| BadField("account"))
}

/// An e-mail address; empty text is none.
fn email(text: String) -> Result<Option<Email>, BadField> {
    let email = Some(text).filter(|email| !email.is_empty());
    let email = email.map(|email| email.parse().map_err(|_| BadField("email")));
    email.transpose()
}

fn password(text: String) -> NewPassword {
    NewPassword(Zeroizing::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_encoding_and_parsing() {
        let ann = || "ann".parse::<AccountName>().unwrap();
        let by_mail = "ann@example.org".parse().unwrap();
        let slug = || "friday".parse::<Slug>().unwrap();
        let first = Span {
            after: None,
            limit: 1,
        };
        let next = Span {
            after: Some(Cursor(vec![1, 2].into())),
            limit: MAX_PAGE,
        };
        let new = |email, birthday| NewAccount {
            username: "ann".parse().unwrap(),
            email,
            birthday,
            password: password("a secret".to_owned()),
        };
        let whole = new(
            Some("ann@example.org".parse().unwrap()),
            Some("2004-02-29".parse().unwrap()),
        );
        for ask in [
            AdminRequest::ListAccounts(first),
            AdminRequest::ListConferences(next),
            AdminRequest::ShowAccount(by_mail),
            AdminRequest::AddAccount(whole),
            AdminRequest::AddAccount(new(None, None)),
            AdminRequest::SetDisabled(ann(), true),
            AdminRequest::SetDisabled(ann(), false),
            AdminRequest::ResetPassword(ann(), password("another".to_owned())),
            AdminRequest::SetEmail(ann(), Some("ann@example.net".parse().unwrap())),
            AdminRequest::SetEmail(ann(), None),
            AdminRequest::DeleteAccount {
                account: ann(),
                with_conferences: true,
            },
            AdminRequest::ShowConference(slug()),
            AdminRequest::Transfer {
                slug: slug(),
                owner: "ben".parse().unwrap(),
            },
            AdminRequest::AddBot("music".parse().unwrap()),
            AdminRequest::RenewToken("music".parse().unwrap()),
            AdminRequest::CreateConference {
                slug: slug(),
                title: "Friday night".parse().unwrap(),
                visibility: Visibility::Invite,
                region: Some("eu-west".parse().unwrap()),
                owner: "ben".parse().unwrap(),
            },
            AdminRequest::DeleteConference(slug()),
            AdminRequest::ListRooms { limit: MAX_ROOMS },
            AdminRequest::ShowRoom(slug()),
            AdminRequest::EndRoom(slug()),
            AdminRequest::Announce("back at ten".parse().unwrap()),
        ] {
            assert!(!format!("{ask:?}").contains("secret"));
            let wired = wire::AdminRequest::from(&ask);
            assert_eq!(AdminRequest::try_from(wired), Ok(ask));
        }
    }

    #[test]
    fn limits_and_texts_out_of_range_are_refused() {
        let list = |limit| {
            let cursor = Bytes::new();
            Kind::ListAccounts(wire::AdminList { cursor, limit })
        };
        let line = |text: &str| Kind::Announce(wire::OperatorNotice { text: text.into() });
        for kind in [
            list(0),
            list(MAX_PAGE + 1),
            Kind::ListRooms(0),
            Kind::ListRooms(MAX_ROOMS + 1),
            Kind::ShowAccount("a b".into()),
            Kind::EndRoom("Not a slug".into()),
            line(""),
            line("two\nlines"),
        ] {
            let request = wire::AdminRequest { kind: Some(kind) };
            assert!(AdminRequest::try_from(request).is_err());
        }
    }
}
