//! The relay's core between control's commands, clients honest and not, a network and a clock. Whatever happens:
//! what is sent is authentic to an open session, goes to an address that it has proved and that still answers, is
//! numbered upwards, and holds frames that others of its room sealed while they might speak, under their own leaves and in
//! epochs that have not retired, each once and never its own.
//! A session that does not answer ends, whatever it sends. In the end every buffer is back, and the relay still serves.

mod clients;
mod commands;
mod datagrams;
mod judge;
mod world;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use confab_protocol::cluster::Action;
use confab_protocol::media::AudioLevel;
use confab_protocol::media::uplink::UplinkBody;

use crate::script::Script;
use clients::{Client, Frame, Group, Sent};
use world::World;

/// Rooms are few, so that participants meet in them; so are labels and addresses, so that they are used again.
const ROOMS: usize = 3;
const SENDERS: usize = 6;
const ADDRESSES: usize = 6;
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
    /// By SFrame, no two of which are alike.
    frames: HashMap<Vec<u8>, Frame>,
    /// Datagrams that came to the relay, oldest first.
    history: Vec<Sent>,
    /// By room.
    groups: HashMap<u8, Group>,
    /// The highest era that commanded a room.
    eras: [u64; ROOMS],
    /// Counts steps.
    at: u64,
}

impl Play {
    fn new() -> Self {
        Self {
            world: World::new(),
            clients: Vec::new(),
            frames: HashMap::new(),
            history: Vec::new(),
            groups: HashMap::new(),
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
        self.world.turn();
        self.world.publish();
        for &index in &newcomers {
            self.prove(index);
        }
        let &[speaker, listener] = &newcomers[..] else {
            panic!("an empty relay opens no sessions");
        };
        self.at += 1;
        let from = address(0);
        let key_id = self.key_id(speaker);
        self.send_frame(speaker, from, AudioLevel::from_byte(0x90), key_id, 50);
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
