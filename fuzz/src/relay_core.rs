//! The relay's core between control's commands, clients honest and not, a network and a clock. Whatever happens:
//! what is sent is authentic to an open session, goes to an address that it has proved and that still answers, is
//! numbered upwards, and holds frames that others of its room sealed while they might speak, each once and never its own.
//! A session that does not answer ends, whatever it sends. In the end every buffer is back, and the relay still serves.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use confab_protocol::cluster::{Action, CommandOutcome, CommandResult, Fence, OpenMedia};
use confab_protocol::media::downlink::{Downlink, DownlinkBody, Record};
use confab_protocol::media::uplink::{MIN_SFRAME, UplinkBody, kind};
use confab_protocol::media::{
    AudioLevel, ConnectionId, HopKey, KeyId, SFRAME_TAG_LEN, SframeHeader,
};

use crate::relay_world::World;
use crate::script::Script;

/// Rooms are few, so that people meet in them; so are labels and addresses, so that they are used again.
const ROOMS: usize = 3;
const SENDERS: usize = 6;
const ADDRESSES: usize = 6;
/// Clients are remembered when they have gone; no more come than this.
const MAX_CLIENTS: usize = 64;
/// Datagrams that can be replayed.
const HISTORY: usize = 64;
/// A clock of one thread is behind that of another by no more, in steps of 4 ms.
const SKEW_STEP: Duration = Duration::from_millis(4);
/// A room that no step touches, for the end.
const LAST_ROOM: u8 = 200;

/// Reads steps.
pub fn run(data: &[u8]) {
    let mut play = Play::new();
    let mut script = Script::new(data);
    while let Some(step) = script.step() {
        play.step(step, &mut script);
    }
    play.end();
}

struct Play {
    world: World,
    clients: Vec<Client>,
    /// By SFrame; each is different.
    frames: HashMap<Vec<u8>, Frame>,
    /// Datagrams that came to the relay, oldest first.
    history: Vec<Sent>,
    /// The highest era that commanded a room.
    eras: [u64; ROOMS],
    /// Counts what happens.
    at: u64,
}

struct Client {
    id: ConnectionId,
    room: u8,
    sender: u16,
    leaf: u32,
    may_speak: bool,
    uplink: HopKey,
    downlink: HopKey,
    opened: u64,
    /// At its worker.
    known: bool,
    /// By control, or by the relay itself: what it sends counts for nothing.
    closed: bool,
    /// At its worker: nothing is sent to it.
    over: Option<u64>,
    next: u32,
    counter: u64,
    last_heard: Option<u32>,
    contacted: HashSet<SocketAddr>,
    challenges: Vec<(SocketAddr, [u8; 8])>,
    /// Addresses from which challenges were answered, and when that was last, by the workers' time.
    proved: HashMap<SocketAddr, Duration>,
    /// When it answered last, or came to its worker.
    alive: Duration,
}

struct Sent {
    from: SocketAddr,
    datagram: Vec<u8>,
}

struct Frame {
    client: usize,
    level: AudioLevel,
    /// When it came to the relay, if it was one to be forwarded then.
    taken: Option<u64>,
    heard_by: HashSet<usize>,
}

