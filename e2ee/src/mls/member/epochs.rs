//! The epochs whose frames a member seals and opens.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use confab_protocol::media::KeyId;

use crate::keys::{BaseKey, BaseKeys};
use crate::mls::identity::Credential;

/// Most epochs that are kept.
pub const MAX_EPOCHS: usize = 32;

/// An epoch's frames are opened this long after the epoch that follows it was activated.
pub const RETIRE_AFTER: Duration = Duration::from_secs(2);

/// Without an `activate`, a member seals under a new epoch this long after it merged the commit.
pub const SEAL_AFTER_MERGE: Duration = Duration::from_millis(500);

/// The same after the Welcome of a joiner that has no epoch before it.
pub const SEAL_AFTER_WELCOME: Duration = Duration::from_millis(300);

/// The same for the epochs of a new group, while the member has keys of the group before: it goes on there until all are in the new one.
pub const SEAL_AFTER_NEW_GROUP: Duration = Duration::from_secs(5);

/// An epoch so far ahead of the newest that a member knows is activated by nobody honest: control sends the commits in between first.
pub const MAX_AHEAD: u64 = 64;

/// Leaves that missed an epoch are opened under their last one for this long, if nobody was removed since.
pub const ABSENT_FOR: Duration = Duration::from_secs(30);

/// What is known of a new epoch.
pub(crate) struct NewEpoch<'a> {
    pub(crate) generation: u64,
    pub(crate) epoch: u64,
    pub(crate) own_leaf: u32,
    pub(crate) base_key: BaseKey,
    pub(crate) leaves: &'a BTreeMap<u32, Credential>,
    /// It came by Welcome: the member has no epoch of this group before it.
    pub(crate) is_first: bool,
}

/// The epochs of a member, oldest first.
#[derive(Debug, Default)]
pub struct Epochs {
    kept: VecDeque<Epoch>,
    /// The newest epoch that the delivery service has activated, by generation and epoch, merged or not.
    activated: Option<(u64, u64)>,
    sealing: Option<KeyId>,
    /// Generation and epoch of `sealing`.
    sealing_at: Option<(u64, u64)>,
    revision: u64,
}

#[derive(Debug)]
struct Epoch {
    /// Generation and epoch.
    at: (u64, u64),
    own_leaf: u32,
    base_key: BaseKey,
    /// Who may be heard; a leaf that is removed later goes at once.
    leaves: BTreeMap<u32, Credential>,
    /// The member came here by a Welcome, or by a commit that removed somebody: nobody may stay behind in the epoch before.
    is_cut: bool,
    /// From then on the member seals under it, activated or not.
    seal_at: Instant,
    /// When leaves cease to be heard under it; `None` until the next epoch is activated.
    ends: Option<Instant>,
    /// Leaves that have not acknowledged the next epoch are heard until then.
    late: BTreeMap<u32, Instant>,
}

impl Epochs {
    /// The member is in a new epoch.
    pub(crate) fn begin(&mut self, now: Instant, new: NewEpoch<'_>) {
        let mut is_cut = new.is_first;
        for older in self
            .kept
            .iter_mut()
            .filter(|one| one.at.0 == new.generation)
        {
            let before = older.leaves.len();
            older
                .leaves
                .retain(|leaf, owner| new.leaves.get(leaf) == Some(owner));
            is_cut |= older.leaves.len() < before;
        }
        let is_group_active = self.activated.is_some_and(|(of, _)| of == new.generation);
        let wait = if new.is_first && self.kept.is_empty() {
            SEAL_AFTER_WELCOME
        } else if self.kept.iter().any(|one| one.at.0 != new.generation) && !is_group_active {
            SEAL_AFTER_NEW_GROUP
        } else {
            SEAL_AFTER_MERGE
        };
        // Nobody but the creator is in epoch 0: it goes on in the group before until others are in.
        let alone = self
            .kept
            .back_mut()
            .filter(|one| one.at == (new.generation, 0));
        if let Some(alone) = alone {
            alone.seal_at = alone.seal_at.max(now + wait);
        }
        if self.kept.len() == MAX_EPOCHS {
            self.kept.pop_front();
        }
        self.kept.push_back(Epoch {
            at: (new.generation, new.epoch),
            own_leaf: new.own_leaf,
            base_key: new.base_key,
            leaves: new.leaves.clone(),
            is_cut,
            seal_at: now + wait,
            ends: None,
            late: BTreeMap::new(),
        });
        self.revision += 1;
        self.update(now);
    }

