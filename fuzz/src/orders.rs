//! What a control node of bad will, with a good certificate, says to a relay: bytes of its stream, through the registry, to
//! the answers. Whatever it says: every command is answered once, in a message that control can read; what the relay keeps
//! is bounded; and a good control node is still obeyed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{
    Action, BootId, Command, CommandResult, Fence, MAX_MEDIA_STATES, MAX_MESSAGE,
};
use confab_protocol::control::ConferenceId;
use confab_protocol::control::framing::{self, Deframer};
use confab_protocol::wire::{self, CommandOutcome, command, control_to_relay, relay_to_control};
use confab_relay::core::Capacity;
use confab_relay::core::{Mailbox, Registry, WorkerCommand, mailbox};
use confab_relay::link::{Handled, Orders};

use crate::script::Script;

const BOOT: BootId = BootId([9; 16]);
/// Few of each, so that a short script meets the limits.
const CAPACITY: Capacity = Capacity {
    sessions: 12,
    rooms: 4,
    members: 5,
    share: 2,
};
const WORKERS: usize = 2;

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
    registry: Arc<Registry>,
    mailboxes: Vec<Mailbox>,
    /// Of the link that is up.
    orders: Orders,
    now: Instant,
    commands: u64,
    /// Sessions that workers were told to open and not to close.
    open: i64,
}

impl Play {
    fn new() -> Self {
        let (posts, mailboxes): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| mailbox()).unzip();
        let registry = Arc::new(Registry::new(BOOT, CAPACITY, posts, [7; 32]));
        Self {
            orders: Orders::new(Arc::clone(&registry)),
            registry,
            mailboxes,
            now: Instant::now(),
            commands: 0,
            open: 0,
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 8 {
            // Any bytes.
            0 => self.orders.push(script.block()),
            // Any message, whole.
            1 => {
                let body = script.block();
                self.orders.push(&(body.len() as u32).to_be_bytes());
                self.orders.push(body);
            }
            2 => {
                self.now += Duration::from_secs(script.byte().into());
                self.registry.sweep(self.now);
            }
            3 => self.registry.publish(),
            // Another control node, or the same one again.
            4 => self.orders = Orders::new(Arc::clone(&self.registry)),
            _ => {
                let command = self.command(script);
                let kind = Some(control_to_relay::Kind::Command(command));
                let message = framing::encode(&wire::ControlToRelay { kind });
                self.orders.push(&message);
            }
        }
        self.look();
    }

    /// A command that is likely to make sense, or nearly.
    fn command(&mut self, script: &mut Script<'_>) -> wire::Command {
        self.commands += 1;
        let (kind, sender) = (script.byte(), u32::from(script.byte() % 8));
        let kind = match kind % 8 {
            0..4 => command::Kind::OpenMedia(Self::open(kind, sender, script)),
            4 => command::Kind::CloseMedia(wire::CloseMedia { sender }),
            5 => command::Kind::SetMaySpeak(wire::SetMaySpeak {
                sender,
                may_speak: kind & 0x80 == 0,
            }),
            6 if kind & 0x80 == 0 => command::Kind::CloseRoom(wire::CloseRoom {}),
            6 => command::Kind::SetLeaves(Self::set_leaves(sender, script)),
            7 if kind & 0x80 != 0 => command::Kind::RetireEpochs(wire::RetireEpochs {
                generation: Self::number(script),
                epoch: Self::number(script),
            }),
            _ => command::Kind::ListMedia(wire::ListMedia {
                from_sender: sender,
            }),
        };
        let mut command = wire::Command {
            id: self.commands,
            conference_id: vec![script.byte() % 8; 16].into(),
            era: u64::from(script.byte() & 3),
            placement: 0,
            boot_id: BOOT.0.to_vec().into(),
            kind: Some(kind),
        };
        match script.byte() {
            0xff => command.kind = None,
            0xfe => command.boot_id = script.block().to_vec().into(),
            0xfd => command.conference_id = script.block().to_vec().into(),
            0xfc => command.era = u64::MAX,
            _ => {}
        }
        command
    }

    fn open(flaw: u8, sender: u32, script: &mut Script<'_>) -> wire::OpenMedia {
        let mut open = wire::OpenMedia {
            sender,
            leaves: vec![wire::GrantedLeaf {
                leaf: Some(wire::GenerationLeaf {
                    generation: 0,
                    leaf: sender,
                }),
                first_epoch: 0,
            }],
            may_speak: true,
            uplink_key: vec![1; 16].into(),
            downlink_key: vec![2; 16].into(),
            note: vec![3; usize::from(script.byte())].into(),
            media_version: 1,
            account_label: 0,
        };
        match flaw >> 3 {
            1 => open.sender = script.u32(),
            2 => open.leaves.clear(),
            3 => open.leaves = vec![open.leaves[0]; usize::from(script.byte())],
            4 => open.uplink_key = script.block().to_vec().into(),
            5 => open.note = vec![0; usize::from(script.u16())].into(),
            6 => open.media_version = script.u32(),
            7 => open.account_label = script.u32(),
            8 => open.leaves = vec![Self::granted(script), Self::granted(script)],
            _ => {}
        }
        open
    }

