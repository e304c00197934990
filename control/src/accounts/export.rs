//! The export of all data of an account, for its owner.

use confab_protocol::control::Email;
use confab_protocol::control::room::{Role, Visibility};
use serde_json::{Value, json};

use crate::clock::UnixMillis;
use crate::store::{AccountRecord, Membership, SessionRecord, Store, StoreError};

/// Number of memberships read at a time.
const PAGE: u32 = 500;

/// A JSON document with all data except hashes. Times are milliseconds since 1970-01-01 UTC.
pub(super) async fn document(
    store: &dyn Store,
    account: &AccountRecord,
    now: UnixMillis,
) -> Result<String, StoreError> {
    let sessions = store.sessions_of(account.id, now).await?;
    let mut conferences: Vec<Value> = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.conferences_of(account.id, cursor, PAGE).await?;
        conferences.extend(page.items.iter().map(conference));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let document = json!({
        "account": {
            "id": account.id.to_string(),
            "username": account.username.as_str(),
            "email": account.email.as_ref().map(Email::as_str),
            "email_verified": account.email_verified,
            "birthday": account.birthday.map(|day| day.to_string()),
            "created_ms": account.created.0,
        },
        "sessions": sessions.iter().map(session).collect::<Vec<_>>(),
        "conferences": conferences,
    });
    Ok(format!("{document:#}"))
}

fn session(session: &SessionRecord) -> Value {
    json!({
        "id": format!("{:?}", session.id),
        "device": session.device.as_str(),
        "created_ms": session.created.0,
        "refreshed_ms": session.rotated.0,
        "expires_ms": session.expires.0,
    })
}

fn conference(membership: &Membership) -> Value {
    let Membership {
        conference,
        standing,
    } = membership;
    json!({
        "id": conference.id.to_string(),
        "slug": conference.slug.as_str(),
        "title": conference.title.as_str(),
        "visibility": match conference.visibility {
            Visibility::Public => "public",
            Visibility::Invite | Visibility::Unspecified => "invite",
        },
        "owner": conference.owner_name.as_str(),
        "role": match standing.role {
            Role::Owner => "owner",
            Role::Moderator => "moderator",
            Role::Listener => "listener",
            Role::Banned => "banned",
            Role::Member | Role::Unspecified => "member",
        },
        "muted": standing.muted,
        "since_ms": standing.since.0,
    })
}
