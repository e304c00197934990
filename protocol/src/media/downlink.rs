//! Datagrams from a relay to a client.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | type |
//! | 1 | audio: number of records; else sent as 0 and ignored |
//! | 2..6 | packet number of this receiver |
//! | 6..14 | hop tag over bytes 0..6 and, for audio, the digest of each record; else the body |
//! | 14.. | audio: records `length (2) · sender (2) · level (1) · SFrame`; else the body |
//!
//! A record's first five bytes take the place of the last five of the uplink header, so that a frame leaves the relay
//! from the buffer in which it came.

use super::hop_tag::{HopTag, tags_match};
use super::uplink::AUDIO_HEADER_LEN;
use super::{
    AudioLevel, HopKey, Loss, LossReport, MAX_DATAGRAM, MediaError, PACKET_NUMBER_LIMIT,
    RecordDigest, TAG_LEN, take,
};

/// Bytes before the records or the body.
pub const HEADER_LEN: usize = 14;

/// Bytes of a record before its SFrame.
pub const RECORD_HEADER_LEN: usize = 5;

/// Where in an uplink audio datagram the record begins that is written over its header.
pub const RECORD_OFFSET_IN_UPLINK: usize = AUDIO_HEADER_LEN - RECORD_HEADER_LEN;

/// Room for records in one datagram, in bytes.
pub const MAX_RECORDS_LEN: usize = MAX_DATAGRAM - HEADER_LEN;

/// Types of downlink datagrams: their first byte.
pub mod kind {
    /// Voice frames of one or more speakers.
    pub const AUDIO: u8 = 0x11;
    /// The answer to a keep-alive.
    pub const PONG: u8 = 0x12;
    /// "Do you receive at this address?"
    pub const PATH_CHALLENGE: u8 = 0x13;
    /// The session is over.
    pub const BYE: u8 = 0x14;
    /// How much of a speaker's audio is lost.
    pub const LOSS: u8 = 0x15;
}

/// Why a relay ends a session. A receiver takes a reason that it does not know for [`Closed`](Self::Closed).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ByeReason {
    /// Control closed the session: left, kicked, banned, or the room closed.
    Closed = 1,
    /// A newer session of the same participant took its place.
    Replaced = 2,
    /// The relay is going away.
    Draining = 3,
}

/// A datagram from a relay, taken apart but not yet believed.
#[derive(Clone, Copy, Debug)]
pub struct Downlink<'a> {
    /// Its number in this receiver's session.
    pub packet_number: u32,
    /// What it says.
    pub body: DownlinkBody<'a>,
    head: &'a [u8; 6],
    tag: HopTag,
    rest: &'a [u8],
}

/// What a relay says to a client.
#[derive(Clone, Copy, Debug)]
pub enum DownlinkBody<'a> {
    /// One record a speaker.
    Audio(Records<'a>),
    /// Answers a keep-alive.
    Pong(Pong),
    /// To be sent back from the address at which it arrives.
    PathChallenge([u8; 8]),
    /// The session is over.
    Bye(ByeReason),
    /// How much of this client's audio is lost on its way to the others.
    Loss(LossReport),
}

/// The relay's answer to a keep-alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pong {
    /// The keep-alive's `echo`.
    pub echo: [u8; 8],
    /// The highest uplink packet number that the relay has seen.
    pub highest: u32,
    /// How many uplink datagrams it has taken, counted modulo 2^32. With `highest` it tells the loss on the way up.
    pub received: u32,
}

/// One speaker's frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Label of the speaker in the room. Who really speaks is the SFrame key id's leaf.
    pub sender: u16,
    /// The level that the speaker declared.
    pub level: AudioLevel,
    /// The SFrame; empty: this sender is no longer among the loudest and is not forwarded.
    pub sframe: &'a [u8],
}