    fn set_leaves(sender: u32, script: &mut Script<'_>) -> wire::SetLeaves {
        let flaw = script.byte();
        let one = wire::SenderLeaf {
            sender: if flaw == 1 { script.u32() } else { sender },
            leaf: (flaw != 2).then(|| Self::granted(script)),
        };
        let count = if flaw == 3 { script.u16().into() } else { 1 };
        wire::SetLeaves {
            leaves: vec![one; count],
        }
    }

    /// Few leaves, so that sessions take them from each other.
    fn granted(script: &mut Script<'_>) -> wire::GrantedLeaf {
        wire::GrantedLeaf {
            leaf: Some(wire::GenerationLeaf {
                generation: Self::number(script),
                leaf: u32::from(script.byte() % 4),
            }),
            first_epoch: Self::number(script),
        }
    }

    /// A small number, or one at the end of the range.
    fn number(script: &mut Script<'_>) -> u64 {
        match script.byte() {
            byte @ 0..0xf0 => u64::from(byte % 8),
            byte => u64::MAX - u64::from(byte & 7),
        }
    }

    /// Takes what can be taken, and judges it.
    fn look(&mut self) {
        loop {
            match self.orders.next(self.now) {
                Ok(Some(Handled::Result(result))) => self.judge(&result),
                Ok(Some(Handled::Hello(_) | Handled::Drain | Handled::Unknown)) => {}
                Ok(None) => break,
                // The link ends, and control makes another one.
                Err(_) => self.orders = Orders::new(Arc::clone(&self.registry)),
            }
        }
        for mailbox in &self.mailboxes {
            while let Some(command) = mailbox.next() {
                self.open += match command {
                    WorkerCommand::Open(_) => 1,
                    WorkerCommand::Close(..) => -1,
                    WorkerCommand::Host(_) | WorkerCommand::Unhost(_) => 0,
                };
            }
        }
        assert_eq!(self.registry.sessions() as i64, self.open);
        assert!(self.registry.sessions() <= CAPACITY.sessions as usize);
        assert!(self.registry.rooms() <= CAPACITY.rooms as usize);
    }

    fn judge(&self, result: &wire::CommandResult) {
        let kind = Some(relay_to_control::Kind::Result(result.clone()));
        let message = framing::encode(&wire::RelayToControl { kind });
        let mut deframer = Deframer::new(MAX_MESSAGE);
        deframer.push(&message);
        let again = deframer.next::<wire::RelayToControl>();
        let again = again.expect("no longer than it may be").expect("whole");
        let Some(relay_to_control::Kind::Result(again)) = again.kind else {
            panic!("a result");
        };
        assert_eq!(&again, result);
        let result = CommandResult::try_from(result).expect("a result that makes sense");
        assert!(result.outcome != CommandOutcome::Unspecified);
        assert!(result.media.len() <= MAX_MEDIA_STATES);
        assert!(result.media.is_sorted_by_key(|state| state.sender));
        let has_more = result.connection_id.is_some() || !result.media.is_empty();
        assert!(!has_more || result.outcome == CommandOutcome::Obeyed);
    }

    /// A good control node lets everyone go, and opens a session.
    fn end(&mut self) {
        for conference in self.registry.live_rooms() {
            let outcome = self.obeyed(conference, Action::CloseRoom);
            assert_eq!(outcome, CommandOutcome::Obeyed);
        }
        self.look();
        assert_eq!((self.registry.sessions(), self.registry.rooms()), (0, 0));
        let key = confab_protocol::media::HopKey::new([1; 16]);
        let open = confab_protocol::cluster::OpenMedia::new(1, 1, key.clone(), key);
        let outcome = self.obeyed(ConferenceId::new([200; 16]), Action::OpenMedia(open));
        assert_eq!(outcome, CommandOutcome::Obeyed);
    }

    /// What becomes of a command that no other fences off.
    fn obeyed(&self, conference: ConferenceId, action: Action) -> CommandOutcome {
        let command = Command {
            id: u64::MAX,
            conference,
            fence: Fence {
                era: u64::MAX,
                placement: u64::MAX,
            },
            boot: BOOT,
            action,
        };
        self.registry.execute(self.now, &command).outcome
    }
}