    /// The delivery service says that all members, but those at the `absent` leaves, are in this epoch.
    ///
    /// It implies all epochs before it. It may come before the epoch's commit does.
    pub(crate) fn activate(&mut self, now: Instant, generation: u64, epoch: u64, absent: &[u32]) {
        let at = (generation, epoch);
        let newest = self.kept.back().map(|one| one.at);
        let is_near = newest.is_some_and(|(known, newest)| {
            generation == known && epoch <= newest.saturating_add(MAX_AHEAD)
        });
        if !is_near || self.activated.is_some_and(|known| known >= at) {
            return;
        }
        let before = self.activated.replace(at);
        // It activates the epochs between, too: one of them may be a cut.
        let new = |one: &&Epoch| one.at <= at && before.is_none_or(|before| one.at > before);
        let is_known = self.kept.iter().any(|one| one.at == at);
        let is_cut = !is_known || self.kept.iter().filter(new).any(|one| one.is_cut);
        for older in self.kept.iter_mut().filter(|one| one.at < at) {
            older.ends.get_or_insert(now + RETIRE_AFTER);
            if is_cut {
                older.late.clear();
            } else if older.at.0 == generation && older.at.1 + 1 == epoch {
                let heard = absent.iter().filter(|leaf| older.leaves.contains_key(leaf));
                older.late = heard.map(|leaf| (*leaf, now + ABSENT_FOR)).collect();
            }
        }
        self.revision += 1;
        self.update(now);
    }

    /// Drops what is due, and says when to be called again.
    pub(crate) fn update(&mut self, now: Instant) -> Option<Instant> {
        let mut has_changed = false;
        for epoch in &mut self.kept {
            let before = epoch.leaves.len();
            epoch.late.retain(|_, until| *until > now);
            if epoch.ends.is_some_and(|ends| ends <= now) {
                epoch.leaves.retain(|leaf, _| epoch.late.contains_key(leaf));
            }
            has_changed |= epoch.leaves.len() < before;
        }
        self.kept.retain(|epoch| !epoch.leaves.is_empty());
        let activated = self.activated;
        let may_seal =
            |one: &&Epoch| one.seal_at <= now || activated.is_some_and(|at| one.at <= at);
        let newest = self.kept.iter().rfind(may_seal);
        let sealing = newest.map(Epoch::own_key_id);
        self.sealing_at = newest.map(|one| one.at);
        if has_changed || sealing != self.sealing {
            self.revision += 1;
        }
        self.sealing = sealing;
        self.kept.iter().filter_map(|one| one.deadline(now)).min()
    }

    /// Generation and epoch under which the member seals.
    pub(crate) fn sealing_at(&self) -> Option<(u64, u64)> {
        self.sealing_at
    }

    /// The newest generation and epoch that it has.
    pub(crate) fn newest(&self) -> Option<(u64, u64)> {
        self.kept.back().map(|one| one.at)
    }

    /// Who speaks under this key id.
    pub fn owner(&self, key_id: KeyId) -> Option<&Credential> {
        self.find(key_id)
            .and_then(|epoch| epoch.leaves.get(&key_id.leaf))
    }

    /// The generation of the group whose frames have this key id.
    pub fn generation(&self, key_id: KeyId) -> Option<u64> {
        self.find(key_id).map(|epoch| epoch.at.0)
    }

    /// Drops all keys.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.sealing = None;
        self.sealing_at = None;
        self.revision += 1;
    }

    fn find(&self, key_id: KeyId) -> Option<&Epoch> {
        self.kept.iter().rfind(|one| {
            let id = one.own_key_id();
            (id.generation, id.epoch) == (key_id.generation, key_id.epoch)
        })
    }
}