/// The records of an audio datagram; known to be whole.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Downlink<'a> {
    /// Takes a datagram apart. Nothing in it is authentic until [`is_authentic`](Self::is_authentic) says so.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, MediaError> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(MediaError::TooLong {
                got: datagram.len(),
                limit: MAX_DATAGRAM,
            });
        }
        let truncated = || MediaError::Truncated {
            got: datagram.len(),
            needed: HEADER_LEN,
        };
        let (head, tagged) = datagram.split_first_chunk::<6>().ok_or_else(truncated)?;
        let (tag, rest) = tagged
            .split_first_chunk::<TAG_LEN>()
            .ok_or_else(truncated)?;
        let [kind, count, number @ ..] = *head;
        let packet_number = u32::from_be_bytes(number);
        if packet_number >= PACKET_NUMBER_LIMIT {
            return Err(MediaError::OutOfRange);
        }
        Ok(Self {
            packet_number,
            body: DownlinkBody::parse(kind, count, rest)?,
            head,
            tag: *tag,
            rest,
        })
    }

    /// True when the tag is the one that `key` gives.
    pub fn is_authentic(&self, key: &HopKey) -> bool {
        let expected = match self.body {
            DownlinkBody::Audio(records) => {
                let mut digests = [RecordDigest::of(&[]); MAX_RECORDS];
                let mut count = 0;
                for (slot, record) in digests.iter_mut().zip(records.raw()) {
                    *slot = RecordDigest::of(record);
                    count += 1;
                }
                key.tag_records(self.head, &digests[..count])
            }
            _ => key.tag_body(self.head, self.rest),
        };
        tags_match(&expected, &self.tag)
    }
}

/// As many records as fit into a datagram when each is only its header.
const MAX_RECORDS: usize = MAX_RECORDS_LEN / RECORD_HEADER_LEN;

impl<'a> DownlinkBody<'a> {
    fn parse(kind: u8, count: u8, rest: &'a [u8]) -> Result<Self, MediaError> {
        // Later versions may add to all bodies but audio's.
        Ok(match kind {
            kind::AUDIO => Self::Audio(Records::parse(count, rest)?),
            kind::PONG => {
                let (echo, rest) = take::<8>(rest)?;
                let (highest, rest) = take::<4>(rest)?;
                let (received, _) = take::<4>(rest)?;
                Self::Pong(Pong {
                    echo,
                    highest: u32::from_be_bytes(highest),
                    received: u32::from_be_bytes(received),
                })
            }
            kind::PATH_CHALLENGE => Self::PathChallenge(take::<8>(rest)?.0),
            kind::BYE => {
                let ([reason], _) = take::<1>(rest)?;
                Self::Bye(ByeReason::from_byte(reason))
            }
            kind::LOSS => {
                let ([up, up_burst, down, down_burst], _) = take::<4>(rest)?;
                let loss = |fraction, burst| Loss { fraction, burst };
                Self::Loss(LossReport {
                    uplink: loss(up, up_burst),
                    receivers: loss(down, down_burst),
                })
            }
            other => return Err(MediaError::UnknownType(other)),
        })
    }
}

impl<'a> Records<'a> {
    fn parse(count: u8, bytes: &'a [u8]) -> Result<Self, MediaError> {
        if count == 0 {
            return Err(MediaError::OutOfRange);
        }
        let mut rest = bytes;
        for _ in 0..count {
            rest = split_record(rest)?.1;
        }
        if !rest.is_empty() {
            return Err(MediaError::BadLength);
        }
        Ok(Self { bytes })
    }

    /// Each record in turn.
    pub fn iter(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        self.raw().map(|record| {
            let (head, sframe) = record.split_at(RECORD_HEADER_LEN);
            Record {
                sender: u16::from_be_bytes([head[2], head[3]]),
                level: AudioLevel::from_byte(head[4]),
                sframe,
            }
        })
    }

    /// Each record's bytes, header and all.
    fn raw(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (record, after) = split_record(rest).ok()?;
            rest = after;
            Some(record)
        })
    }
}

