//! What an operator does to conferences and their rooms, whoever owns them.

use std::collections::HashSet;

use confab_protocol::control::room::Role;
use confab_protocol::control::{AccountId, ConferenceId, Slug, Username};

use super::errors::{CreateForError, RemoveError, TransferError};
use super::service::{CONFERENCE_PAGE, Conferences, MEMBER_PAGE, NewConference};
use crate::domain::Present;
use crate::rooms::{ChangeError, Settled};
use crate::store::{
    AccountKind, ConferenceRecord, Cursor, MemberRecord, Membership, Page, StoreError,
};

impl Conferences {
    /// All conferences.
    pub async fn all(
        &self,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<ConferenceRecord>, StoreError> {
        self.store.all_conferences(after, limit).await
    }

    /// The conference with this id.
    pub async fn by_id(&self, id: ConferenceId) -> Result<Option<ConferenceRecord>, StoreError> {
        self.store.conference(id).await
    }

    /// The first page of the accounts with a standing, bans included.
    pub async fn standings(&self, id: ConferenceId) -> Result<Page<MemberRecord>, StoreError> {
        self.store.members(id, None, MEMBER_PAGE).await
    }

    /// The first page of the conferences in which the account has a standing, bans included.
    pub async fn standings_of(&self, account: AccountId) -> Result<Page<Membership>, StoreError> {
        self.store.conferences_of(account, None, MEMBER_PAGE).await
    }

    /// The conferences that the account owns, as far as they are among its first [`CONFERENCE_PAGE`].
    pub async fn owned_by(&self, account: AccountId) -> Result<Vec<ConferenceRecord>, StoreError> {
        let page = self
            .store
            .conferences_of(account, None, CONFERENCE_PAGE)
            .await?;
        let all = page.items.into_iter().map(|item| item.conference);
        Ok(all.filter(|one| one.owner == account).collect())
    }

    /// Creates a conference of which the account becomes the owner. No limit of owned conferences counts.
    pub async fn create_for(
        &self,
        owner: Username,
        new: NewConference,
    ) -> Result<ConferenceRecord, CreateForError> {
        let account = self.store.account_by_username(owner).await?;
        let account = account.ok_or(CreateForError::NoAccount)?;
        if account.kind != AccountKind::Person {
            return Err(CreateForError::NoPerson);
        }
        if account.disabled {
            return Err(CreateForError::Disabled);
        }
        let owner = (account.id, account.username);
        Ok(self.create_owned(owner, new).await?)
    }

    /// Makes another account the owner; the old owner becomes a moderator. Repeating it completes what an interrupted attempt began.
    pub async fn transfer(&self, slug: Slug, to: Username) -> Result<Settled, TransferError> {
        let conference = self.find(slug).await?;
        let id = conference.id;
        let account = self.store.account_by_username(to).await?;
        let account = account.ok_or(TransferError::NoAccount)?;
        if account.kind != AccountKind::Person {
            return Err(TransferError::NoPerson);
        }
        if account.disabled {
            return Err(TransferError::Disabled);
        }
        let new = account.id;
        let olds = self.other_owners(&conference, new).await?;
        let standing = match self.store.member(id, new).await? {
            Some(standing) if standing.role == Role::Banned => {
                return Err(TransferError::Banned);
            }
            Some(standing) => standing,
            None => {
                self.invitations
                    .has_room_for_member::<TransferError>(id)
                    .await?;
                let standing = self.fresh(Role::Member);
                self.store.add_member(id, new, standing).await?;
                standing
            }
        };
        // Also if the record names the new owner: an interrupted attempt may have left the lists of the old one.
        for old in &olds {
            self.store.set_owner(id, *old, new).await?;
        }
        let mut settled = Settled::Everywhere;
        if standing.role != Role::Owner {
            let owner = standing.changed_to(Role::Owner, false);
            let change = self.rooms.change(id, new, Some(standing), Some(owner));
            settled = settled.and(change.await?);
        }
        for old in olds {
            if let Some(standing) = self.store.member(id, old).await? {
                let moderator = standing.changed_to(Role::Moderator, standing.muted);
                let change = self.rooms.change(id, old, Some(standing), Some(moderator));
                settled = settled.and(change.await?);
            }
        }
        Ok(settled)
    }

    /// The accounts beside `new` that have the role of the owner: one, or none if `new` has it already.
    async fn other_owners(
        &self,
        conference: &ConferenceRecord,
        new: AccountId,
    ) -> Result<Vec<AccountId>, StoreError> {
        if conference.owner != new {
            return Ok(vec![conference.owner]);
        }
        let mut cursor = None;
        let mut found = Vec::new();
        loop {
            let page = self
                .store
                .members(conference.id, cursor, MEMBER_PAGE)
                .await?;
            let others = page
                .items
                .iter()
                .filter(|member| member.standing.role == Role::Owner && member.account != new);
            found.extend(others.map(|member| member.account));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// Deletes the conference and closes its room.
    pub async fn remove(&self, slug: Slug) -> Result<Settled, RemoveError> {
        let conference = self.find(slug).await?;
        Ok(self.rooms.delete(conference.id).await?)
    }

    /// Sends the accounts out of the room; they may join again. Returns their number.
    pub async fn end_room(
        &self,
        conference: ConferenceId,
        present: &[Present],
    ) -> Result<u32, ChangeError> {
        let accounts: HashSet<AccountId> = present.iter().map(|one| one.account).collect();
        let mut sent_out = 0;
        for account in accounts {
            match self.rooms.kick(conference, account).await {
                Ok(_) => sent_out += 1,
                // It left by itself.
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent_out)
    }
}
