//! A cache of the database's recent answers. No I/O: answers and a monotonic clock in, answers out.
//!
//! A value that was read is cached only if this node has not begun to write it since the read began; else an old value could
//! come back after a newer one was acknowledged. So a reader first takes the count of writes of its key ([`WriteCount`]), and
//! a writer increases it before and after the write.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, ConferenceId, Slug};

use super::recent::{Recent, RecentGroups};
use crate::clock::UnixMillis;
use crate::store::{AccountRecord, ConferenceRecord, SessionId, SessionRecord, Standing};

/// The age up to which an answer is used.
pub const KEPT_FOR: Duration = Duration::from_secs(5 * 60);
/// The largest number of cached sessions, accounts and standings, each: the number of clients that connect to a node. Together some
/// 900 bytes for each client, so 120 MB at most.
const MAX_CLIENTS: usize = 1 << 17;
/// The largest number of cached conferences, of some 400 bytes each, so 26 MB at most.
const MAX_CONFERENCES: usize = 1 << 16;
/// Counters of writes. A write of one key only delays the caching of the keys that share its counter.
const COUNTERS: usize = 1 << 12;

/// The subject of a read or a write.
#[derive(Clone, Copy, Hash, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// A session.
    Session(SessionId),
    /// An account.
    Account(AccountId),
    /// An account and all of its sessions.
    AllOf(AccountId),
    /// A conference and all standings in it.
    Conference(ConferenceId),
    /// A standing.
    Member(ConferenceId, AccountId),
    /// All standings in a conference.
    Members(ConferenceId),
    /// Any slug.
    Slugs,
}

/// The count of writes of a key at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WriteCount {
    counter: usize,
    writes: u64,
    all: u64,
}

/// The cache.
pub(super) struct Memory {
    /// By account.
    sessions: RecentGroups<AccountId, SessionId, Kept<SessionRecord>>,
    accounts: Recent<AccountId, Kept<AccountRecord>>,
    conferences: Recent<ConferenceId, Kept<ConferenceRecord>>,
    slugs: Recent<Slug, ConferenceId>,
    /// By conference.
    members: RecentGroups<ConferenceId, (ConferenceId, AccountId), Kept<Standing>>,
    hasher: RandomState,
    counts: Vec<u64>,
    /// Counts writes whose keys are not known.
    all: u64,
}

struct Kept<T> {
    value: T,
    read: Instant,
}

impl<T: Clone> Kept<T> {
    fn at(&self, now: Instant) -> Option<T> {
        let is_good = now.saturating_duration_since(self.read) <= KEPT_FOR;
        is_good.then(|| self.value.clone())
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            sessions: RecentGroups::new(MAX_CLIENTS),
            accounts: Recent::new(MAX_CLIENTS),
            conferences: Recent::new(MAX_CONFERENCES),
            slugs: Recent::new(MAX_CONFERENCES),
            members: RecentGroups::new(MAX_CLIENTS),
            hasher: RandomState::new(),
            counts: vec![0; COUNTERS],
            all: 0,
        }
    }
}

impl Memory {
    /// The count to take before the key is read.
    pub(super) fn write_count(&self, key: Key) -> WriteCount {
        let counter = self.counter(key);
        WriteCount {
            counter,
            writes: self.counts[counter],
            all: self.all,
        }
    }

    /// A read of the key that began before this call must not be cached.
    pub(super) fn invalidate_in_flight(&mut self, key: Key) {
        if let Key::AllOf(_) = key {
            self.all += 1;
        }
        let counter = self.counter(key);
        self.counts[counter] += 1;
    }

    /// Forgets the key, which is about to be written or was written elsewhere. Returns the count to cache the written value with.
    pub(super) fn change(&mut self, key: Key) -> WriteCount {
        self.invalidate_in_flight(key);
        match key {
            Key::Session(id) => self.forget_session(id),
            Key::Account(id) => self.forget_account(id),
            Key::AllOf(account) => {
                self.forget_account(account);
                self.sessions.remove_group(&account);
            }
            Key::Conference(id) => self.forget_conference(id),
            Key::Member(conference, account) => self.forget_member(conference, account),
            Key::Members(conference) => self.members.remove_group(&conference),
            Key::Slugs => {}
        }
        self.write_count(key)
    }

    pub(super) fn keep_session(
        &mut self,
        now: Instant,
        count: WriteCount,
        session: &SessionRecord,
    ) {
        if self.is_current(count) {
            self.sessions
                .insert(session.account, session.id, kept(now, session));
        }
    }

    pub(super) fn keep_account(
        &mut self,
        now: Instant,
        count: WriteCount,
        account: &AccountRecord,
    ) {
        if self.is_current(count) {
            self.accounts.insert(account.id, kept(now, account));
        }
    }

    pub(super) fn keep_conference(
        &mut self,
        now: Instant,
        count: WriteCount,
        conference: &ConferenceRecord,
    ) {
        if self.is_current(count) {
            self.slugs.insert(conference.slug.clone(), conference.id);
            self.conferences
                .insert(conference.id, kept(now, conference));
        }
    }

