//! Packed values: accounts, sessions, standings, invitations and places in lists. Each user has one of each, and a column costs some ten bytes.
//!
//! A value begins with its version (1). Integers are big-endian, times are milliseconds since 1970 (6). A text has its length (1)
//! before it, except for the last one of a value. `docs/cql-store.md` shows the layouts.

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::room::Role;
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId, Username};

use super::rows::Packed;
use crate::clock::UnixMillis;
use crate::domain::PasswordHash;
use crate::store::records::{day_number, numbered_day};
use crate::store::{
    AccountKind, AccountRecord, GuestBan, GuestOrigin, InvitationRecord, SessionId, SessionRecord,
    Standing, StoreError,
};

/// The version of all layouts.
const VERSION: u8 = 1;
/// Bytes of a time: enough until the year 10889.
const TIME_LEN: usize = 6;
const TIME_MASK: u64 = (1 << (8 * TIME_LEN)) - 1;
/// Where an account's value has its state.
const STATE_AT: usize = 1;
/// The flag of an account that an operator has disabled.
const DISABLED: u8 = 1;
/// The flags of a bot and of a guest.
const BOT: u8 = 2;
const GUEST: u8 = 4;
/// The flag of an account whose holder reads the mail of its address.
const EMAIL_VERIFIED: u8 = 8;
/// The flag of a guest that came by an invitation.
const INVITED: u8 = 16;
/// No account has this id: an id begins with its time.
const NOBODY: [u8; 16] = [0; 16];

/// The state of an account or a conference. Only a live one is visible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    Live = 1,
    /// It is being deleted, or was never finished. Final.
    Closing = 2,
    /// It was deleted. The row stays for a day, so that no late statement creates it again.
    Gone = 3,
    /// An account whose deletion has to learn first whether it owns a conference. It becomes live again, or closing.
    Held = 4,
}

/// An account that is being deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClosingAccount {
    pub(super) id: AccountId,
    pub(super) username: Username,
    pub(super) email: Option<Email>,
}

impl From<&AccountRecord> for ClosingAccount {
    fn from(account: &AccountRecord) -> Self {
        Self {
            id: account.id,
            username: account.username.clone(),
            email: account.email.clone(),
        }
    }
}

/// `version (1) · state (1) · username · e-mail, with its length · created · revision (2) · flags (1) · birthday as YYYYMMDD (4) · of a guest its device (32), and with flag 16
/// its invitation (16) · password hash`. An e-mail address of length 0 and a birthday of 0 stand for none. Flag 1: disabled; flag 2: a bot; flag 4: a guest; flag 8: the
/// e-mail address is verified; flag 16: a guest that came by an invitation.
pub(super) fn account(record: &AccountRecord, state: State) -> Packed {
    let mut out = names(&record.into(), state);
    out.time(record.created);
    out.bytes(&record.revision.to_be_bytes());
    let kind = match record.kind {
        AccountKind::Person => 0,
        AccountKind::Bot => BOT,
        AccountKind::Guest => GUEST,
    };
    let invitation = record.guest.and_then(|guest| guest.invitation);
    let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
    out.bytes(&[kind
        | flag(record.disabled, DISABLED)
        | flag(record.email_verified, EMAIL_VERIFIED)
        | flag(invitation.is_some(), INVITED)]);
    let birthday = record.birthday.map_or(0, day_number);
    out.bytes(&birthday.to_be_bytes());
    if let Some(guest) = &record.guest {
        out.bytes(&guest.device.0);
    }
    if let Some(invitation) = &invitation {
        out.bytes(&invitation.0);
    }
    out.bytes(&record.password.to_bytes());
    out.finish()
}

/// The same up to the e-mail address.
pub(super) fn closing_account(account: &ClosingAccount) -> Packed {
    names(account, State::Closing).finish()
}

fn names(account: &ClosingAccount, state: State) -> Writer {
    let mut out = Writer::new();
    out.bytes(&[state as u8]);
    out.text(account.username.as_str());
    out.text(account.email.as_ref().map_or("", Email::as_str));
    out
}

/// The value of a deleted account.
pub(super) fn gone_account() -> Packed {
    Packed::new(vec![VERSION, State::Gone as u8])
}

/// The state of an account; `None` without a row.
pub(super) fn account_state(row: Option<&Packed>) -> Result<Option<State>, StoreError> {
    let Some(row) = row else { return Ok(None) };
    match row.bytes() {
        [VERSION, 1, ..] => Ok(Some(State::Live)),
        [VERSION, 2, ..] => Ok(Some(State::Closing)),
        [VERSION, 3, ..] => Ok(Some(State::Gone)),
        [VERSION, 4, ..] => Ok(Some(State::Held)),
        _ => Err(StoreError::Corrupt("the state of an account")),
    }
}