impl Play {
    fn new() -> Self {
        Self {
            world: World::new(),
            clients: Vec::new(),
            frames: HashMap::new(),
            history: Vec::new(),
            eras: [0; ROOMS],
            at: 0,
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        self.at += 1;
        match step % 16 {
            0..3 => self.speak(script),
            3 | 4 => self.world.turn(),
            5 => self.keep_alive(script),
            6 => self.answer_challenge(script),
            7 => self.open(script),
            8 => self.command(script),
            9 => self.replay(script),
            10 => self.corrupt(script),
            11 => {
                let from = address(script.below(ADDRESSES));
                self.world.receive(from, script.block());
            }
            12 => self.turn_clock(script),
            13 => {
                let capacity = script.byte();
                self.world.wire.capacity = (capacity < 200).then_some(usize::from(capacity % 32));
                let refused = script.below(2 * ADDRESSES);
                self.world.wire.refused = (refused < ADDRESSES).then(|| address(refused));
            }
            14 => {
                let window = Duration::from_millis(script.below(64) as u64);
                self.world.set_window(window);
            }
            _ => self.misbehave(script),
        }
        self.look();
    }

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

    fn speak(&mut self, script: &mut Script<'_>) {
        let Some((index, from)) = self.pick(script) else {
            return;
        };
        let level = AudioLevel::from_byte(script.byte());
        let leaf = self.clients[index].leaf;
        let length = usize::from(script.byte()) * 4;
        self.send_frame(index, from, level, leaf, length);
    }

    fn send_frame(
        &mut self,
        index: usize,
        from: SocketAddr,
        level: AudioLevel,
        leaf: u32,
        length: usize,
    ) {
        let client = &mut self.clients[index];
        let header = SframeHeader {
            key_id: KeyId::new(leaf, 0, 0),
            counter: client.counter,
        };
        client.counter += 1;
        let mut head = [0; SframeHeader::MAX_LEN];
        let len = header.write(&mut head);
        let mut sframe = head[..len].to_vec();
        sframe.extend_from_slice(&[index as u8, length as u8]);
        sframe.resize(sframe.len() + length + SFRAME_TAG_LEN, 0x77);
        let may_pass = client.may_speak && !client.closed && leaf == client.leaf;
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

    fn keep_alive(&mut self, script: &mut Script<'_>) {
        if let Some((index, from)) = self.pick(script) {
            let echo = [script.byte(); 8];
            self.send(index, from, UplinkBody::KeepAlive { echo });
        }
    }

    fn answer_challenge(&mut self, script: &mut Script<'_>) {
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

    fn note_answer(&mut self, index: usize, from: SocketAddr) {
        let (now, client) = (self.world.awake(), &mut self.clients[index]);
        client.proved.insert(from, now);
        client.alive = client.alive.max(now);
    }

    fn send(&mut self, index: usize, from: SocketAddr, body: UplinkBody<'_>) {
        let client = &mut self.clients[index];
        let mut datagram = Vec::new();
        body.encode(client.id, client.next, &client.uplink, &mut datagram)
            .expect("it fits");
        client.next += 1;
        client.contacted.insert(from);
        let known = client.known;
        if !self.world.receive(from, &datagram) || !known {
            // As if it were lost on the way: what a relay has not seen is no replay when it comes.
            return;
        }
        if self.history.len() == HISTORY {
            self.history.remove(0);
        }
        self.history.push(Sent { from, datagram });
    }

    fn open(&mut self, script: &mut Script<'_>) {
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

    fn open_as(
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

    fn command(&mut self, script: &mut Script<'_>) {
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
            6 => self.world.publish(),
            _ => {
                self.world.read_mailboxes();
                self.world.publish();
            }
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
        }
    }

    fn is_obeyed(&mut self, room: u8, era: u8, action: Action) -> bool {
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

    /// A datagram again, from where it came from or from elsewhere: nothing that it says happens twice.
    fn replay(&mut self, script: &mut Script<'_>) {
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
    fn corrupt(&mut self, script: &mut Script<'_>) {
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

    fn turn_clock(&mut self, script: &mut Script<'_>) {
        let by = u64::from(script.byte());
        match script.byte() % 8 {
            0..3 => self.world.pass(Duration::from_millis(by)),
            3 => self.world.pass(Duration::from_micros(by)),
            4 => self.world.pass(Duration::from_secs(by)),
            5 => self.world.pass(Duration::from_secs(by * 60)),
            _ => self.world.set_skew(SKEW_STEP * by as u32),
        }
    }

    /// What a client can do that it should not.
    fn misbehave(&mut self, script: &mut Script<'_>) {
        let Some((index, from)) = self.pick(script) else {
            return;
        };
        match script.byte() % 7 {
            0 => self.send(index, from, UplinkBody::Bye),
            1 => {
                let foreign = self.clients[index].leaf ^ u32::from(script.byte());
                self.send_frame(index, from, AudioLevel::SILENCE, foreign, 10);
            }
            2 => {
                // More than it may.
                for _ in 0..script.byte() {
                    let leaf = self.clients[index].leaf;
                    self.send_frame(index, from, AudioLevel::from_byte(0x80), leaf, 40);
                }
            }
            3 => self.clients[index].next += u32::from(script.u16()),
            4 => {
                let challenge = [script.byte(); 8];
                self.send(index, from, UplinkBody::PathResponse { challenge });
            }
            5 => self.send_raw(index, from, script),
            _ => {
                let sframe = script.block();
                if sframe.len() >= MIN_SFRAME && !self.frames.contains_key(sframe) {
                    // Nothing but its header and its length is read: it passes if those are right.
                    let level = AudioLevel::from_byte(0x80);
                    let client = &self.clients[index];
                    let is_own = SframeHeader::parse(sframe).is_ok_and(|(header, length)| {
                        let key_id = header.key_id;
                        (key_id.leaf, key_id.generation) == (client.leaf, 0)
                            && sframe.len() >= length + SFRAME_TAG_LEN
                    });
                    let may_pass = client.may_speak && !client.closed && is_own;
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
    /// nobody may hear it.
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

    fn close_where(&mut self, which: impl Fn(&Client) -> bool) {
        for client in &mut self.clients {
            if which(client) {
                client.closed = true;
            }
        }
    }

    /// Judges all that was sent.
    fn look(&mut self) {
        for (to, datagram) in std::mem::take(&mut self.world.wire.sent) {
            self.judge(to, &datagram);
        }
        for id in self.world.take_known() {
            for client in &mut self.clients {
                if client.id == id {
                    client.known = true;
                    client.alive = client.alive.max(self.world.awake());
                }
            }
        }
        for id in self.world.take_over() {
            for client in &mut self.clients {
                if client.id == id {
                    client.closed = true;
                    client.over.get_or_insert(self.at);
                }
            }
        }
        for client in &self.clients {
            let is_there = client.known && client.over.is_none();
            assert!(
                !(is_there && self.world.is_overdue(client.alive)),
                "it has not answered for too long"
            );
        }
    }

    fn judge(&mut self, to: SocketAddr, datagram: &[u8]) {
        let downlink = Downlink::parse(datagram).expect("a relay's datagram");
        let mut receivers = self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.contacted.contains(&to))
            .filter(|(_, client)| downlink.is_authentic(&client.downlink))
            .map(|(index, _)| index);
        let index = receivers.next().expect("somebody it is authentic to");
        assert_eq!(receivers.next(), None, "authentic to two");
        drop(receivers);

        let receiver = &mut self.clients[index];
        assert!(receiver.last_heard < Some(downlink.packet_number));
        receiver.last_heard = Some(downlink.packet_number);
        if let DownlinkBody::PathChallenge(challenge) = downlink.body {
            receiver.challenges.push((to, challenge));
            return;
        }
        let proved = receiver.proved.get(&to).copied();
        let proved = proved.expect("an address that is proved");
        match downlink.body {
            DownlinkBody::Audio(records) => {
                assert!(!self.world.is_overdue(proved), "{to} does not answer");
                assert_eq!(receiver.over, None, "sent to one who is gone");
                for record in records.iter() {
                    self.judge_record(index, &record);
                }
            }
            DownlinkBody::Bye(_) => assert!(receiver.closed),
            DownlinkBody::Pong(pong) => assert!(pong.highest < receiver.next),
            DownlinkBody::PathChallenge(_) => {}
        }
    }

    fn judge_record(&mut self, index: usize, record: &Record<'_>) {
        let receiver = &self.clients[index];
        let mut in_room = self
            .clients
            .iter()
            .filter(|client| client.room == receiver.room);
        // In a room on several workers a frame may be on its way to the home while somebody comes, and somebody who
        // comes again may hear the last of itself.
        let is_on_one = in_room.all(|client| client.id.worker() == receiver.id.worker());
        assert!(
            record.sender != receiver.sender || !is_on_one,
            "heard itself"
        );
        if record.sframe.is_empty() {
            let is_known =
                |client: &Client| client.room == receiver.room && client.sender == record.sender;
            assert!(self.clients.iter().any(is_known));
            return;
        }
        let frame = self
            .frames
            .get_mut(record.sframe)
            .expect("a frame that was sent");
        let speaker = &self.clients[frame.client];
        let taken = frame.taken.expect("a frame that may be heard");
        assert_eq!(speaker.room, receiver.room);
        assert_ne!(frame.client, index, "heard its own session");
        assert!(
            receiver.opened < taken || !is_on_one,
            "heard what was said before it came"
        );
        assert_eq!(record.sender, speaker.sender);
        assert_eq!(record.level, frame.level.in_steps().0);
        assert!(frame.heard_by.insert(index), "heard twice");
    }

    /// All go, everything is sent, and two newcomers hear each other.
    fn end(&mut self) {
        self.world.flush();
        self.look();
        for room in 0..ROOMS as u8 {
            assert!(self.is_obeyed(room, u8::MAX, Action::CloseRoom));
        }
        self.close_where(|_| true);
        self.world.publish();
        self.world.flush();
        self.look();
        assert_eq!(self.world.registry.sessions(), 0);
        assert_eq!(self.world.registry.rooms(), 0);

        let newcomers: Vec<_> = (0..2)
            .filter_map(|sender| self.open_as(LAST_ROOM, sender, sender.into(), true, 0))
            .collect();
        self.world.read_mailboxes();
        self.world.publish();
        for &index in &newcomers {
            self.prove(index);
        }
        let &[speaker, listener] = &newcomers[..] else {
            panic!("the relay is full of nobody");
        };
        self.at += 1;
        let from = address(0);
        let leaf = self.clients[speaker].leaf;
        self.send_frame(speaker, from, AudioLevel::from_byte(0x90), leaf, 50);
        self.world.turn();
        self.look();
        let is_heard =
            |frame: &Frame| frame.client == speaker && frame.heard_by.contains(&listener);
        assert!(
            self.frames.values().any(is_heard),
            "nothing is heard any more"
        );
    }

    fn prove(&mut self, index: usize) {
        let from = address(usize::from(self.clients[index].sender));
        self.send(index, from, UplinkBody::KeepAlive { echo: [1; 8] });
        self.world.flush();
        self.look();
        let client = &self.clients[index];
        let &(challenged, challenge) = client.challenges.last().expect("a challenge");
        assert_eq!(challenged, from);
        self.note_answer(index, from);
        self.send(index, from, UplinkBody::PathResponse { challenge });
    }
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1000 + (n % ADDRESSES) as u16))
}