    pub(super) fn keep_member(
        &mut self,
        now: Instant,
        count: WriteCount,
        (conference, account): (ConferenceId, AccountId),
        standing: Standing,
    ) {
        if self.is_current(count) {
            self.members
                .insert(conference, (conference, account), kept(now, &standing));
        }
    }

    /// The session, unless it has expired by the time of day.
    pub(super) fn session(
        &self,
        now: Instant,
        id: SessionId,
        time: UnixMillis,
    ) -> Option<SessionRecord> {
        let session = self.sessions.get(&id)?.at(now)?;
        (session.expires > time).then_some(session)
    }

    /// The session if it is of this generation, however old: a rotation changes only values that its caller knows.
    pub(super) fn session_at(&self, id: SessionId, generation: u32) -> Option<SessionRecord> {
        let session = &self.sessions.get(&id)?.value;
        (session.generation == generation).then(|| session.clone())
    }

    pub(super) fn account(&self, now: Instant, id: AccountId) -> Option<AccountRecord> {
        self.accounts.get(&id)?.at(now)
    }

    pub(super) fn conference(&self, now: Instant, id: ConferenceId) -> Option<ConferenceRecord> {
        self.conferences.get(&id)?.at(now)
    }

    pub(super) fn conference_by_slug(&self, now: Instant, slug: &Slug) -> Option<ConferenceRecord> {
        let found = self.conference(now, *self.slugs.get(slug)?)?;
        (found.slug == *slug).then_some(found)
    }

    pub(super) fn member(
        &self,
        now: Instant,
        conference: ConferenceId,
        account: AccountId,
    ) -> Option<Standing> {
        self.members.get(&(conference, account))?.at(now)
    }

    pub(super) fn forget_session(&mut self, id: SessionId) {
        self.sessions.remove(&id);
    }

    /// Forgets all sessions: some have ended, and it is not known which.
    pub(super) fn forget_sessions(&mut self) {
        self.all += 1;
        self.sessions.clear();
    }

    pub(super) fn forget_account(&mut self, id: AccountId) {
        self.accounts.remove(&id);
    }

    pub(super) fn forget_conference(&mut self, id: ConferenceId) {
        if let Some(conference) = self.conferences.remove(&id) {
            self.forget_slug(&conference.value.slug);
        }
        self.members.remove_group(&id);
    }

    pub(super) fn forget_slug(&mut self, slug: &Slug) {
        self.slugs.remove(slug);
    }

    pub(super) fn forget_member(&mut self, conference: ConferenceId, account: AccountId) {
        self.members.remove(&(conference, account));
    }

    fn is_current(&self, count: WriteCount) -> bool {
        self.all == count.all && self.counts[count.counter] == count.writes
    }

    fn counter(&self, key: Key) -> usize {
        let hash = match key {
            Key::Session(id) => self.hasher.hash_one(id),
            Key::Account(id) | Key::AllOf(id) => self.hasher.hash_one(id),
            // One for all standings in a conference, because they are forgotten together.
            Key::Conference(id) | Key::Member(id, _) | Key::Members(id) => self.hasher.hash_one(id),
            Key::Slugs => self.hasher.hash_one(key),
        };
        usize::try_from(hash % COUNTERS as u64).unwrap_or_default()
    }
}

