//! Statements on conferences, memberships and homes.

use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{AccountId, ConferenceId, Region, Slug};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::accounts;
use super::columns::{
    broken, millis, one_more_than, page, parsed, parsed_if_any, row_of, signed, unsigned,
};
use crate::store::{
    ConferenceChange, ConferenceRecord, Cursor, MemberRecord, Membership, Name, Page, Standing,
    StoreError,
};

const CONFERENCE: &str = "SELECT c.id, c.slug, c.title, c.visibility, o.id, o.username, c.created, c.region, c.revision, c.number \
     FROM conferences c JOIN accounts o ON o.number = c.owner";
const OF_MEMBER: &str = "WHERE conference = (SELECT number FROM conferences WHERE id = ?1) \
     AND account = (SELECT number FROM accounts WHERE id = ?2)";

pub(super) fn create(db: &Connection, conference: &ConferenceRecord) -> Result<(), StoreError> {
    if let Some(holder) = by_slug(db, &conference.slug)? {
        let own = holder.id == conference.id;
        return if own {
            Ok(())
        } else {
            Err(StoreError::Taken(Name::Slug))
        };
    }
    let owner = accounts::number(db, conference.owner)?;
    db.prepare_cached(
        "INSERT INTO conferences (id, slug, title, visibility, owner, created, region, revision) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        conference.id.as_bytes(),
        conference.slug.as_str(),
        conference.title.as_str(),
        i32::from(conference.visibility),
        owner,
        signed(conference.created.0),
        conference.region.as_ref().map(Region::as_str),
        conference.revision,
    ])?;
    let standing = Standing::first(Role::Owner, conference.created);
    add_member(db, conference.id, conference.owner, standing)
}

pub(super) fn by_id(
    db: &Connection,
    id: ConferenceId,
) -> Result<Option<ConferenceRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{CONFERENCE} WHERE c.id = ?"))?;
    Ok(statement
        .query_row([id.as_bytes()], conference)
        .optional()?)
}

pub(super) fn by_slug(
    db: &Connection,
    slug: &Slug,
) -> Result<Option<ConferenceRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{CONFERENCE} WHERE c.slug = ?"))?;
    Ok(statement
        .query_row([slug.as_str()], conference)
        .optional()?)
}

pub(super) fn count_owned(db: &Connection, account: AccountId) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT count(*) FROM conferences WHERE owner = (SELECT number FROM accounts WHERE id = ?)",
    )?;
    Ok(statement.query_row([account.as_bytes()], |row| unsigned(row, 0))?)
}

pub(super) fn of_account(
    db: &Connection,
    account: AccountId,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<Membership>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT c.id, c.slug, c.title, c.visibility, o.id, o.username, c.created, c.region, c.revision, \
         c.number, m.role, m.muted, m.since, m.revision \
         FROM members m JOIN conferences c ON c.number = m.conference JOIN accounts o ON o.number = c.owner \
         WHERE m.account = (SELECT number FROM accounts WHERE id = ?) AND m.conference > ? \
         ORDER BY m.conference LIMIT ?",
    )?;
    let rows = statement.query_map(
        params![account.as_bytes(), row_of(after)?, one_more_than(limit)],
        |row| {
            let membership = Membership {
                conference: conference(row)?,
                standing: standing(row, 10)?,
            };
            Ok((row.get(9)?, membership))
        },
    )?;
    Ok(page(rows.collect::<Result<_, _>>()?, limit))
}

pub(super) fn all(
    db: &Connection,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<ConferenceRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "{CONFERENCE} WHERE c.number > ? ORDER BY c.number LIMIT ?"
    ))?;
    let rows = statement.query_map(params![row_of(after)?, one_more_than(limit)], |row| {
        Ok((row.get(9)?, conference(row)?))
    })?;
    Ok(page(rows.collect::<Result<_, _>>()?, limit))
}

pub(super) fn set_owner(
    db: &Connection,
    id: ConferenceId,
    old: AccountId,
    new: AccountId,
) -> Result<(), StoreError> {
    let found = by_id(db, id)?.ok_or(StoreError::NotFound)?;
    if member(db, id, new)?.is_none() {
        return Err(StoreError::NotFound);
    }
    if found.owner == new {
        return Ok(());
    }
    if found.owner != old {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached("UPDATE conferences SET owner = ?, revision = ? WHERE id = ?")?
        .execute(params![
            accounts::number(db, new)?,
            found.revision.wrapping_add(1),
            id.as_bytes(),
        ])?;
    Ok(())
}

pub(super) fn change(
    db: &Connection,
    (id, owner): (ConferenceId, AccountId),
    change: &ConferenceChange,
) -> Result<ConferenceRecord, StoreError> {
    let found = by_id(db, id)?.ok_or(StoreError::NotFound)?;
    if found.owner != owner {
        return Err(StoreError::Conflict);
    }
    let Some(changed) = change.applied_to(&found) else {
        return Ok(found);
    };
    db.prepare_cached(
        "UPDATE conferences SET title = ?, visibility = ?, revision = ? WHERE id = ?",
    )?
    .execute(params![
        changed.title.as_str(),
        i32::from(changed.visibility),
        changed.revision,
        id.as_bytes(),
    ])?;
    Ok(changed)
}

pub(super) fn delete(db: &Connection, id: ConferenceId) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM conferences WHERE id = ?")?
        .execute([id.as_bytes()])?;
    Ok(())
}

