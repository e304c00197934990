//! The steps by which datagrams come to the relay: from honest clients, and from others.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use confab_protocol::media::uplink::{MIN_SFRAME, UplinkBody, kind};
use confab_protocol::media::{AudioLevel, KeyId, ReceptionCounts, SFRAME_TAG_LEN, SframeHeader};

use super::clients::{Frame, Sent};
use super::{Play, address};
use crate::script::Script;

/// Datagrams that can be replayed.
const HISTORY: usize = 64;

impl Play {
    /// One of the clients, and an address from which it sends: its usual one, or another.
    fn pick(&self, script: &mut Script<'_>) -> Option<(usize, SocketAddr)> {
        let picked = script.byte();
        if self.clients.is_empty() {
            return None;
        }
        let index = usize::from(picked & 0x3f) % self.clients.len();
        let usual = usize::from(self.clients[index].sender);
        Some((index, address(usual + usize::from(picked >> 6))))
    }

    pub(super) fn speak(&mut self, script: &mut Script<'_>) {
        let Some((index, from)) = self.pick(script) else {
            return;
        };
        let level = AudioLevel::from_byte(script.byte());
        let key_id = self.key_id(index);
        let length = usize::from(script.byte()) * 4;
        self.send_frame(index, from, level, key_id, length);
    }

    pub(super) fn send_frame(
        &mut self,
        index: usize,
        from: SocketAddr,
        level: AudioLevel,
        key_id: KeyId,
        length: usize,
    ) {
        let may_pass = self.may_pass(index, key_id);
        let client = &mut self.clients[index];
        let header = SframeHeader {
            key_id,
            counter: client.counter,
        };
        client.counter += 1;
        let mut head = [0; SframeHeader::MAX_LEN];
        let len = header.write(&mut head);
        let mut sframe = head[..len].to_vec();
        sframe.extend_from_slice(&[index as u8, length as u8]);
        sframe.resize(sframe.len() + length + SFRAME_TAG_LEN, 0x77);
        let Entry::Vacant(unsaid) = self.frames.entry(sframe.clone()) else {
            // The script has said it before, byte by byte, and that frame may still be on its way.
            return;
        };
        unsaid.insert(Frame {
            client: index,
            level,
            taken: may_pass.then_some(self.at),
            heard_by: HashSet::new(),
        });
        self.send(
            index,
            from,
            UplinkBody::Audio {
                level,
                sframe: &sframe,
            },
        );
    }

    /// The key id of a client that is up to date.
    pub(super) fn key_id(&mut self, index: usize) -> KeyId {
        let (room, leaf) = (self.clients[index].room, self.clients[index].leaf);
        KeyId::new(leaf, 0, self.group(room).newest as u8)
    }

    /// Whether a frame of the client's under this key id may be forwarded.
    fn may_pass(&mut self, index: usize, key_id: KeyId) -> bool {
        let room = self.clients[index].room;
        let group = self.group(room);
        let (epoch, retired) = (group.epoch(key_id.epoch), group.retired);
        let client = &self.clients[index];
        let is_own = client.has_leaf && (key_id.leaf, key_id.generation) == (client.leaf, 0);
        let is_in_time = epoch.is_some_and(|epoch| {
            epoch >= client.first_epoch && retired.is_none_or(|retired| epoch > retired)
        });
        client.may_speak && !client.closed && is_own && is_in_time
    }

    pub(super) fn keep_alive(&mut self, script: &mut Script<'_>) {
        if let Some((index, from)) = self.pick(script) {
            let echo = [script.byte(); 8];
            self.send(index, from, UplinkBody::KeepAlive { echo });
        }
    }

    pub(super) fn answer_challenge(&mut self, script: &mut Script<'_>) {
        let Some((index, other)) = self.pick(script) else {
            return;
        };
        let which = script.byte();
        let client = &self.clients[index];
        let newest = client
            .challenges
            .len()
            .wrapping_sub(1 + usize::from(which & 3));
        let Some(&(challenged, challenge)) = client.challenges.get(newest) else {
            return;
        };
        // Now and then from an address that was not the one challenged: that proves nothing.
        let from = if which & 0xc0 == 0xc0 {
            other
        } else {
            challenged
        };
        if from == challenged {
            self.note_answer(index, challenged);
        }
        self.send(index, from, UplinkBody::PathResponse { challenge });
    }

    pub(super) fn note_answer(&mut self, index: usize, from: SocketAddr) {
        let client = &mut self.clients[index];
        let now = self.world.awake(client.id.worker());
        client.proved.insert(from, now);
        client.alive = client.alive.max(now);
    }

