//! A message in a stream: `length (4, big-endian) · protobuf`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::fields::count_two_levels;

/// Bytes of the length.
pub const LENGTH_LEN: usize = 4;

/// Most fields of a message and of its parts, one level down: lists of empty elements take many times more memory than bytes on the wire.
pub const MAX_FIELDS: usize = 65_536;

/// What a unidirectional stream of the server carries: the stream's first byte says it, and messages follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// [`wire::Event`](crate::wire::Event)s.
    Events,
    /// [`wire::ToGroup`](crate::wire::ToGroup)s: they may be long, and nothing else waits for them.
    Group,
}

impl StreamKind {
    /// The first byte of the stream.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Events => 0,
            Self::Group => 1,
        }
    }

    /// Reads the first byte; `None` for a kind that this code does not know: such a stream is stopped.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Events),
            1 => Some(Self::Group),
            _ => None,
        }
    }
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length says more than this side takes.
    #[error("a message of {got} bytes where {limit} are allowed")]
    TooLarge {
        /// What the length says.
        got: usize,
        /// What this side takes.
        limit: usize,
    },
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// The message has more than [`MAX_FIELDS`] fields.
    #[error("a message of {got} fields where {MAX_FIELDS} are allowed")]
    TooManyFields {
        /// Fields that it has.
        got: usize,
    },
    /// The bytes are not the protobuf message that belongs here.
    #[error("not the message that belongs here: {0}")]
    Malformed(String),
}

/// The message as it stands in a stream.
pub fn encode(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut out = BytesMut::with_capacity(LENGTH_LEN + len);
    out.put_u32(u32::try_from(len).expect("a message is shorter than 4 GiB"));
    message
        .encode(&mut out)
        .expect("the buffer has room for the length that the message gave");
    out.freeze()
}

/// `outer` as it stands in a stream, with `inner` as its last field, of number `field`; and that with `tail` as its last field,
/// of number `tail_field` and the type `bytes`. The tail is not copied.
pub fn encode_with_nested_tail(
    outer: &impl Message,
    field: u32,
    inner: &impl Message,
    tail_field: u32,
    tail: Bytes,
) -> [Bytes; 2] {
    let mut inside = inner.encode_to_vec();
    encode_field_header(tail_field, tail.len(), &mut inside);
    let mut head = outer.encode_to_vec();
    encode_field_header(field, inside.len() + tail.len(), &mut head);
    let len = head.len() + inside.len() + tail.len();
    let mut framed = BytesMut::with_capacity(LENGTH_LEN + len - tail.len());
    framed.put_u32(u32::try_from(len).expect("a message is shorter than 4 GiB"));
    framed.put(&head[..]);
    framed.put(&inside[..]);
    [framed.freeze(), tail]
}

