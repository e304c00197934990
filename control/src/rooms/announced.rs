//! The participants of a room that webhooks have been told of.

use std::collections::BTreeMap;

use confab_protocol::control::{AccountId, JoinId, Participant};

use crate::webhooks::{NewsKind, Someone};

/// Who is in the room, as webhooks know it.
#[derive(Debug, Default)]
pub(super) struct Announced(BTreeMap<JoinId, (AccountId, String)>);

impl Announced {
    /// Takes in who was there when this node took the room over: an earlier owner has told of them.
    pub(super) fn adopt<'a>(&mut self, present: impl Iterator<Item = &'a Participant>) {
        self.0 = known(present);
    }

    /// What is to be told, now that these are there.
    pub(super) fn news<'a>(
        &mut self,
        present: impl Iterator<Item = &'a Participant>,
    ) -> Vec<NewsKind> {
        let now = known(present);
        let mut news = Vec::new();
        if self.0.is_empty() && !now.is_empty() {
            news.push(NewsKind::RoomStarted);
        }
        let joined = now.iter().filter(|(join, _)| !self.0.contains_key(join));
        news.extend(joined.map(|one| NewsKind::Joined(someone(one))));
        let left = self.0.iter().filter(|(join, _)| !now.contains_key(join));
        news.extend(left.map(|one| NewsKind::Left(someone(one))));
        if !self.0.is_empty() && now.is_empty() {
            news.push(NewsKind::RoomEnded);
        }
        self.0 = now;
        news
    }
}

fn known<'a>(
    present: impl Iterator<Item = &'a Participant>,
) -> BTreeMap<JoinId, (AccountId, String)> {
    let one = |one: &Participant| (one.join_id, (one.account, one.username.to_string()));
    present.map(one).collect()
}

fn someone((join, (account, username)): (&JoinId, &(AccountId, String))) -> Someone {
    Someone {
        join: *join,
        account: *account,
        username: username.clone(),
    }
}
