//! Datagrams from a client to a relay.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | type |
//! | 1..9 | connection id |
//! | 9..13 | packet number |
//! | 13..n−8 | body: for audio, level (1) and SFrame |
//! | n−8..n | hop tag over all bytes before it |

use super::hop_tag::{HopTag, tags_match};
use super::{
    AudioLevel, ConnectionId, HopKey, MAX_DATAGRAM, MediaError, PACKET_NUMBER_LIMIT,
    ReceptionCounts, SFRAME_TAG_LEN, TAG_LEN, take,
};

/// Bytes before the body.
pub const HEADER_LEN: usize = 13;

/// Bytes before the SFrame of an audio datagram.
pub const AUDIO_HEADER_LEN: usize = HEADER_LEN + 1;

/// Longest SFrame that a datagram carries, in bytes.
pub const MAX_SFRAME: usize = MAX_DATAGRAM - AUDIO_HEADER_LEN - TAG_LEN;

/// Shortest SFrame, in bytes: a header of 1 and the AEAD's tag.
pub const MIN_SFRAME: usize = 1 + SFRAME_TAG_LEN;

/// Types of uplink datagrams: their first byte. Types from 0x40 on are QUIC's (RFC 9443).
pub mod kind {
    /// A voice frame.
    pub const AUDIO: u8 = 0x01;
    /// "I am still here, at this address."
    pub const KEEP_ALIVE: u8 = 0x02;
    /// The answer to a path challenge.
    pub const PATH_RESPONSE: u8 = 0x03;
    /// The session is over.
    pub const BYE: u8 = 0x04;
    /// What has arrived of the relay's datagrams.
    pub const RECEPTION: u8 = 0x05;
}

/// What a client says to a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UplinkBody<'a> {
    /// A voice frame.
    Audio {
        /// How loud it is.
        level: AudioLevel,
        /// SFrame: header, ciphertext, AEAD tag. [`MIN_SFRAME`] to [`MAX_SFRAME`] bytes.
        sframe: &'a [u8],
    },
    /// Answered by a pong with the same `echo`, if it came by the session's path.
    KeepAlive {
        /// The client's own; the relay does not look at it.
        echo: [u8; 8],
    },
    /// Says that the client receives at the challenged address.
    PathResponse {
        /// The challenge's bytes.
        challenge: [u8; 8],
    },
    /// The session is over.
    Bye,
    /// What has arrived of the relay's datagrams in this session.
    Reception(ReceptionCounts),
}

/// A datagram from a client, taken apart but not yet believed.
#[derive(Clone, Copy, Debug)]
pub struct Uplink<'a> {
    /// Which session it claims to be of.
    pub connection_id: ConnectionId,
    /// Its number in that session.
    pub packet_number: u32,
    /// What it says.
    pub body: UplinkBody<'a>,
    signed: &'a [u8],
    tag: HopTag,
}

impl<'a> Uplink<'a> {
    /// Takes a datagram apart. Nothing in it is authentic until [`is_authentic`](Self::is_authentic) says so.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, MediaError> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(MediaError::TooLong {
                got: datagram.len(),
                limit: MAX_DATAGRAM,
            });
        }
        let Some((signed, tag)) = datagram.split_last_chunk::<TAG_LEN>() else {
            return Err(MediaError::Truncated {
                got: datagram.len(),
                needed: HEADER_LEN + TAG_LEN,
            });
        };
        let ([kind], rest) = take::<1>(signed)?;
        let (connection_id, rest) = take::<{ ConnectionId::LEN }>(rest)?;
        let (packet_number, body) = take::<4>(rest)?;
        let packet_number = u32::from_be_bytes(packet_number);
        if packet_number >= PACKET_NUMBER_LIMIT {
            return Err(MediaError::OutOfRange);
        }
        Ok(Self {
            connection_id: ConnectionId::from_bytes(connection_id),
            packet_number,
            body: UplinkBody::parse(kind, body)?,
            signed,
            tag: *tag,
        })
    }

    /// True when the tag is the one that `key` gives.
    pub fn is_authentic(&self, key: &HopKey) -> bool {
        tags_match(&key.tag(self.signed), &self.tag)
    }
}

impl<'a> UplinkBody<'a> {
    fn parse(kind: u8, body: &'a [u8]) -> Result<Self, MediaError> {
        match kind {
            kind::AUDIO => match body.split_first() {
                Some((level, sframe)) if sframe.len() >= MIN_SFRAME => Ok(Self::Audio {
                    level: AudioLevel::from_byte(*level),
                    sframe,
                }),
                _ => Err(MediaError::Truncated {
                    got: body.len(),
                    needed: 1 + MIN_SFRAME,
                }),
            },
            // Later versions may add to these bodies.
            kind::KEEP_ALIVE => take(body).map(|(echo, _)| Self::KeepAlive { echo }),
            kind::PATH_RESPONSE => {
                take(body).map(|(challenge, _)| Self::PathResponse { challenge })
            }
            kind::BYE => Ok(Self::Bye),
            kind::RECEPTION => {
                let (highest, rest) = take::<4>(body)?;
                let (received, rest) = take::<4>(rest)?;
                let (runs, _) = take::<2>(rest)?;
                Ok(Self::Reception(ReceptionCounts {
                    highest: u32::from_be_bytes(highest),
                    received: u32::from_be_bytes(received),
                    runs: u16::from_be_bytes(runs),
                }))
            }
            other => Err(MediaError::UnknownType(other)),
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Audio { .. } => kind::AUDIO,
            Self::KeepAlive { .. } => kind::KEEP_ALIVE,
            Self::PathResponse { .. } => kind::PATH_RESPONSE,
            Self::Bye => kind::BYE,
            Self::Reception(_) => kind::RECEPTION,
        }
    }

    /// Appends the whole datagram to `out`, tagged with `key`.
    ///
    /// `OutOfRange` when the packet number is at [`PACKET_NUMBER_LIMIT`]; `TooLong` or `Truncated` for an SFrame that
    /// does not fit. Then `out` is as it was.
    pub fn encode(
        &self,
        connection_id: ConnectionId,
        packet_number: u32,
        key: &HopKey,
        out: &mut Vec<u8>,
    ) -> Result<(), MediaError> {
        if packet_number >= PACKET_NUMBER_LIMIT {
            return Err(MediaError::OutOfRange);
        }
        if let Self::Audio { sframe, .. } = self {
            if sframe.len() < MIN_SFRAME {
                return Err(MediaError::Truncated {
                    got: sframe.len(),
                    needed: MIN_SFRAME,
                });
            }
            if sframe.len() > MAX_SFRAME {
                return Err(MediaError::TooLong {
                    got: sframe.len(),
                    limit: MAX_SFRAME,
                });
            }
        }
        let start = out.len();
        out.push(self.kind());
        out.extend_from_slice(&connection_id.to_bytes());
        out.extend_from_slice(&packet_number.to_be_bytes());
        match self {
            Self::Audio { level, sframe } => {
                out.push(level.to_byte());
                out.extend_from_slice(sframe);
            }
            Self::KeepAlive { echo: bytes } | Self::PathResponse { challenge: bytes } => {
                out.extend_from_slice(bytes);
            }
            Self::Bye => {}
            Self::Reception(counts) => {
                out.extend_from_slice(&counts.highest.to_be_bytes());
                out.extend_from_slice(&counts.received.to_be_bytes());
                out.extend_from_slice(&counts.runs.to_be_bytes());
            }
        }
        let tag = key.tag(&out[start..]);
        out.extend_from_slice(&tag);
        Ok(())
    }
}
