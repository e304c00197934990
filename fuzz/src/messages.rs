//! Messages in a stream: the same ones come out however the stream is cut, they are encoded as they were read, and what
//! becomes a domain type goes back to the message it came from.

use std::fmt::Debug;
use std::str::FromStr;

use confab::engine::room::Joined;
use confab::net::event::ServerEvent;
use confab_e2ee::mls::FromMember;
use confab_e2ee::mls::wire::{from_stream, to_stream};
use confab_protocol::cluster::{self, BootId, Command, CommandResult};
use confab_protocol::control::framing::{self, Deframer, FrameError};
use confab_protocol::control::room::BadField;
use confab_protocol::control::{
    self, AccountId, Birthday, ConferenceId, Device, Email, JoinId, MediaGrant, Participant,
    Password, Refusal, Slug, Title, Username,
};
use confab_protocol::version;
use confab_protocol::wire::{self, control_to_relay, event, relay_to_control, request, response};
use prost::Message;

use crate::script::Script;

/// Reads which message is awaited, then where the stream is cut (a count, then lengths), then the stream.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let kind = script.below(6);
    let cuts = script.block();
    let stream = script.rest();
    match kind {
        0 => read(stream, cuts, control::MAX_REQUEST, request),
        1 => read(stream, cuts, control::MAX_RESPONSE, response),
        2 => read(stream, cuts, control::MAX_RESPONSE, event),
        3 => read(stream, cuts, cluster::MAX_MESSAGE, relay_to_control),
        4 => read(stream, cuts, control::MAX_GROUP_MESSAGE, to_group),
        _ => read(stream, cuts, cluster::MAX_MESSAGE, control_to_relay),
    }
}

