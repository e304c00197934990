//! The steps in which control commands the relay.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use confab_protocol::cluster::{
    Action, CommandOutcome, CommandResult, Fence, GrantedLeaf, OpenMedia,
};
use confab_protocol::control::GenerationLeaf;
use confab_protocol::media::{ConnectionId, HopKey};

use super::clients::{Client, Group};
use super::{Play, ROOMS, SENDERS};
use crate::script::Script;

/// Sessions of a script, at most.
const MAX_CLIENTS: usize = 64;

impl Play {
    pub(super) fn open(&mut self, script: &mut Script<'_>) {
        let room = script.below(ROOMS) as u8;
        let sender = script.below(SENDERS) as u16;
        let flags = script.byte();
        if self.clients.len() < MAX_CLIENTS {
            let account = u32::from(flags >> 2 & 3);
            self.open_as(room, sender, account, flags & 1 == 0, flags >> 6);
        }
        if flags & 2 != 0 {
            self.world.publish();
        }
    }

    pub(super) fn open_as(
        &mut self,
        room: u8,
        sender: u16,
        account_label: u32,
        may_speak: bool,
        era: u8,
    ) -> Option<usize> {
        let index = self.clients.len();
        let leaf = u32::from(sender) << 8 | index as u32;
        let key = |direction| {
            HopKey::new([
                index as u8,
                direction,
                3,
                4,
                5,
                6,
                7,
                8,
                9,
                10,
                11,
                12,
                13,
                14,
                15,
                16,
            ])
        };
        let open = OpenMedia {
            may_speak,
            account_label,
            ..OpenMedia::new(sender, leaf, key(1), key(2))
        };
        self.forget_closed_room(room);
        let (outcome, id) = self.obeyed(room, era, Action::OpenMedia(open));
        assert_eq!(id.is_some(), outcome == CommandOutcome::Obeyed);
        let id = id?;
        self.close_where(|client| client.room == room && client.sender == sender);
        assert!(self.clients.iter().all(|client| client.id != id));
        self.clients.push(Client {
            id,
            room,
            sender,
            leaf,
            has_leaf: true,
            first_epoch: 0,
            may_speak,
            uplink: key(1),
            downlink: key(2),
            opened: self.at,
            known: false,
            closed: false,
            over: None,
            next: 0,
            counter: 0,
            last_heard: None,
            contacted: HashSet::new(),
            challenges: Vec::new(),
            proved: HashMap::new(),
            alive: Duration::ZERO,
        });
        Some(index)
    }

    pub(super) fn command(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let room = script.below(ROOMS) as u8;
        let sender = script.below(SENDERS) as u16;
        let era = kind >> 6;
        match kind % 8 {
            0 | 1 => {
                if self.is_obeyed(room, era, Action::CloseMedia { sender }) {
                    self.close_where(|client| client.room == room && client.sender == sender);
                }
            }
            2..5 => {
                let may_speak = kind & 8 == 0;
                if self.is_obeyed(room, era, Action::SetMaySpeak { sender, may_speak }) {
                    for client in &mut self.clients {
                        if client.room == room && client.sender == sender && !client.closed {
                            client.may_speak = may_speak;
                        }
                    }
                }
            }
            5 => {
                if self.is_obeyed(room, era, Action::CloseRoom) {
                    self.close_where(|client| client.room == room);
                }
            }
            6 if kind & 8 == 0 => self.list(room, era),
            6 if kind & 16 == 0 => self.world.publish(),
            6 => self.set_leaf(room, era, sender, script),
            7 if kind & 8 != 0 => self.retire(room, era, script),
            _ => {
                self.world.turn();
                self.world.publish();
            }
        }
    }

    /// A participant gets a leaf that nobody has had, or one that another participant has had.
    fn set_leaf(&mut self, room: u8, era: u8, sender: u16, script: &mut Script<'_>) {
        let (of, ahead) = (script.byte(), script.byte());
        let used = self.clients.get(usize::from(of)).map(|client| client.leaf);
        let leaf = used.unwrap_or(1 << 24 | self.at as u32);
        let first_epoch = self.group(room).newest + u64::from(ahead % 8);
        let granted = GrantedLeaf {
            leaf: GenerationLeaf {
                generation: 0,
                leaf,
            },
            first_epoch,
        };
        if !self.is_obeyed(room, era, Action::SetLeaves(vec![(sender, granted)])) {
            return;
        }
        self.group(room).newest = first_epoch;
        for client in &mut self.clients {
            if client.room != room || client.closed {
                continue;
            }
            if client.sender == sender {
                (client.leaf, client.has_leaf, client.first_epoch) = (leaf, true, first_epoch);
            } else if client.leaf == leaf {
                client.has_leaf = false;
            }
        }
    }

    fn retire(&mut self, room: u8, era: u8, script: &mut Script<'_>) {
        let back = u64::from(script.byte() % 8);
        let epoch = self.group(room).newest.saturating_sub(back);
        let retire = Action::RetireEpochs {
            generation: 0,
            epoch,
        };
        if self.is_obeyed(room, era, retire) {
            let group = self.group(room);
            group.retired = group.retired.max(Some(epoch));
            group.newest = group.newest.max(epoch + 1);
        }
    }

    pub(super) fn group(&mut self, room: u8) -> &mut Group {
        self.groups.entry(room).or_default()
    }

    /// A room without sessions is no room: the next one of the conference begins anew.
    fn forget_closed_room(&mut self, room: u8) {
        let is_open = |client: &Client| client.room == room && !client.closed;
        if !self.clients.iter().any(is_open) {
            self.groups.remove(&room);
        }
    }

    /// The relay tells of every session that is open, and of no other.
    fn list(&mut self, room: u8, era: u8) {
        let result = self.result(room, era, Action::ListMedia { from: 0 });
        if result.outcome != CommandOutcome::Obeyed {
            return;
        }
        for state in &result.media {
            let known = self
                .clients
                .iter()
                .find(|client| client.id == state.connection_id);
            let client = known.expect("a session that was opened");
            assert!(client.room == room && client.sender == state.sender);
            assert!(!client.closed && client.may_speak == state.may_speak);
            let leaf = state.leaves.newest().map(|granted| granted.leaf.leaf);
            assert_eq!(leaf, client.has_leaf.then_some(client.leaf));
        }
    }

    pub(super) fn is_obeyed(&mut self, room: u8, era: u8, action: Action) -> bool {
        self.obeyed(room, era, action).0 == CommandOutcome::Obeyed
    }

    /// What became of a command by the room's owner of that era: one before the latest is not obeyed.
    fn obeyed(
        &mut self,
        room: u8,
        era: u8,
        action: Action,
    ) -> (CommandOutcome, Option<ConnectionId>) {
        let result = self.result(room, era, action);
        (result.outcome, result.connection_id)
    }

    fn result(&mut self, room: u8, era: u8, action: Action) -> CommandResult {
        let fence = Fence {
            era: era.into(),
            placement: 0,
        };
        let result = self.world.command(room, fence, action);
        if let Some(highest) = self.eras.get_mut(usize::from(room)) {
            let is_fenced = result.outcome == CommandOutcome::Fenced;
            assert_eq!(is_fenced, fence.era < *highest);
            *highest = fence.era.max(*highest);
        }
        result
    }

    pub(super) fn close_where(&mut self, which: impl Fn(&Client) -> bool) {
        for client in &mut self.clients {
            if which(client) {
                client.closed = true;
            }
        }
    }
}
