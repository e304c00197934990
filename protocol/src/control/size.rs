//! How long a request may be: more for kinds that only a room's participants send.

use prost::encoding::{WireType, decode_key};

use super::fields::fields;
use super::{MAX_COMMIT_REQUEST, MAX_PARTICIPANT_REQUEST, MAX_REQUEST};
use crate::wire::request::Kind;

/// Fields of `Request` whose kinds only participants of a room send: `leave_room`, `report_media`, `report_frames`.
const PARTICIPANTS: [u32; 3] = [41, 45, 46];

/// Field of `Request` for `send_to_group`, which may have a commit in it.
const TO_GROUP: u32 = 47;

/// Field of `SendToGroup` for its messages.
const GROUP_MESSAGES: u32 = 4;

/// Bytes after which it is always known how long a request may be: the longest key of a protobuf field.
pub const TOLD_BY: usize = 5;

/// Bytes of protobuf that a request of this kind may have.
pub fn longest(kind: &Kind) -> usize {
    match kind {
        Kind::LeaveRoom(_) | Kind::ReportMedia(_) | Kind::ReportFrames(_) => {
            MAX_PARTICIPANT_REQUEST
        }
        Kind::SendToGroup(_) => MAX_COMMIT_REQUEST,
        _ => MAX_REQUEST,
    }
}

/// Bytes of protobuf that a request may have that begins with these, before the rest of it has come. `None`: more than
/// `begun` is needed to tell, [`TOLD_BY`] bytes at most. A request that is longer than [`MAX_REQUEST`] begins with the field of its kind.
pub fn longest_that_begins(begun: &[u8]) -> Option<usize> {
    match decode_key(&mut &begun[..]) {
        Ok((field, WireType::LengthDelimited)) if PARTICIPANTS.contains(&field) => {
            Some(MAX_PARTICIPANT_REQUEST)
        }
        Ok((TO_GROUP, WireType::LengthDelimited)) => Some(MAX_COMMIT_REQUEST),
        Err(_) if begun.len() < TOLD_BY => None,
        Ok(_) | Err(_) => Some(MAX_REQUEST),
    }
}

/// Messages to a group in a request, counted before it is decoded. A request may have several parts with the field of its kind,
/// which a decoder merges.
pub fn group_messages(request: &[u8]) -> usize {
    let parts = fields(request).filter(|(field, _)| *field == TO_GROUP);
    parts
        .filter_map(|(_, part)| part)
        .flat_map(fields)
        .filter(|(field, _)| *field == GROUP_MESSAGES)
        .count()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::wire;

    fn bytes(kind: Kind) -> Vec<u8> {
        wire::Request { kind: Some(kind) }.encode_to_vec()
    }

    #[test]
    fn the_first_bytes_tell_what_the_kind_does() {
        for kind in [
            Kind::Hello(wire::Hello::default()),
            Kind::Register(wire::Register::default()),
            Kind::JoinRoom(wire::JoinRoom::default()),
            Kind::Kick(wire::Kick::default()),
            Kind::Mute(wire::Mute::default()),
            Kind::LeaveRoom(wire::LeaveRoom::default()),
            Kind::ReportMedia(wire::ReportMedia::default()),
            Kind::ReportFrames(wire::ReportFrames::default()),
            Kind::SendToGroup(wire::SendToGroup::default()),
        ] {
            let longest = longest(&kind);
            let bytes = bytes(kind);
            assert_eq!(longest_that_begins(&bytes), Some(longest), "{bytes:?}");
        }
    }

    #[test]
    fn messages_to_a_group_are_counted_before_they_are_read() {
        for count in [0, 1, 16, 1000] {
            let send = wire::SendToGroup {
                join_id: vec![1; 16].into(),
                messages: vec![wire::FromMember::default(); count],
                ..wire::SendToGroup::default()
            };
            assert_eq!(group_messages(&bytes(Kind::SendToGroup(send))), count);
        }
        let other = bytes(Kind::JoinRoom(wire::JoinRoom::default()));
        assert_eq!(group_messages(&other), 0);
        let part = bytes(Kind::SendToGroup(wire::SendToGroup {
            messages: vec![wire::FromMember::default(); 10],
            ..wire::SendToGroup::default()
        }));
        let parts = [part.clone(), other, part].concat();
        assert_eq!(group_messages(&parts), 20);
        assert_eq!(group_messages(&[0xff; 40]), 0);
    }

    #[test]
    fn a_part_of_the_key_tells_nothing_and_nonsense_gets_no_more_than_others() {
        let report = bytes(Kind::ReportMedia(wire::ReportMedia::default()));
        assert_eq!(longest_that_begins(&[]), None);
        assert_eq!(longest_that_begins(&report[..1]), None);
        assert_eq!(longest_that_begins(&[0xff; TOLD_BY]), Some(MAX_REQUEST));
        // The field of `report_media` as a number instead of a message.
        assert_eq!(longest_that_begins(&[0xe8, 0x02]), Some(MAX_REQUEST));
    }
}