/// Splits the first record off. `Truncated` when it is not whole.
fn split_record(bytes: &[u8]) -> Result<(&[u8], &[u8]), MediaError> {
    let (length, _) = take::<2>(bytes)?;
    let needed = RECORD_HEADER_LEN + usize::from(u16::from_be_bytes(length));
    bytes.split_at_checked(needed).ok_or(MediaError::Truncated {
        got: bytes.len(),
        needed,
    })
}

impl Record<'_> {
    /// The five bytes before the SFrame. `TooLong` when the SFrame fits into no datagram.
    pub fn header(
        sender: u16,
        level: AudioLevel,
        sframe_len: usize,
    ) -> Result<[u8; RECORD_HEADER_LEN], MediaError> {
        let limit = MAX_RECORDS_LEN - RECORD_HEADER_LEN;
        if sframe_len > limit {
            return Err(MediaError::TooLong {
                got: sframe_len,
                limit,
            });
        }
        let [l0, l1] = (sframe_len as u16).to_be_bytes();
        let [s0, s1] = sender.to_be_bytes();
        Ok([l0, l1, s0, s1, level.to_byte()])
    }
}

/// The 14 bytes that go before `digests.len()` records to one receiver.
///
/// The relay's hot path: called once a receiver. `records` is the number of digests, at least 1.
pub fn audio_header<'a>(
    records: u8,
    packet_number: u32,
    key: &HopKey,
    digests: impl IntoIterator<Item = &'a RecordDigest>,
) -> [u8; HEADER_LEN] {
    let head = head(kind::AUDIO, records, packet_number);
    with_tag(head, key.tag_records(&head, digests))
}

impl Pong {
    /// The whole datagram.
    pub fn encode(&self, packet_number: u32, key: &HopKey) -> [u8; HEADER_LEN + 16] {
        let mut body = [0; 16];
        body[..8].copy_from_slice(&self.echo);
        body[8..12].copy_from_slice(&self.highest.to_be_bytes());
        body[12..].copy_from_slice(&self.received.to_be_bytes());
        whole(kind::PONG, packet_number, key, &body)
    }
}

impl LossReport {
    /// The whole datagram.
    pub fn encode(&self, packet_number: u32, key: &HopKey) -> [u8; HEADER_LEN + 4] {
        let Self { uplink, receivers } = self;
        let body = [
            uplink.fraction,
            uplink.burst,
            receivers.fraction,
            receivers.burst,
        ];
        whole(kind::LOSS, packet_number, key, &body)
    }
}

/// A whole path challenge.
pub fn path_challenge(
    challenge: [u8; 8],
    packet_number: u32,
    key: &HopKey,
) -> [u8; HEADER_LEN + 8] {
    whole(kind::PATH_CHALLENGE, packet_number, key, &challenge)
}

/// A whole bye.
pub fn bye(reason: ByeReason, packet_number: u32, key: &HopKey) -> [u8; HEADER_LEN + 1] {
    whole(kind::BYE, packet_number, key, &[reason as u8])
}

impl ByeReason {
    fn from_byte(byte: u8) -> Self {
        [Self::Closed, Self::Replaced, Self::Draining]
            .into_iter()
            .find(|reason| *reason as u8 == byte)
            .unwrap_or(Self::Closed)
    }
}

/// A datagram that is not audio. `N` is `HEADER_LEN` and the body's length.
fn whole<const N: usize>(kind: u8, packet_number: u32, key: &HopKey, body: &[u8]) -> [u8; N] {
    let head = head(kind, 0, packet_number);
    let mut out = [0; N];
    out[..HEADER_LEN].copy_from_slice(&with_tag(head, key.tag_body(&head, body)));
    out[HEADER_LEN..].copy_from_slice(body);
    out
}

const fn head(kind: u8, records: u8, packet_number: u32) -> [u8; 6] {
    let [a, b, c, d] = packet_number.to_be_bytes();
    [kind, records, a, b, c, d]
}

fn with_tag(head: [u8; 6], tag: HopTag) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    out[..6].copy_from_slice(&head);
    out[6..].copy_from_slice(&tag);
    out
}
