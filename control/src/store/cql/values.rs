//! How rows look: one packed value beside the key, so that a row is changed by comparing one cell.
//!
//! Integers are big-endian. A text has its length (1 byte) before it, but for the last one, which fills the rest.

use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{AccountId, ConferenceId, Region};

use crate::clock::UnixMillis;
use crate::domain::PasswordHash;
use crate::store::{
    AccountRecord, ConferenceRecord, SessionId, SessionRecord, Standing, StoreError,
};

mod homes;

pub(super) use homes::{home, node, read_home, read_node};

/// Bytes of an instant: milliseconds until the year 10889.
const TIME_LEN: usize = 6;
const TIME_MASK: u64 = (1 << (8 * TIME_LEN)) - 1;

/// What a row of `users` or `conferences` is worth. The first byte of its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    /// It is there, for everybody.
    Live = 1,
    /// It is being deleted, or was never finished: nobody sees it, ever again.
    Closing = 2,
    /// It was deleted. Stays for a while, so that nothing late brings it back.
    Gone = 3,
    /// An account that is asked whether it may be deleted: nobody sees it. It becomes live again, or closing.
    Held = 4,
}

/// What is left of a row that was deleted.
pub(super) const GONE: [u8; 1] = [State::Gone as u8];

/// The state of a row; `None` without one.
pub(super) fn state(value: Option<&[u8]>) -> Result<Option<State>, StoreError> {
    match value {
        None => Ok(None),
        Some([1, ..]) => Ok(Some(State::Live)),
        Some([2, ..]) => Ok(Some(State::Closing)),
        Some([3, ..]) => Ok(Some(State::Gone)),
        Some([4, ..]) => Ok(Some(State::Held)),
        Some(_) => Err(StoreError::Corrupt("the state of a row")),
    }
}

/// The value with another state.
pub(super) fn in_state(value: &[u8], state: State) -> Vec<u8> {
    let mut value = value.to_vec();
    if let Some(first) = value.first_mut() {
        *first = state as u8;
    }
    value
}

/// `state · created · birthday as YYYYMMDD (4) · hash, with its length · username · email`.
pub(super) fn account(record: &AccountRecord, state: State) -> Vec<u8> {
    let mut out = vec![state as u8];
    put_time(&mut out, record.created);
    out.extend_from_slice(&day_number(&record.birthday.to_string()).to_be_bytes());
    put_bytes(&mut out, &record.password.to_bytes());
    put_bytes(&mut out, record.username.as_str().as_bytes());
    out.extend_from_slice(record.email.as_str().as_bytes());
    out
}

pub(super) fn read_account(id: AccountId, value: &[u8]) -> Result<AccountRecord, StoreError> {
    let read = || {
        let mut rest = value.get(1..)?;
        let created = take_time(&mut rest)?;
        let day = u32::from_be_bytes(take(&mut rest)?);
        let password = PasswordHash::from_bytes(take_bytes(&mut rest)?)?;
        let username = take_text(&mut rest)?.parse().ok()?;
        let (year, month, day) = (day / 10_000, day / 100 % 100, day % 100);
        Some(AccountRecord {
            id,
            username,
            email: std::str::from_utf8(rest).ok()?.parse().ok()?,
            password,
            birthday: format!("{year:04}-{month:02}-{day:02}").parse().ok()?,
            created,
        })
    };
    read().ok_or(StoreError::Corrupt("an account"))
}

/// `account · generation (4) · used (1) · created · rotated, since created · expires, since created · secret's hash (16) ·
/// device`.
pub(super) fn session(record: &SessionRecord) -> Vec<u8> {
    let mut out = record.account.as_bytes().to_vec();
    out.extend_from_slice(&record.generation.to_be_bytes());
    out.push(u8::from(record.used));
    put_time(&mut out, record.created);
    // Differences are the same in many rows, so they compress.
    for time in [record.rotated, record.expires] {
        put_time(&mut out, UnixMillis(time.0.wrapping_sub(record.created.0)));
    }
    out.extend_from_slice(&record.secret_hash);
    out.extend_from_slice(record.device.as_str().as_bytes());
    out
}

pub(super) fn read_session(id: SessionId, value: &[u8]) -> Result<SessionRecord, StoreError> {
    let read = || {
        let mut rest = value;
        let account = AccountId::new(take(&mut rest)?);
        let generation = u32::from_be_bytes(take(&mut rest)?);
        let [used] = take(&mut rest)?;
        let created = take_time(&mut rest)?;
        let mut later = || {
            let difference = take_time(&mut rest)?.0;
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
            secret_hash: take(&mut rest)?,
            device: std::str::from_utf8(rest).ok()?.parse().ok()?,
        })
    };
    read().ok_or(StoreError::Corrupt("a session"))
}

/// `state · owner · created · visibility (1) · slug · owner's name · region, empty for none · title`.
pub(super) fn conference(record: &ConferenceRecord, state: State) -> Vec<u8> {
    let mut out = vec![state as u8];
    out.extend_from_slice(record.owner.as_bytes());
    put_time(&mut out, record.created);
    out.push(number(i32::from(record.visibility)));
    put_bytes(&mut out, record.slug.as_str().as_bytes());
    put_bytes(&mut out, record.owner_name.as_str().as_bytes());
    let region = record.region.as_ref().map_or("", Region::as_str);
    put_bytes(&mut out, region.as_bytes());
    out.extend_from_slice(record.title.as_str().as_bytes());
    out
}

