//! The owner of the store, homes of rooms, nodes, and revoked identities.

use confab_protocol::cluster::BootId;
use confab_protocol::control::ConferenceId;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns::{parsed, signed, unsigned};
use crate::clock::UnixMillis;
use crate::domain::Peer;
use crate::store::{HomePlace, HomeRecord, NodeRecord, NodeRun, ServerId, StoreError};

/// Nodes with a heartbeat within the last day.
const HEARD: &str = "heard > unixepoch() - 24 * 60 * 60";
/// Separates the addresses of a node; no address contains it.
const SEPARATOR: &str = " ";

pub(super) fn home(
    db: &Connection,
    conference: ConferenceId,
) -> Result<Option<HomeRecord>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT era, owner, incarnation, relay, boot, placement FROM conference_home WHERE conference = ?",
    )?;
    let found = statement.query_row([conference.as_bytes()], |row| {
        let place = match row.get::<_, Option<[u8; 16]>>(4)? {
            None => None,
            Some(boot) => Some(HomePlace {
                relay: parsed(row, 3)?,
                boot: BootId(boot),
                placement: unsigned(row, 5)?,
            }),
        };
        let is_owned = row.get_ref(1)?.data_type() != Type::Null;
        Ok(HomeRecord {
            era: unsigned(row, 0)?,
            owner: is_owned.then(|| run(row, 1)).transpose()?,
            place,
        })
    });
    Ok(found.optional()?)
}

pub(super) fn write_home(
    db: &Connection,
    conference: ConferenceId,
    old: Option<&HomeRecord>,
    new: &HomeRecord,
) -> Result<(), StoreError> {
    if !new.may_follow(old) {
        return Err(StoreError::BadEra);
    }
    let found = home(db, conference)?;
    if found.as_ref() == Some(new) {
        return Ok(());
    }
    if found.as_ref() != old {
        return Err(StoreError::Conflict);
    }
    let (owner, place) = (new.owner.as_ref(), new.place.as_ref());
    db.prepare_cached(
        "INSERT OR REPLACE INTO conference_home (conference, era, owner, incarnation, relay, boot, placement) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        conference.as_bytes(),
        signed(new.era),
        owner.map(|run| run.name.as_str()),
        owner.map(|run| run.incarnation.cast_signed()),
        place.map(|place| place.relay.as_str()),
        place.map(|place| place.boot.0),
        place.map(|place| signed(place.placement)),
    ])?;
    Ok(())
}

pub(super) fn beat(db: &Connection, node: &NodeRecord) -> Result<(), StoreError> {
    db.prepare_cached(&format!("DELETE FROM nodes WHERE NOT {HEARD}"))?
        .execute([])?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO nodes (name, incarnation, counter, cluster, public, heard) \
         VALUES (?, ?, ?, ?, ?, unixepoch())",
    )?
    .execute(params![
        node.run.name.as_str(),
        node.run.incarnation.cast_signed(),
        signed(node.counter),
        node.cluster,
        node.public.join(SEPARATOR),
    ])?;
    Ok(())
}

pub(super) fn nodes(db: &Connection) -> Result<Vec<NodeRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT name, incarnation, counter, cluster, public FROM nodes WHERE {HEARD}"
    ))?;
    let nodes = statement.query_map([], |row| {
        let public: String = row.get(4)?;
        Ok(NodeRecord {
            run: run(row, 0)?,
            counter: unsigned(row, 2)?,
            cluster: row.get(3)?,
            public: public
                .split_terminator(SEPARATOR)
                .map(str::to_owned)
                .collect(),
        })
    })?;
    Ok(nodes.collect::<Result<_, _>>()?)
}

pub(super) fn forget_node(db: &Connection, run: &NodeRun) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM nodes WHERE name = ? AND incarnation = ?")?
        .execute(params![run.name.as_str(), run.incarnation.cast_signed()])?;
    Ok(())
}

/// Writes a page of the file as it is.
pub(super) fn write_nothing(db: &Connection) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE server SET id = id")?
        .execute([])?;
    Ok(())
}

pub(super) fn server(db: &Connection) -> Result<Option<ServerId>, StoreError> {
    let mut statement = db.prepare_cached("SELECT id FROM server")?;
    let found = statement.query_row([], |row| Ok(ServerId(row.get(0)?)));
    Ok(found.optional()?)
}

pub(super) fn claim(db: &Connection, server_id: ServerId) -> Result<ServerId, StoreError> {
    db.prepare_cached("INSERT INTO server (one, id) VALUES (1, ?) ON CONFLICT DO NOTHING")?
        .execute([server_id.0])?;
    server(db)?.ok_or(StoreError::Corrupt("no server"))
}

pub(super) fn revoke(db: &Connection, peer: &Peer, until: UnixMillis) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO revoked (name, until) VALUES (?, ?) \
         ON CONFLICT (name) DO UPDATE SET until = max(until, excluded.until)",
    )?
    .execute(params![peer.to_string(), signed(until.0)])?;
    Ok(())
}

pub(super) fn revoked(db: &Connection) -> Result<Vec<(Peer, UnixMillis)>, StoreError> {
    let mut statement = db.prepare_cached("SELECT name, until FROM revoked")?;
    let rows = statement.query_map([], |row| {
        Ok((parsed(row, 0)?, UnixMillis(unsigned(row, 1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The run in the columns `first` (name) and the next (incarnation, of which SQLite keeps the bits with a sign).
fn run(row: &Row<'_>, first: usize) -> rusqlite::Result<NodeRun> {
    Ok(NodeRun {
        name: parsed(row, first)?,
        incarnation: row.get::<_, i64>(first + 1)?.cast_unsigned(),
    })
}