impl Epoch {
    fn own_key_id(&self) -> KeyId {
        let (generation, epoch) = self.at;
        KeyId::new(
            self.own_leaf,
            (generation & KeyId::GENERATION_MASK) as u8,
            epoch as u8,
        )
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let late = self.late.values().copied();
        [Some(self.seal_at), self.ends]
            .into_iter()
            .flatten()
            .chain(late)
            .filter(|at| *at > now)
            .min()
    }
}

impl BaseKeys for Epochs {
    fn sealing(&self) -> Option<KeyId> {
        self.sealing
    }

    fn is_own(&self, key_id: KeyId) -> bool {
        self.find(key_id)
            .is_some_and(|epoch| epoch.own_leaf == key_id.leaf)
    }

    fn base_key(&self, key_id: KeyId) -> Option<BaseKey> {
        let epoch = self
            .find(key_id)
            .filter(|epoch| epoch.leaves.contains_key(&key_id.leaf))?;
        Some(epoch.base_key.clone())
    }

    fn revision(&self) -> u64 {
        self.revision
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::control::{AccountId, ConferenceId};

    use super::*;
    use crate::mls::identity::{DeviceKey, ServerId, Subject};
    use crate::mls::signing::SigningKey;
    use crate::mls::suite::Suite;

    fn credential(number: u8) -> Credential {
        let subject = Subject {
            server: ServerId([1; 16]),
            account: AccountId::new([number; 16]),
            username: format!("user{number}").parse().unwrap(),
            conference: ConferenceId::new([2; 16]),
        };
        let leaf_key = SigningKey::generate();
        let (device, suite) = (DeviceKey::generate(), Suite::Classical);
        Credential::sign(&device, &subject, suite, leaf_key.public(), &[])
    }

    fn begin(epochs: &mut Epochs, now: Instant, epoch: u64, leaves: &BTreeMap<u32, Credential>) {
        epochs.begin(
            now,
            NewEpoch {
                generation: 1,
                epoch,
                own_leaf: 0,
                base_key: BaseKey::new([epoch as u8; BaseKey::LEN]),
                leaves,
                is_first: false,
            },
        );
    }

    #[test]
    fn an_epoch_that_is_far_ahead_or_of_another_generation_retires_nothing() {
        let leaves: BTreeMap<u32, Credential> =
            BTreeMap::from([(0, credential(0)), (1, credential(1))]);
        let (now, mut epochs) = (Instant::now(), Epochs::default());
        begin(&mut epochs, now, 1, &leaves);
        for (generation, epoch) in [
            (1, u64::MAX),
            (1, 2 + MAX_AHEAD),
            (0, 1),
            (2, 0),
            (u64::MAX, 1),
        ] {
            epochs.activate(now, generation, epoch, &[]);
        }
        epochs.update(now + 2 * RETIRE_AFTER);
        assert!(epochs.base_key(KeyId::new(1, 1, 1)).is_some());
        epochs.activate(now, 1, 1, &[]);
        assert_eq!(epochs.sealing(), Some(KeyId::new(0, 1, 1)));
    }

    #[test]
    fn who_stayed_behind_is_silent_after_a_removal_that_another_epoch_activates() {
        let mut leaves: BTreeMap<u32, Credential> =
            (0..4).map(|leaf| (leaf, credential(leaf as u8))).collect();
        let (mut now, mut epochs) = (Instant::now(), Epochs::default());
        begin(&mut epochs, now, 1, &leaves);
        begin(&mut epochs, now, 2, &leaves);
        epochs.activate(now, 1, 2, &[2]);
        now += RETIRE_AFTER;
        epochs.update(now);
        let late = KeyId::new(2, 1, 1);
        assert!(epochs.base_key(late).is_some());
        leaves.remove(&3);
        begin(&mut epochs, now, 3, &leaves);
        begin(&mut epochs, now, 4, &leaves);
        epochs.activate(now, 1, 4, &[2]);
        assert_eq!(epochs.base_key(late), None);
    }
}