fn encode_field_header(field: u32, len: usize, out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

/// Takes messages out of a stream of bytes.
#[derive(Debug)]
pub struct Deframer {
    limit: usize,
    buffer: BytesMut,
}

impl Deframer {
    /// Refuses messages longer than `limit` bytes of protobuf, before it holds more of them than their length.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: BytesMut::new(),
        }
    }

    /// Adds what the stream brought.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there. After an error the stream is of no more use.
    #[allow(
        clippy::should_implement_trait,
        reason = "which message comes next is for the caller to say"
    )]
    pub fn next<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length) as usize;
        if len > self.limit {
            return Err(FrameError::TooLarge {
                got: len,
                limit: self.limit,
            });
        }
        if self.buffer.len() < LENGTH_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_LEN);
        let body = self.buffer.split_to(len).freeze();
        // A field takes a byte at least.
        if len > MAX_FIELDS {
            let got = count_two_levels(&body);
            if got > MAX_FIELDS {
                return Err(FrameError::TooManyFields { got });
            }
        }
        M::decode(body)
            .map(Some)
            .map_err(|error| FrameError::Malformed(error.to_string()))
    }

    /// What has come of the next message, and the length that it will have, once that is known.
    pub fn begun(&self) -> Option<(usize, &[u8])> {
        let (length, body) = self.buffer.split_first_chunk::<LENGTH_LEN>()?;
        Some((u32::from_be_bytes(*length) as usize, body))
    }

    /// The bytes of the next message, if it is there, before it is read.
    pub fn whole(&self) -> Option<&[u8]> {
        let (len, body) = self.begun()?;
        body.get(..len)
    }

    /// To be called at the stream's end: an error when it came inside a message.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() {
            Ok(())
        } else {
            Err(FrameError::Truncated)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            slugs in prop::collection::vec(".{0,40}", 1..6), cut in 1usize..9
        ) {
            let messages: Vec<_> = slugs.into_iter().map(|slug| wire::ConferenceInfo { slug }).collect();
            let stream: Vec<u8> = messages.iter().flat_map(|m| encode(m).to_vec()).collect();
            let mut deframer = Deframer::new(1000);
            let mut out = Vec::new();
            for piece in stream.chunks(cut) {
                deframer.push(piece);
                while let Some(message) = deframer.next::<wire::ConferenceInfo>().unwrap() {
                    out.push(message);
                }
            }
            prop_assert_eq!(deframer.finish(), Ok(()));
            prop_assert_eq!(out, messages);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut deframer = Deframer::new(100);
            deframer.push(&bytes);
            while let Ok(Some(_)) = deframer.next::<wire::Request>() {}
        }
    }

    #[test]
    fn a_message_with_a_nested_tail_is_the_message_with_that_field() {
        let outer = wire::ToGroup {
            conference_id: Bytes::from_static(&[1; 16]),
            ..wire::ToGroup::default()
        };
        let inner = wire::GroupWelcome {
            welcome: Bytes::from_static(b"welcome"),
            ..wire::GroupWelcome::default()
        };
        for len in [0, 1, 127, 128, 70_000] {
            let tree = Bytes::from(vec![7; len]);
            let mut deframer = Deframer::new(100_000);
            for part in encode_with_nested_tail(&outer, 6, &inner, 3, tree.clone()) {
                deframer.push(&part);
            }
            let welcome = wire::GroupWelcome {
                tree,
                ..inner.clone()
            };
            let whole = wire::ToGroup {
                kind: Some(wire::to_group::Kind::Welcome(welcome)),
                ..outer.clone()
            };
            assert_eq!(deframer.next(), Ok(Some(whole)));
            assert_eq!(deframer.finish(), Ok(()));
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
        let mut deframer = Deframer::new(10);
        deframer.push(&[0, 0, 0, 11]);
        assert_eq!(
            deframer.next::<wire::Request>(),
            Err(FrameError::TooLarge { got: 11, limit: 10 })
        );
    }

    #[test]
    fn a_list_of_more_elements_than_allowed_is_refused() {
        let commit = |elements| wire::ToGroup {
            kind: Some(wire::to_group::Kind::CommitWanted(wire::CommitWanted {
                at: None,
                proposals: vec![Bytes::new(); elements],
            })),
            ..wire::ToGroup::default()
        };
        let read = |elements| {
            let mut deframer = Deframer::new(8 * MAX_FIELDS);
            deframer.push(&encode(&commit(elements)));
            deframer.next::<wire::ToGroup>()
        };
        // The list itself is a field of the message.
        let most = MAX_FIELDS - 1;
        assert_eq!(read(most), Ok(Some(commit(most))));
        let got = MAX_FIELDS + 1;
        assert_eq!(read(MAX_FIELDS), Err(FrameError::TooManyFields { got }));
    }

    #[test]
    fn what_has_begun_is_told_with_its_length() {
        let mut deframer = Deframer::new(10);
        deframer.push(&[0, 0, 0]);
        assert_eq!(deframer.begun(), None);
        deframer.push(&[9, 1, 2]);
        assert_eq!(deframer.begun(), Some((9, &[1, 2][..])));
    }

    #[test]
    fn a_stream_that_ends_inside_a_message_is_truncated() {
        let mut deframer = Deframer::new(10);
        deframer.push(&[0, 0, 0, 3, 1]);
        assert_eq!(deframer.next::<wire::Request>(), Ok(None));
        assert_eq!(deframer.finish(), Err(FrameError::Truncated));
    }
}