/// The same account in another state.
pub(super) fn in_state(row: &Packed, state: State) -> Packed {
    let mut value = row.bytes().to_vec();
    if let Some(byte) = value.get_mut(STATE_AT) {
        *byte = state as u8;
    }
    Packed::new(value)
}

/// Reads an account that is live or held.
pub(super) fn read_account(id: AccountId, row: &Packed) -> Result<AccountRecord, StoreError> {
    let read = || {
        let mut rest = Reader::new(row)?;
        let ClosingAccount {
            username, email, ..
        } = read_names(id, &mut rest)?;
        let created = rest.time()?;
        let revision = u16::from_be_bytes(rest.array()?);
        let [flags] = rest.array()?;
        let birthday = match u32::from_be_bytes(rest.array()?) {
            0 => None,
            number => Some(numbered_day(number)?),
        };
        let guest = match flags & (GUEST | INVITED) {
            0 => None,
            GUEST => Some((rest.array()?, None)),
            _ => Some((rest.array()?, Some(InvitationId(rest.array()?)))),
        };
        let guest = guest.map(|(device, invitation)| GuestOrigin {
            device: DevicePublicKey(device),
            invitation,
        });
        Some(AccountRecord {
            id,
            username,
            email,
            email_verified: flags & EMAIL_VERIFIED != 0,
            password: PasswordHash::from_bytes(rest.0)?,
            birthday,
            created,
            disabled: flags & DISABLED != 0,
            revision,
            kind: match flags & (BOT | GUEST) {
                0 => AccountKind::Person,
                BOT => AccountKind::Bot,
                GUEST => AccountKind::Guest,
                _ => return None,
            },
            guest,
        })
    };
    read().ok_or(StoreError::Corrupt("an account"))
}

/// Reads an account that is not gone.
pub(super) fn read_closing_account(
    id: AccountId,
    row: &Packed,
) -> Result<ClosingAccount, StoreError> {
    let read = || read_names(id, &mut Reader::new(row)?);
    read().ok_or(StoreError::Corrupt("an account that is being deleted"))
}

fn read_names(id: AccountId, rest: &mut Reader<'_>) -> Option<ClosingAccount> {
    let [_state] = rest.array()?;
    Some(ClosingAccount {
        id,
        username: rest.text()?.parse().ok()?,
        email: match rest.text()? {
            "" => None,
            email => Some(email.parse().ok()?),
        },
    })
}

/// `version (1) · account (16) · generation (4) · used (1) · created · rotated, since created · expires, since created · hash of the
/// secret (16) · device`.
pub(super) fn session(record: &SessionRecord) -> Packed {
    let mut out = Writer::new();
    out.bytes(record.account.as_bytes());
    out.bytes(&record.generation.to_be_bytes());
    out.bytes(&[u8::from(record.used)]);
    out.time(record.created);
    // Differences are the same in many rows, so they compress.
    for time in [record.rotated, record.expires] {
        out.time(UnixMillis(time.0.wrapping_sub(record.created.0)));
    }
    out.bytes(&record.secret_hash);
    out.bytes(record.device.as_str().as_bytes());
    out.finish()
}

pub(super) fn read_session(id: SessionId, row: &Packed) -> Result<SessionRecord, StoreError> {
    let read = || {
        let mut rest = Reader::new(row)?;
        let account = AccountId::new(rest.array()?);
        let generation = u32::from_be_bytes(rest.array()?);
        let [used] = rest.array()?;
        let created = rest.time()?;
        let mut later = || {
            let difference = rest.time()?.0;
            Some(UnixMillis(created.0.wrapping_add(difference) & TIME_MASK))
        };
        Some(SessionRecord {
            id,
            account,
            generation,
            used: used != 0,
            created,
            rotated: later()?,
            expires: later()?,
            secret_hash: rest.array()?,
            device: std::str::from_utf8(rest.0).ok()?.parse().ok()?,
        })
    };
    read().ok_or(StoreError::Corrupt("a session"))
}

/// `version (1) · role (1) · muted (1) · since · revision (2)`.
pub(super) fn standing(standing: Standing) -> Packed {
    let mut out = Writer::new();
    // The numbers of roles are small.
    let role = u8::try_from(i32::from(standing.role)).unwrap_or_default();
    out.bytes(&[role, u8::from(standing.muted)]);
    out.time(standing.since);
    out.bytes(&standing.revision.to_be_bytes());
    out.finish()
}

pub(super) fn read_standing(row: &Packed) -> Result<Standing, StoreError> {
    let read = || {
        let mut rest = Reader::new(row)?;
        let [role, muted] = rest.array()?;
        Some(Standing {
            role: Role::try_from(i32::from(role)).ok()?,
            muted: muted != 0,
            since: rest.time()?,
            revision: u16::from_be_bytes(rest.array()?),
        })
    };
    read().ok_or(StoreError::Corrupt("a standing"))
}

