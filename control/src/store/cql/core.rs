//! The connection to the database and the prepared statements of all tables.

use super::cas_table::CasTable;
use super::conference_row::ConferenceRow;
use super::config::CqlConfig;
use super::db::Db;
use super::home_row::HomeRow;
use super::journal::Journal;
use super::lists::Lists;
use super::nodes::Nodes;
use super::revoked::Revoked;
use super::rows::{IdRow, Packed};
use super::schema;
use super::session_lists::SessionLists;
use crate::store::StoreError;

/// Attempts to change a row that others change at the same time.
pub(super) const ROUNDS: u32 = 8;

/// The driver's session and the prepared statements.
pub(super) struct Core {
    pub(super) db: Db,
    pub(super) users: CasTable<Packed>,
    pub(super) by_username: CasTable<IdRow>,
    pub(super) by_email: CasTable<IdRow>,
    pub(super) sessions: CasTable<Packed>,
    pub(super) session_lists: SessionLists,
    pub(super) conferences: CasTable<ConferenceRow>,
    pub(super) by_slug: CasTable<IdRow>,
    pub(super) members: CasTable<Packed>,
    pub(super) invitations: CasTable<Packed>,
    pub(super) guest_bans: CasTable<Packed>,
    pub(super) lists: Lists,
    pub(super) homes: CasTable<HomeRow>,
    pub(super) nodes: Nodes,
    pub(super) revoked: Revoked,
    pub(super) server: CasTable<IdRow>,
    pub(super) journal: Journal,
}

impl Core {
    pub(super) async fn prepare(db: Db, config: &CqlConfig) -> Result<Self, StoreError> {
        let table = |name| schema::table(config, name);
        let (users, members) = (table("users"), table("members_by_conference"));
        let invitations = table("invitations_by_conference");
        let guest_bans = table("guest_bans_by_conference");
        let (usernames, slugs) = (table("users_by_username"), table("conferences_by_slug"));
        Ok(Self {
            users: CasTable::prepare(&db, &users, &["account", "kind", "item"]).await?,
            by_username: CasTable::prepare(&db, &usernames, &["username"]).await?,
            by_email: CasTable::prepare(&db, &table("users_by_email"), &["email"]).await?,
            sessions: CasTable::prepare(&db, &table("sessions"), &["session"]).await?,
            session_lists: SessionLists::prepare(&db, &users).await?,
            conferences: CasTable::prepare(&db, &table("conferences"), &["conference"]).await?,
            by_slug: CasTable::prepare(&db, &slugs, &["slug"]).await?,
            members: CasTable::prepare(&db, &members, &["conference", "bucket", "account"]).await?,
            invitations: CasTable::prepare(&db, &invitations, &["conference", "id"]).await?,
            guest_bans: CasTable::prepare(&db, &guest_bans, &["conference", "device"]).await?,
            lists: Lists::prepare(
                &db,
                (&members, &users),
                (&invitations, &guest_bans),
                (&usernames, &slugs),
            )
            .await?,
            homes: CasTable::prepare(&db, &table("conference_home"), &["conference"]).await?,
            nodes: Nodes::prepare(&db, &table("nodes")).await?,
            revoked: Revoked::prepare(&db, &table("revoked")).await?,
            server: CasTable::prepare(&db, &table("server"), &["key"]).await?,
            journal: Journal::prepare(&db, &table("unfinished")).await?,
            db,
        })
    }
}
