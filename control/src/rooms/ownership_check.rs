//! Decides when the store is asked who owns the room, and which requests wait for the answer.
//!
//! A node that was cut off or suspended may have lost its lease without noticing: another node may own its rooms. A room therefore looks
//! its home up when the node's lease epoch has changed or is unknown. Moderation waits for that lookup, because its answer promises that
//! the change holds. If the store does not answer, the owner goes on: it acts until a relay fences it.

use std::time::{Duration, Instant};

use super::effect::{ClientId, Input, RoomChange, RoomRequest, Ticket};
use crate::random::jittered_by;

/// First pause before a failed lookup is repeated; it doubles up to the longest. All rooms of a node ask the same store.
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The node's current lease epoch, or `None` if its lease may have expired. It changes whenever the lease may have lapsed. See
/// [`Nodes::lease_epoch`](crate::cluster::nodes::Nodes::lease_epoch).
pub(super) type LeaseEpoch = Option<u64>;

/// A request that waits, with its ticket.
type Held = (Ticket, RoomRequest);

/// The lookups of a room's home, and the requests that wait for one.
pub(super) struct OwnershipCheck {
    /// The lease epoch in which ownership was last confirmed.
    confirmed: LeaseEpoch,
    lookup: Lookup,
    /// Pause before the next lookup if the current one fails.
    retry: Duration,
    /// Requests that wait for the current lookup.
    held: Vec<Held>,
    /// Requests that arrived during the current lookup and wait for the next one.
    held_for_next: Vec<Held>,
}

enum Lookup {
    Idle,
    /// The store is asked. `is_retry` if the lookup before failed.
    UnderWay {
        epoch: LeaseEpoch,
        is_retry: bool,
    },
    /// The store did not answer.
    Failed {
        retry_at: Instant,
    },
}

/// How an input depends on a lookup.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Moderation starts a lookup and waits for it.
    Moderation,
    /// Joins and leaves start a lookup and wait for it, unless the last lookup failed.
    Request,
    /// A wake-up starts a lookup and does not wait.
    Woken,
    /// Other inputs start a lookup, unless the last one failed, and do not wait.
    Event,
}

impl From<&Input> for Urgency {
    fn from(input: &Input) -> Self {
        match input {
            Input::Request { request, .. } => match request {
                RoomRequest::Change(RoomChange::Moderate(_)) => Self::Moderation,
                RoomRequest::Join { .. } | RoomRequest::Change(RoomChange::Leave { .. }) => {
                    Self::Request
                }
            },
            Input::Woken => Self::Woken,
            _ => Self::Event,
        }
    }
}

impl OwnershipCheck {
    /// Ownership is confirmed: the room was taken in this epoch.
    pub(super) fn new(epoch: LeaseEpoch) -> Self {
        Self {
            confirmed: epoch,
            lookup: Lookup::Idle,
            retry: RETRY,
            held: Vec::new(),
            held_for_next: Vec::new(),
        }
    }

    /// The node may have been cut off: ownership counts as unconfirmed.
    pub(super) fn invalidate(&mut self) {
        self.confirmed = None;
    }