/// `version (1) · role (1) · created · expires · uses (4) · used (4) · author (16) · last user (16), of zeros for none · author's name`.
pub(super) fn invitation(record: &InvitationRecord) -> Packed {
    let mut out = Writer::new();
    // The numbers of roles are small.
    out.bytes(&[u8::try_from(i32::from(record.role)).unwrap_or_default()]);
    out.time(record.created);
    out.time(record.expires);
    out.bytes(&record.uses.to_be_bytes());
    out.bytes(&record.used.to_be_bytes());
    out.bytes(record.author.as_bytes());
    let last_user = record.last_user.as_ref();
    out.bytes(last_user.map_or(&NOBODY, AccountId::as_bytes).as_slice());
    out.bytes(record.author_name.as_str().as_bytes());
    out.finish()
}

pub(super) fn read_invitation(
    conference: ConferenceId,
    id: InvitationId,
    row: &Packed,
) -> Result<InvitationRecord, StoreError> {
    let read = || {
        let mut rest = Reader::new(row)?;
        let [role] = rest.array()?;
        let (created, expires) = (rest.time()?, rest.time()?);
        let (uses, used) = (rest.array()?, rest.array()?);
        let (author, last_user) = (rest.array()?, rest.array()?);
        Some(InvitationRecord {
            conference,
            id,
            role: Role::try_from(i32::from(role)).ok()?,
            author: AccountId::new(author),
            author_name: std::str::from_utf8(rest.0).ok()?.parse().ok()?,
            created,
            expires,
            uses: u32::from_be_bytes(uses),
            used: u32::from_be_bytes(used),
            last_user: (last_user != NOBODY).then(|| AccountId::new(last_user)),
        })
    };
    read().ok_or(StoreError::Corrupt("an invitation"))
}

/// A conference in an account's list: `version (1) · since`. `since` distinguishes two memberships of the same account in the same
/// conference.
pub(super) fn listed(since: UnixMillis) -> Packed {
    let mut out = Writer::new();
    out.time(since);
    out.finish()
}

struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        Self(vec![VERSION])
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn time(&mut self, time: UnixMillis) {
        self.bytes(&time.0.to_be_bytes()[8 - TIME_LEN..]);
    }

    fn text(&mut self, text: &str) {
        debug_assert!(
            text.len() <= usize::from(u8::MAX),
            "usernames and e-mail addresses are shorter"
        );
        self.0.push(text.len() as u8);
        self.bytes(text.as_bytes());
    }

    fn finish(self) -> Packed {
        Packed::new(self.0)
    }
}

/// The rest of a value.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads the version.
    fn new(row: &'a Packed) -> Option<Self> {
        row.bytes().strip_prefix(&[VERSION]).map(Self)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn time(&mut self) -> Option<UnixMillis> {
        let time: [u8; TIME_LEN] = self.array()?;
        let millis = time
            .iter()
            .fold(0, |millis, byte| millis << 8 | u64::from(*byte));
        Some(UnixMillis(millis))
    }

    fn text(&mut self) -> Option<&'a str> {
        let [len] = self.array()?;
        let (taken, rest) = self.0.split_at_checked(usize::from(len))?;
        self.0 = rest;
        std::str::from_utf8(taken).ok()
    }
}

/// `version (1) · account (16) · since · username`.
pub(super) fn guest_ban(ban: &GuestBan) -> Packed {
    let mut out = Writer::new();
    out.bytes(ban.account.as_bytes());
    out.time(ban.since);
    out.bytes(ban.username.as_str().as_bytes());
    out.finish()
}