fn read<M>(stream: &[u8], cuts: &[u8], limit: usize, check: fn(&M))
where
    M: Message + Default + PartialEq + Debug,
{
    let whole = deframe::<M>([stream].into_iter(), limit);
    let mut rest = stream;
    let pieces = cuts.iter().map(|cut| {
        let (piece, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        rest = after;
        piece
    });
    let mut pieces: Vec<_> = pieces.collect();
    pieces.push(rest);
    assert_eq!(deframe::<M>(pieces.into_iter(), limit), whole);
    assert_eq!(deframe::<M>(stream.chunks(1), limit), whole);

    for message in &whole.0 {
        let encoded = framing::encode(message);
        let (again, end) = deframe::<M>([&encoded[..]].into_iter(), usize::MAX);
        assert_eq!(again.as_slice(), std::slice::from_ref(message));
        assert_eq!(end, Ok(()));
        check(message);
    }
    // A message that is alone may come without its length, too: what the fuzzer knows of protobuf is then of use.
    if let Ok(message) = M::decode(stream) {
        check(&message);
    }
}

/// All messages of a stream, and how it ended.
fn deframe<'a, M>(
    pieces: impl Iterator<Item = &'a [u8]>,
    limit: usize,
) -> (Vec<M>, Result<(), FrameError>)
where
    M: Message + Default,
{
    let mut deframer = Deframer::new(limit);
    let mut messages = Vec::new();
    for piece in pieces {
        deframer.push(piece);
        loop {
            match deframer.next::<M>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    let end = deframer.finish();
    (messages, end)
}

/// What control makes of a request's fields.
fn request(message: &wire::Request) {
    use request::Kind;
    let Some(kind) = &message.kind else { return };
    match kind {
        Kind::Hello(hello) => hello_versions(hello.min_version, hello.max_version),
        Kind::Register(register) => {
            name::<Username>(&register.username);
            name::<Email>(&register.email);
            name::<Password>(&register.password);
            name::<Birthday>(&register.birthday);
            name::<Device>(&register.device);
        }
        Kind::Login(login) => {
            name::<Username>(&login.name);
            name::<Email>(&login.name);
            name::<Password>(&login.password);
            name::<Device>(&login.device);
        }
        Kind::ChangePassword(change) => name::<Password>(&change.new_password),
        Kind::CreateConference(create) => {
            name::<Slug>(&create.slug);
            name::<Title>(&create.title);
            let _ = create.visibility();
        }
        Kind::JoinRoom(join) => {
            name::<Slug>(&join.slug);
            if let Ok(id) = JoinId::parse(&join.resume_join_id, "resume_join_id") {
                assert_eq!(id.to_wire(), join.resume_join_id);
            }
        }
        Kind::SendToGroup(send) => {
            for message in &send.messages {
                if let Ok(read) = FromMember::try_from(message.clone()) {
                    let again = wire::FromMember::from(read.clone());
                    assert_eq!(FromMember::try_from(again), Ok(read));
                }
            }
        }
        Kind::SetRole(set) => {
            name::<Slug>(&set.slug);
            name::<Username>(&set.username);
            let _ = set.role();
        }
        _ => {}
    }
}

/// What a client makes of a response.
fn response(message: &wire::Response) {
    use response::Kind;
    let Some(kind) = &message.kind else { return };
    match kind {
        Kind::Error(error) => {
            let refusal = Refusal::from(error.clone());
            let again = Refusal::from(wire::Error::from(refusal.clone()));
            assert_eq!(again, refusal);
        }
        Kind::RoomJoined(joined) => {
            joined.participants.iter().for_each(participant);
            joined.media.iter().for_each(grant);
            if let Ok(room) = Joined::try_from(joined) {
                assert_eq!(u32::from(room.me.sender), joined.self_sender);
                assert_eq!(room.delivery_key[..], joined.delivery_key[..]);
                assert!(room.others.len() < joined.participants.len());
            }
        }
        Kind::Account(account) => {
            if let Ok(id) = AccountId::parse(&account.id, "id") {
                assert_eq!(id.to_wire(), account.id);
            }
        }
        _ => {}
    }
}

/// What a member makes of a message of the delivery service.
fn to_group(message: &wire::ToGroup) {
    let Ok(Some((conference, join, read))) = from_stream(message.clone()) else {
        return;
    };
    let mut deframer = Deframer::new(usize::MAX);
    for piece in to_stream(conference, join, &read) {
        deframer.push(&piece);
    }
    let again = deframer.next().map(Option::unwrap_or_default);
    let again = again.map(from_stream);
    assert_eq!(again, Ok(Ok(Some((conference, join, read)))));
}

/// What a client makes of an event.
fn event(message: &wire::Event) {
    use event::Kind;
    let parsed = ServerEvent::parse(message);
    match &message.kind {
        None => assert_eq!(parsed, Ok(None)),
        Some(Kind::Joined(joined)) => joined.participant.iter().for_each(participant),
        Some(Kind::Changed(changed)) => changed.participant.iter().for_each(participant),
        Some(Kind::MediaMoved(moved)) => moved.media.iter().for_each(grant),
        Some(_) => {}
    }
}

/// What control makes of a relay's message.
fn relay_to_control(message: &wire::RelayToControl) {
    use relay_to_control::Kind;
    let Some(kind) = &message.kind else { return };
    match kind {
        Kind::Hello(hello) => {
            hello_versions(hello.min_version, hello.max_version);
            if let Ok(boot) = BootId::parse(&hello.boot_id) {
                assert_eq!(boot.0[..], hello.boot_id[..]);
            }
        }
        Kind::Result(result) => round_trip::<_, CommandResult>(result),
        Kind::LiveRooms(rooms) => {
            for id in &rooms.conference_ids {
                if let Ok(conference) = ConferenceId::parse(id, "conference_ids") {
                    assert_eq!(conference.to_wire(), *id);
                }
            }
        }
        Kind::MediaEnded(_) | Kind::Load(_) | Kind::Alive(_) => {}
    }
}

/// What a relay makes of control's message.
fn control_to_relay(message: &wire::ControlToRelay) {
    use control_to_relay::Kind;
    match &message.kind {
        Some(Kind::Command(command)) => round_trip::<_, Command>(command),
        Some(Kind::Hello(hello)) => hello_versions(hello.version, hello.version),
        Some(Kind::Drain(_)) | None => {}
    }
}

fn participant(message: &wire::Participant) {
    round_trip::<_, Participant>(message);
}

fn grant(message: &wire::MediaSession) {
    round_trip::<_, MediaGrant>(message);
}

/// What is taken from a message says the same as a message again.
fn round_trip<W, T>(message: &W)
where
    T: for<'a> TryFrom<&'a W, Error = BadField> + PartialEq + Debug,
    W: for<'a> From<&'a T>,
{
    if let Ok(parsed) = T::try_from(message) {
        let again = T::try_from(&W::from(&parsed));
        assert_eq!(again, Ok(parsed));
    }
}

fn hello_versions(min: u32, max: u32) {
    if let Ok(common) = version::CONTROL.negotiate(min, max) {
        assert!((min..=max).contains(&common));
        assert!(version::CONTROL.contains(common));
    }
}

/// A name is valid in the form in which it is kept and shown: or another program could not read it.
fn name<N>(text: &str)
where
    N: FromStr + PartialEq + Debug + Kept,
    N::Err: Debug,
{
    if let Ok(parsed) = text.parse::<N>() {
        let again: N = parsed.kept().parse().expect("what is kept is valid");
        assert_eq!(again, parsed);
    }
}

/// The text under which a name is kept.
trait Kept {
    fn kept(&self) -> String;
}

macro_rules! kept {
    ($($name:ty: $text:ident),*) => {$(
        impl Kept for $name {
            fn kept(&self) -> String {
                self.$text().to_owned()
            }
        }
    )*};
}

kept!(Username: as_str, Slug: as_str, Title: as_str, Device: as_str, Email: as_str, Password: reveal);

impl Kept for Birthday {
    fn kept(&self) -> String {
        self.to_string()
    }
}