    /// Takes an input. Returns it unless it has to wait, and whether to start a lookup.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        epoch: LeaseEpoch,
        input: Input,
    ) -> (Option<Input>, bool) {
        let urgency = Urgency::from(&input);
        let starts = self.start(now, epoch, urgency);
        let Lookup::UnderWay { is_retry, .. } = self.lookup else {
            return (Some(input), starts);
        };
        let Input::Request { ticket, request } = input else {
            return (Some(input), starts);
        };
        let held = match urgency {
            Urgency::Moderation if starts => &mut self.held,
            // The current lookup may have read the home before this request arrived.
            Urgency::Moderation => &mut self.held_for_next,
            _ if !is_retry => &mut self.held,
            _ => return (Some(Input::Request { ticket, request }), starts),
        };
        held.push((ticket, request));
        (None, starts)
    }

    /// Returns whether to start a lookup although nothing came in.
    pub(super) fn expire(&mut self, now: Instant, epoch: LeaseEpoch) -> bool {
        self.start(now, epoch, Urgency::Event)
    }

    fn start(&mut self, now: Instant, epoch: LeaseEpoch, urgency: Urgency) -> bool {
        let is_confirmed = epoch.is_some() && epoch == self.confirmed;
        let is_pressing = matches!(urgency, Urgency::Moderation | Urgency::Woken);
        let is_retry = match self.lookup {
            Lookup::UnderWay { .. } => return false,
            Lookup::Failed { .. } | Lookup::Idle if is_confirmed => {
                self.lookup = Lookup::Idle;
                return false;
            }
            Lookup::Failed { retry_at } if now < retry_at && !is_pressing => return false,
            Lookup::Failed { .. } => true,
            Lookup::Idle => false,
        };
        self.lookup = Lookup::UnderWay { epoch, is_retry };
        true
    }

    /// Ends a lookup that confirmed ownership (`is_confirmed`) or failed. Returns the requests that need not wait any longer, and whether to
    /// start another lookup for those that do. `jitter` is a random byte.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        epoch: LeaseEpoch,
        (is_confirmed, jitter): (bool, u8),
    ) -> (Vec<Held>, bool) {
        let Lookup::UnderWay { epoch: asked, .. } = self.lookup else {
            return (Vec::new(), false);
        };
        if is_confirmed {
            self.confirmed = asked;
            self.retry = RETRY;
            self.lookup = Lookup::Idle;
        } else {
            let retry_at = now + jittered_by(self.retry, jitter);
            self.lookup = Lookup::Failed { retry_at };
            self.retry = (self.retry * 2).min(LONGEST_RETRY);
        }
        let mut released = std::mem::take(&mut self.held);
        let next = std::mem::take(&mut self.held_for_next);
        let starts = !next.is_empty() && self.start(now, epoch, Urgency::Moderation);
        match starts {
            true => self.held = next,
            false => released.extend(next),
        }
        (released, starts)
    }

    /// Removes all held requests.
    pub(super) fn take_held(&mut self) -> Vec<Held> {
        let mut held = std::mem::take(&mut self.held);
        held.append(&mut self.held_for_next);
        held
    }

    /// Whether a join of this client waits.
    pub(super) fn knows(&self, client: ClientId) -> bool {
        let mut held = self.held.iter().chain(&self.held_for_next);
        held.any(
            |(_, request)| matches!(request, RoomRequest::Join { who, .. } if who.client == client),
        )
    }

    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty() || !self.held_for_next.is_empty()
    }

    /// The time of the next retry.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.lookup {
            Lookup::Failed { retry_at } => Some(retry_at),
            Lookup::Idle | Lookup::UnderWay { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::control::{AccountId, JoinId};

    use super::*;
    use crate::cluster::nodes::messages::Moderation;

    const ACCOUNT: AccountId = AccountId::new([1; 16]);

    fn kick(ticket: u64) -> Input {
        let request = RoomRequest::Change(RoomChange::Moderate(Moderation::Kick(ACCOUNT)));
        Input::Request { ticket, request }
    }

    fn leave(ticket: u64) -> Input {
        let request = RoomRequest::Change(RoomChange::Leave {
            account: ACCOUNT,
            client: 1,
            join_id: JoinId::new([1; 16]),
        });
        Input::Request { ticket, request }
    }

    fn tickets(held: &[Held]) -> Vec<Ticket> {
        held.iter().map(|(ticket, _)| *ticket).collect()
    }

    #[test]
    fn a_confirmed_epoch_needs_no_lookup() {
        let now = Instant::now();
        let mut check = OwnershipCheck::new(Some(1));
        let (taken, starts) = check.take_in(now, Some(1), kick(1));
        assert!(taken.is_some() && !starts && !check.expire(now, Some(1)));
    }

    #[test]
    fn a_new_epoch_holds_requests_until_the_lookup_ends_and_no_events() {
        let now = Instant::now();
        let mut check = OwnershipCheck::new(Some(1));
        let (taken, starts) = check.take_in(now, Some(2), leave(1));
        assert!(taken.is_none() && starts);
        let (taken, starts) = check.take_in(now, Some(2), leave(2));
        assert!(taken.is_none() && !starts);
        let (taken, starts) = check.take_in(now, Some(2), Input::Woken);
        assert!(taken.is_some() && !starts);
        let (released, starts) = check.finish(now, Some(2), (true, 0));
        assert_eq!((tickets(&released), starts), (vec![1, 2], false));
        assert!(!check.expire(now, Some(2)));
    }

    #[test]
    fn moderation_waits_for_a_lookup_that_started_after_it_arrived() {
        let now = Instant::now();
        let mut check = OwnershipCheck::new(None);
        check.take_in(now, None, kick(1));
        check.take_in(now, None, kick(2));
        let (released, starts) = check.finish(now, None, (true, 0));
        assert_eq!((tickets(&released), starts), (vec![1], true));
        let (released, starts) = check.finish(now, None, (true, 0));
        assert_eq!((tickets(&released), starts), (vec![2], false));
    }

    #[test]
    fn a_lookup_in_the_current_epoch_confirms_all_requests_that_wait() {
        let now = Instant::now();
        let mut check = OwnershipCheck::new(None);
        check.take_in(now, Some(3), kick(3));
        check.take_in(now, Some(3), kick(4));
        let (released, starts) = check.finish(now, Some(3), (true, 0));
        assert_eq!((tickets(&released), starts), (vec![3, 4], false));
    }

    #[test]
    fn a_store_that_hangs_delays_moderation_only() {
        let now = Instant::now();
        let mut check = OwnershipCheck::new(Some(1));
        check.take_in(now, None, leave(1));
        let (released, _) = check.finish(now, None, (false, u8::MAX));
        assert_eq!(tickets(&released), [1], "an owner acts until it is fenced");
        assert_eq!(check.deadline(), Some(now + RETRY));
        let (taken, starts) = check.take_in(now, None, leave(2));
        assert!(taken.is_some() && !starts);
        let (taken, starts) = check.take_in(now, None, kick(3));
        assert!(taken.is_none() && starts);
        let (taken, starts) = check.take_in(now, None, leave(4));
        assert!(taken.is_some() && !starts, "it does not wait for the kick");
        let (released, _) = check.finish(now, None, (false, u8::MAX));
        assert_eq!(tickets(&released), [3]);
        let later = now + 2 * RETRY;
        assert_eq!(check.deadline(), Some(later));
        assert!(!check.expire(now, None) && check.expire(later, None));
    }
}