pub(super) fn read_guest_ban(
    conference: ConferenceId,
    device: DevicePublicKey,
    row: &Packed,
) -> Result<GuestBan, StoreError> {
    let read = || {
        let mut rest = Reader::new(row)?;
        Some(GuestBan {
            conference,
            device,
            account: AccountId::new(rest.array()?),
            since: rest.time()?,
            username: std::str::from_utf8(rest.0).ok()?.parse().ok()?,
        })
    };
    read().ok_or(StoreError::Corrupt("a guest's ban"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn some_account() -> AccountRecord {
        AccountRecord {
            id: AccountId::new([7; 16]),
            email: Some("ann@example.org".parse().unwrap()),
            birthday: Some("2004-02-29".parse().unwrap()),
            ..AccountRecord::new(
                AccountKind::Person,
                "ann".parse().unwrap(),
                PasswordHash::from_bytes(&[1; 60]).unwrap(),
                NOW,
            )
        }
    }

    fn some_session() -> SessionRecord {
        SessionRecord {
            id: SessionId([9; 16]),
            account: some_account().id,
            generation: 3,
            secret_hash: [5; 16],
            used: true,
            device: "a phone – Ann's".parse().unwrap(),
            created: NOW,
            // A clock that was set back.
            rotated: UnixMillis(NOW.0 - 1),
            expires: UnixMillis(NOW.0 + 1),
        }
    }

    fn cut(row: &Packed, len: usize) -> Packed {
        Packed::new(row.bytes()[..len].to_vec())
    }

    #[test]
    fn an_account_without_e_mail_and_birthday_and_a_disabled_one_are_read_again() {
        let bare = AccountRecord {
            email: None,
            birthday: None,
            ..some_account()
        };
        let disabled = AccountRecord {
            disabled: true,
            revision: 515,
            kind: AccountKind::Bot,
            ..some_account()
        };
        let guest = |invitation| AccountRecord {
            kind: AccountKind::Guest,
            guest: Some(GuestOrigin {
                device: DevicePublicKey([5; 32]),
                invitation,
            }),
            ..bare.clone()
        };
        let (guest, invited) = (guest(None), guest(Some(InvitationId([4; 16]))));
        let verified = AccountRecord {
            email_verified: true,
            ..some_account()
        };
        for record in [bare.clone(), disabled, guest, invited, verified] {
            let value = account(&record, State::Live);
            assert_eq!(read_account(record.id, &value), Ok(record));
        }
    }

    #[test]
    fn a_packed_value_is_read_again_and_a_shorter_one_is_refused() {
        let (record, value) = (some_account(), account(&some_account(), State::Live));
        assert_eq!(read_account(record.id, &value), Ok(record.clone()));
        for len in 0..value.bytes().len() {
            assert!(read_account(record.id, &cut(&value, len)).is_err(), "{len}");
        }
        let (record, value) = (some_session(), session(&some_session()));
        assert_eq!(read_session(record.id, &value), Ok(record.clone()));
        for len in 0..value.bytes().len() - record.device.as_str().len() {
            assert!(read_session(record.id, &cut(&value, len)).is_err(), "{len}");
        }
        let record = Standing {
            revision: 0,
            role: Role::Banned,
            muted: true,
            since: NOW,
        };
        let value = standing(record);
        assert_eq!(read_standing(&value), Ok(record));
        for len in 0..value.bytes().len() {
            assert!(read_standing(&cut(&value, len)).is_err(), "{len}");
        }
    }

    #[test]
    fn an_invitation_is_read_again_and_a_shorter_one_is_refused() {
        let unused = InvitationRecord {
            conference: ConferenceId::new([3; 16]),
            id: InvitationId([4; 16]),
            role: Role::Listener,
            author: AccountId::new([7; 16]),
            author_name: "ann".parse().unwrap(),
            created: NOW,
            expires: UnixMillis(NOW.0 + 1),
            uses: 1000,
            used: 0,
            last_user: None,
        };
        let used = unused.used_by(AccountId::new([8; 16]));
        for record in [unused, used] {
            let value = invitation(&record);
            let read = |row: &Packed| read_invitation(record.conference, record.id, row);
            assert_eq!(read(&value), Ok(record.clone()));
            for len in 0..value.bytes().len() - record.author_name.as_str().len() {
                assert!(read(&cut(&value, len)).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn an_account_that_is_being_deleted_is_read_from_a_live_and_from_a_closing_row() {
        let record = some_account();
        let closing = ClosingAccount::from(&record);
        for row in [account(&record, State::Live), closing_account(&closing)] {
            assert_eq!(read_closing_account(record.id, &row), Ok(closing.clone()));
        }
        assert!(read_account(record.id, &closing_account(&closing)).is_err());
    }

    #[test]
    fn a_value_of_another_version_is_refused() {
        let mut value = account(&some_account(), State::Live).bytes().to_vec();
        value[0] = VERSION + 1;
        let row = Packed::new(value);
        assert!(account_state(Some(&row)).is_err());
        assert!(read_account(some_account().id, &row).is_err());
    }

    #[test]
    fn a_state_is_changed_in_place() {
        let live = account(&some_account(), State::Live);
        assert_eq!(account_state(Some(&live)), Ok(Some(State::Live)));
        let closing = in_state(&live, State::Closing);
        assert_eq!(account_state(Some(&closing)), Ok(Some(State::Closing)));
        assert_eq!(closing.bytes()[2..], live.bytes()[2..]);
        assert_eq!(account_state(Some(&gone_account())), Ok(Some(State::Gone)));
        assert_eq!(account_state(None), Ok(None));
        assert!(account_state(Some(&Packed::new(vec![VERSION, 9]))).is_err());
    }
}