pub(super) fn member(
    db: &Connection,
    conference: ConferenceId,
    account: AccountId,
) -> Result<Option<Standing>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT role, muted, since, revision FROM members {OF_MEMBER}"
    ))?;
    Ok(statement
        .query_row(params![conference.as_bytes(), account.as_bytes()], |row| {
            standing(row, 0)
        })
        .optional()?)
}

pub(super) fn members(
    db: &Connection,
    conference: ConferenceId,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<MemberRecord>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT a.id, a.username, m.role, m.muted, m.since, m.revision, a.number \
         FROM members m JOIN accounts a ON a.number = m.account \
         WHERE m.conference = (SELECT number FROM conferences WHERE id = ?) AND m.account > ? \
         ORDER BY m.account LIMIT ?",
    )?;
    let rows = statement.query_map(
        params![conference.as_bytes(), row_of(after)?, one_more_than(limit)],
        |row| {
            let member = MemberRecord {
                account: AccountId::new(row.get(0)?),
                username: parsed(row, 1)?,
                standing: standing(row, 2)?,
            };
            Ok((row.get(6)?, member))
        },
    )?;
    Ok(page(rows.collect::<Result<_, _>>()?, limit))
}

pub(super) fn count_members(db: &Connection, conference: ConferenceId) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT count(*) FROM members WHERE conference = (SELECT number FROM conferences WHERE id = ?)",
    )?;
    Ok(statement.query_row([conference.as_bytes()], |row| unsigned(row, 0))?)
}

pub(super) fn add_member(
    db: &Connection,
    conference: ConferenceId,
    account: AccountId,
    new: Standing,
) -> Result<(), StoreError> {
    if let Some(found) = member(db, conference, account)? {
        return if found == new {
            Ok(())
        } else {
            Err(StoreError::Conflict)
        };
    }
    db.prepare_cached(
        "INSERT INTO members (conference, account, role, muted, since, revision) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        number(db, conference)?,
        accounts::number(db, account)?,
        i32::from(new.role),
        new.muted,
        signed(new.since.0),
        new.revision,
    ])?;
    Ok(())
}

pub(super) fn change_member(
    db: &Connection,
    conference: ConferenceId,
    account: AccountId,
    old: Standing,
    new: Standing,
) -> Result<(), StoreError> {
    let found = member(db, conference, account)?.ok_or(StoreError::NotFound)?;
    if found == new {
        return Ok(());
    }
    if found != old {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached(&format!(
        "UPDATE members SET role = ?3, muted = ?4, since = ?5, revision = ?6 {OF_MEMBER}"
    ))?
    .execute(params![
        conference.as_bytes(),
        account.as_bytes(),
        i32::from(new.role),
        new.muted,
        signed(new.since.0),
        new.revision,
    ])?;
    Ok(())
}

pub(super) fn remove_member(
    db: &Connection,
    conference: ConferenceId,
    account: AccountId,
    old: Standing,
) -> Result<(), StoreError> {
    let found = member(db, conference, account)?.ok_or(StoreError::NotFound)?;
    if found != old {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached(&format!("DELETE FROM members {OF_MEMBER}"))?
        .execute(params![conference.as_bytes(), account.as_bytes()])?;
    Ok(())
}

pub(super) fn number(db: &Connection, id: ConferenceId) -> Result<i64, StoreError> {
    db.prepare_cached("SELECT number FROM conferences WHERE id = ?")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NotFound)
}

fn conference(row: &Row<'_>) -> rusqlite::Result<ConferenceRecord> {
    let visibility: i32 = row.get(3)?;
    Ok(ConferenceRecord {
        id: ConferenceId::new(row.get(0)?),
        slug: parsed(row, 1)?,
        title: parsed(row, 2)?,
        visibility: Visibility::try_from(visibility).map_err(|_| broken(3, Type::Integer))?,
        owner: AccountId::new(row.get(4)?),
        owner_name: parsed(row, 5)?,
        created: millis(row, 6)?,
        region: parsed_if_any(row, 7)?,
        revision: row.get(8)?,
    })
}

fn standing(row: &Row<'_>, first: usize) -> rusqlite::Result<Standing> {
    let role: i32 = row.get(first)?;
    Ok(Standing {
        role: Role::try_from(role).map_err(|_| broken(first, Type::Integer))?,
        muted: row.get(first + 1)?,
        since: millis(row, first + 2)?,
        revision: row.get(first + 3)?,
    })
}