fn kept<T: Clone>(now: Instant, value: &T) -> Kept<T> {
    Kept {
        value: value.clone(),
        read: now,
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::control::room::{Role, Visibility};

    use super::*;

    const ANN: AccountId = AccountId::new([1; 16]);
    const BOB: AccountId = AccountId::new([2; 16]);
    const ROOM: ConferenceId = ConferenceId::new([3; 16]);
    const OTHER: ConferenceId = ConferenceId::new([4; 16]);
    const LAPTOP: SessionId = SessionId([5; 16]);
    const TODAY: UnixMillis = UnixMillis(1_000_000);

    fn session(account: AccountId, id: SessionId) -> SessionRecord {
        SessionRecord {
            id,
            account,
            generation: 7,
            secret_hash: [9; 16],
            used: true,
            device: "laptop".parse().unwrap(),
            created: TODAY,
            rotated: TODAY,
            expires: UnixMillis(TODAY.0 + 60_000),
        }
    }

    fn conference(id: ConferenceId) -> ConferenceRecord {
        ConferenceRecord {
            id,
            slug: "friday-night".parse().unwrap(),
            title: "Friday".parse().unwrap(),
            visibility: Visibility::Public,
            owner: ANN,
            owner_name: "ann".parse().unwrap(),
            created: TODAY,
            region: None,
            revision: 0,
        }
    }

    fn standing(role: Role) -> Standing {
        Standing {
            revision: 0,
            role,
            muted: false,
            since: TODAY,
        }
    }

    #[test]
    fn an_answer_is_used_for_five_minutes_and_not_after_its_session_expired() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let count = memory.write_count(Key::Session(LAPTOP));
        memory.keep_session(start, count, &session(ANN, LAPTOP));
        assert!(memory.session(start + KEPT_FOR, LAPTOP, TODAY).is_some());
        let late = start + KEPT_FOR + Duration::from_millis(1);
        assert_eq!(memory.session(late, LAPTOP, TODAY), None);
        let expired = UnixMillis(TODAY.0 + 60_000);
        assert_eq!(memory.session(start, LAPTOP, expired), None);
    }

    #[test]
    fn a_value_read_during_a_write_is_not_cached() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let key = Key::Member(ROOM, ANN);
        // The read begins, then the write, then the read is answered.
        let early = memory.write_count(key);
        let written = memory.change(key);
        let meanwhile = memory.write_count(key);
        memory.keep_member(now, written, (ROOM, ANN), standing(Role::Banned));
        memory.invalidate_in_flight(key);
        for late in [early, meanwhile] {
            memory.keep_member(now, late, (ROOM, ANN), standing(Role::Member));
        }
        let known = memory.member(now, ROOM, ANN).unwrap();
        assert_eq!(known.role, Role::Banned);
    }

    #[test]
    fn of_two_concurrent_writes_neither_is_cached() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let key = Key::Member(ROOM, ANN);
        let (one, two) = (memory.change(key), memory.change(key));
        memory.keep_member(now, one, (ROOM, ANN), standing(Role::Member));
        memory.invalidate_in_flight(key);
        memory.keep_member(now, two, (ROOM, ANN), standing(Role::Banned));
        memory.invalidate_in_flight(key);
        assert_eq!(memory.member(now, ROOM, ANN), None);
    }

    #[test]
    fn sessions_of_one_account_are_forgotten_and_others_stay() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let phone = SessionId([6; 16]);
        for kept in [session(ANN, LAPTOP), session(BOB, phone)] {
            let count = memory.write_count(Key::Session(kept.id));
            memory.keep_session(now, count, &kept);
        }
        let reading = memory.write_count(Key::Session(LAPTOP));
        memory.change(Key::AllOf(ANN));
        memory.keep_session(now, reading, &session(ANN, LAPTOP));
        assert_eq!(memory.session(now, LAPTOP, TODAY), None);
        assert!(memory.session(now, phone, TODAY).is_some());
        let reading = memory.write_count(Key::Session(phone));
        memory.forget_sessions();
        memory.keep_session(now, reading, &session(BOB, phone));
        assert_eq!(memory.session(now, phone, TODAY), None);
    }

    /// 50 000 removals from 100 000 sessions take some milliseconds. A walk over all sessions for each takes half a minute.
    #[test]
    fn forgetting_the_sessions_of_an_account_does_not_visit_all_sessions() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let account = |number: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            AccountId::new(id)
        };
        for number in 0..100_000 {
            let account = account(number);
            let session = session(account, SessionId(*account.as_bytes()));
            let count = memory.write_count(Key::Session(session.id));
            memory.keep_session(now, count, &session);
        }
        let start = Instant::now();
        for number in 0..50_000 {
            memory.change(Key::AllOf(account(number)));
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        let known = |number| memory.session(now, SessionId(*account(number).as_bytes()), TODAY);
        assert!(known(49_999).is_none() && known(99_999).is_some());
    }

    #[test]
    fn a_deleted_conference_is_forgotten_with_its_slug_and_standings() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let keep = |memory: &mut Memory| {
            let count = memory.write_count(Key::Slugs);
            memory.keep_conference(now, count, &conference(ROOM));
            for place in [(ROOM, ANN), (OTHER, ANN)] {
                let count = memory.write_count(Key::Member(place.0, place.1));
                memory.keep_member(now, count, place, standing(Role::Owner));
            }
        };
        keep(&mut memory);
        let slug: Slug = "friday-night".parse().unwrap();
        assert_eq!(
            memory.conference_by_slug(now, &slug),
            Some(conference(ROOM))
        );
        memory.change(Key::Conference(ROOM));
        assert_eq!(memory.conference_by_slug(now, &slug), None);
        assert_eq!(memory.conference(now, ROOM), None);
        assert_eq!(memory.member(now, ROOM, ANN), None);
        assert!(memory.member(now, OTHER, ANN).is_some());

        // After a takeover of the room the conference is the same, but standings may have changed.
        keep(&mut memory);
        memory.change(Key::Members(ROOM));
        assert!(memory.conference(now, ROOM).is_some());
        assert_eq!(memory.member(now, ROOM, ANN), None);
    }

    #[test]
    fn an_entry_is_as_large_as_documented() {
        use std::mem::size_of;
        // Names, addresses and titles come on top, and an eighth of the table is empty: some 250 bytes in all.
        let person = size_of::<Kept<SessionRecord>>()
            + size_of::<Kept<AccountRecord>>()
            + size_of::<Kept<Standing>>();
        assert!(person <= 480, "{person}");
        assert!(size_of::<Kept<ConferenceRecord>>() <= 240);
    }
}