pub(super) fn read_conference(
    id: ConferenceId,
    value: &[u8],
) -> Result<ConferenceRecord, StoreError> {
    let read = || {
        let mut rest = value.get(1..)?;
        let owner = AccountId::new(take(&mut rest)?);
        let created = take_time(&mut rest)?;
        let [visibility] = take(&mut rest)?;
        Some(ConferenceRecord {
            id,
            slug: take_text(&mut rest)?.parse().ok()?,
            owner_name: take_text(&mut rest)?.parse().ok()?,
            region: Region::parse(take_text(&mut rest)?).ok()?,
            title: std::str::from_utf8(rest).ok()?.parse().ok()?,
            visibility: Visibility::try_from(i32::from(visibility)).ok()?,
            owner,
            created,
        })
    };
    read().ok_or(StoreError::Corrupt("a conference"))
}

/// `role (1) · muted (1) · since · revision (2)`.
pub(super) fn standing(standing: Standing) -> Vec<u8> {
    let mut out = vec![number(i32::from(standing.role)), u8::from(standing.muted)];
    put_time(&mut out, standing.since);
    out.extend_from_slice(&standing.revision.to_be_bytes());
    out
}

pub(super) fn read_standing(value: &[u8]) -> Result<Standing, StoreError> {
    let read = || {
        let mut rest = value;
        let [role, muted] = take(&mut rest)?;
        Some(Standing {
            role: Role::try_from(i32::from(role)).ok()?,
            muted: muted != 0,
            since: take_time(&mut rest)?,
            revision: u16::from_be_bytes(take(&mut rest)?),
        })
    };
    read().ok_or(StoreError::Corrupt("a standing"))
}

/// `since`: tells one membership of an account from its next one in the same conference.
pub(super) fn tag(since: UnixMillis) -> Vec<u8> {
    let mut out = Vec::new();
    put_time(&mut out, since);
    out
}

pub(super) fn id(value: &[u8]) -> Result<[u8; 16], StoreError> {
    value.try_into().map_err(|_| StoreError::Corrupt("an id"))
}

/// `YYYY-MM-DD` as the integer YYYYMMDD.
fn day_number(day: &str) -> u32 {
    day.bytes()
        .filter(u8::is_ascii_digit)
        .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// An enumeration's number; all are small.
fn number(value: i32) -> u8 {
    u8::try_from(value).unwrap_or_default()
}

fn put_time(out: &mut Vec<u8>, time: UnixMillis) {
    out.extend_from_slice(&time.0.to_be_bytes()[8 - TIME_LEN..]);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u8::MAX), "names are shorter");
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn take_time(rest: &mut &[u8]) -> Option<UnixMillis> {
    let time: [u8; TIME_LEN] = take(rest)?;
    let millis = time
        .iter()
        .fold(0, |millis, byte| millis << 8 | u64::from(*byte));
    Some(UnixMillis(millis))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let [len] = take(rest)?;
    let (taken, after) = rest.split_at_checked(usize::from(len))?;
    *rest = after;
    Some(taken)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn some_account() -> AccountRecord {
        AccountRecord {
            id: AccountId::new([7; 16]),
            username: "ann".parse().unwrap(),
            email: "ann@example.org".parse().unwrap(),
            password: PasswordHash::from_bytes(&[1; 60]).unwrap(),
            birthday: "2004-02-29".parse().unwrap(),
            created: NOW,
        }
    }

    #[test]
    fn what_is_packed_is_read_again_and_nothing_shorter_is() {
        let account_record = some_account();
        let value = account(&account_record, State::Live);
        assert_eq!(
            read_account(account_record.id, &value),
            Ok(account_record.clone())
        );
        let session_record = SessionRecord {
            id: SessionId([9; 16]),
            account: account_record.id,
            generation: 3,
            secret_hash: [5; 16],
            used: true,
            device: "a phone – Ann's".parse().unwrap(),
            created: NOW,
            // A clock that was set back.
            rotated: UnixMillis(NOW.0 - 1),
            expires: UnixMillis(NOW.0 + 1),
        };
        let packed = session(&session_record);
        assert_eq!(
            read_session(session_record.id, &packed),
            Ok(session_record.clone())
        );
        let record = ConferenceRecord {
            id: ConferenceId::new([8; 16]),
            slug: "friday".parse().unwrap(),
            title: "Пятничный вечер".parse().unwrap(),
            visibility: Visibility::Invite,
            owner: account_record.id,
            owner_name: account_record.username.clone(),
            created: NOW,
            region: Some("eu-west".parse().unwrap()),
        };
        let room = conference(&record, State::Closing);
        assert_eq!(read_conference(record.id, &room), Ok(record.clone()));
        for end in 0..20 {
            assert!(read_account(account_record.id, &value[..end]).is_err());
            assert!(read_session(session_record.id, &packed[..end]).is_err());
            assert!(read_conference(record.id, &room[..end]).is_err());
        }
        let standing_record = Standing {
            revision: 0,
            role: Role::Banned,
            muted: true,
            since: NOW,
        };
        assert_eq!(
            read_standing(&standing(standing_record)),
            Ok(standing_record)
        );
    }

    #[test]
    fn a_state_is_changed_in_place() {
        let value = account(&some_account(), State::Live);
        assert_eq!(state(Some(&value)), Ok(Some(State::Live)));
        let closing = in_state(&value, State::Closing);
        assert_eq!(state(Some(&closing)), Ok(Some(State::Closing)));
        assert_eq!(closing[1..], value[1..]);
        assert_eq!(state(Some(&GONE)), Ok(Some(State::Gone)));
        assert_eq!(state(None), Ok(None));
        assert!(state(Some(&[9])).is_err());
    }
}