    pub(super) fn send(&mut self, index: usize, from: SocketAddr, body: UplinkBody<'_>) {
        let client = &mut self.clients[index];
        let mut datagram = Vec::new();
        body.encode(client.id, client.next, &client.uplink, &mut datagram)
            .expect("it fits");
        client.next += 1;
        client.contacted.insert(from);
        if !self.world.receive(from, &datagram) {
            // Lost on the way: a datagram that the relay has not seen is no replay when it comes.
            return;
        }
        if self.history.len() == HISTORY {
            self.history.remove(0);
        }
        self.history.push(Sent { from, datagram });
    }

    /// A datagram again, from where it came from or from elsewhere: nothing that it says happens twice.
    pub(super) fn replay(&mut self, script: &mut Script<'_>) {
        let (which, elsewhere) = (script.byte(), script.byte());
        if let Some(sent) = self.history.get(usize::from(which) % HISTORY) {
            let from = match elsewhere {
                0..128 => sent.from,
                other => address(usize::from(other)),
            };
            self.world.receive(from, &sent.datagram);
        }
    }

    /// A datagram that was changed: as if it had never come.
    pub(super) fn corrupt(&mut self, script: &mut Script<'_>) {
        let (which, at, flip) = (script.byte(), script.u16(), script.byte());
        if let Some(sent) = self.history.get(usize::from(which) % HISTORY) {
            let mut changed = sent.datagram.clone();
            let at = usize::from(at) % changed.len();
            match flip {
                0 => changed.truncate(at),
                flip => changed[at] ^= flip,
            }
            self.world.receive(sent.from, &changed);
        }
    }

    /// What a client can do that it should not.
    pub(super) fn misbehave(&mut self, script: &mut Script<'_>) {
        let Some((index, from)) = self.pick(script) else {
            return;
        };
        match script.byte() % 8 {
            0 => self.send(index, from, UplinkBody::Bye),
            1 => {
                // Under another leaf; or its own, in an epoch that may not be its own, or in another generation.
                let mut key_id = self.key_id(index);
                match script.byte() {
                    0 => {
                        key_id.epoch = key_id.epoch.wrapping_add(script.byte());
                        key_id.generation = script.byte() / 64;
                    }
                    other => key_id.leaf ^= u32::from(other),
                }
                self.send_frame(index, from, AudioLevel::SILENCE, key_id, 10);
            }
            2 => {
                // More than it may.
                for _ in 0..script.byte() {
                    let key_id = self.key_id(index);
                    self.send_frame(index, from, AudioLevel::from_byte(0x80), key_id, 40);
                }
            }
            3 => self.clients[index].next += u32::from(script.u16()),
            4 => {
                let challenge = [script.byte(); 8];
                self.send(index, from, UplinkBody::PathResponse { challenge });
            }
            5 => self.send_raw(index, from, script),
            7 => {
                let counts = ReceptionCounts {
                    highest: script.u32(),
                    received: script.u32(),
                    runs: script.u16(),
                };
                self.send(index, from, UplinkBody::Reception(counts));
            }
            _ => {
                let sframe = script.block();
                if sframe.len() >= MIN_SFRAME && !self.frames.contains_key(sframe) {
                    // Nothing but its header and its length is read: it passes if those are right.
                    let level = AudioLevel::from_byte(0x80);
                    let may_pass = SframeHeader::parse(sframe).is_ok_and(|(header, length)| {
                        sframe.len() >= length + SFRAME_TAG_LEN
                            && self.may_pass(index, header.key_id)
                    });
                    let frame = Frame {
                        client: index,
                        level,
                        taken: may_pass.then_some(self.at),
                        heard_by: HashSet::new(),
                    };
                    self.frames.insert(sframe.to_vec(), frame);
                    self.send(index, from, UplinkBody::Audio { level, sframe });
                }
            }
        }
    }

    /// A datagram of any type and with any body, under a right tag. Audio only if it is too short for a frame's tag:
    /// it may not be forwarded.
    fn send_raw(&mut self, index: usize, from: SocketAddr, script: &mut Script<'_>) {
        let (kind, mut body) = (script.byte(), script.block());
        if kind == kind::AUDIO {
            body = &body[..body.len().min(MIN_SFRAME)];
        }
        let client = &self.clients[index];
        let is_answer = kind == kind::PATH_RESPONSE
            && client
                .challenges
                .iter()
                .any(|(to, bytes)| *to == from && body.starts_with(bytes));
        if is_answer {
            self.note_answer(index, from);
        }
        let client = &mut self.clients[index];
        let mut datagram = vec![kind];
        datagram.extend_from_slice(&client.id.to_bytes());
        datagram.extend_from_slice(&client.next.to_be_bytes());
        datagram.extend_from_slice(body);
        datagram.extend_from_slice(&client.uplink.tag(&datagram));
        client.next += 1;
        client.contacted.insert(from);
        self.world.receive(from, &datagram);
    }
}
