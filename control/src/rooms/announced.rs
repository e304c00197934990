//! The participants of a room that others have been told of.

use std::collections::{BTreeMap, BTreeSet};

use confab_protocol::control::{AccountId, ConferenceId, JoinId, Participant, Slug};

use super::guests::EndedGuests;
use crate::webhooks::{News, NewsKind, Someone, Webhooks};

/// The participants that webhooks know of, and the guests that were there since the room started.
#[derive(Debug, Default)]
pub(super) struct Announced {
    present: BTreeMap<JoinId, (AccountId, String)>,
    guests: BTreeSet<AccountId>,
}

impl Announced {
    /// Takes in who was there when this node took the room over: an earlier owner has told of them.
    pub(super) fn adopt<'a>(&mut self, present: impl Iterator<Item = &'a Participant>) {
        self.see(present);
    }

    /// Tells webhooks who has come and gone, now that these are there; and which guests were there, if the room has ended.
    pub(super) fn tell<'a>(
        &mut self,
        (conference, slug): (ConferenceId, &Slug),
        present: impl Iterator<Item = &'a Participant>,
        (webhooks, guests): (&Webhooks, &EndedGuests),
    ) {
        if !webhooks.are_on() && !guests.are_told() {
            return;
        }
        for kind in self.news(present) {
            if kind == NewsKind::RoomEnded {
                std::mem::take(&mut self.guests)
                    .into_iter()
                    .for_each(|guest| guests.tell(guest));
            }
            webhooks.tell(News {
                conference,
                slug: slug.clone(),
                kind,
            });
        }
    }

    fn news<'a>(&mut self, present: impl Iterator<Item = &'a Participant>) -> Vec<NewsKind> {
        let before = std::mem::take(&mut self.present);
        self.see(present);
        let now = &self.present;
        let mut news = Vec::new();
        if before.is_empty() && !now.is_empty() {
            news.push(NewsKind::RoomStarted);
        }
        let joined = now.iter().filter(|(join, _)| !before.contains_key(join));
        news.extend(joined.map(|one| NewsKind::Joined(someone(one))));
        let left = before.iter().filter(|(join, _)| !now.contains_key(join));
        news.extend(left.map(|one| NewsKind::Left(someone(one))));
        if !before.is_empty() && now.is_empty() {
            news.push(NewsKind::RoomEnded);
        }
        news
    }

    fn see<'a>(&mut self, present: impl Iterator<Item = &'a Participant>) {
        let mut seen = BTreeMap::new();
        for one in present {
            if one.username.is_guest() {
                self.guests.insert(one.account);
            }
            seen.insert(one.join_id, (one.account, one.username.to_string()));
        }
        self.present = seen;
    }
}

fn someone((join, (account, username)): (&JoinId, &(AccountId, String))) -> Someone {
    Someone {
        join: *join,
        account: *account,
        username: username.clone(),
    }
}
