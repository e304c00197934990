//! A relay's sessions, and datagrams on their way.

use std::net::SocketAddr;
use std::time::Instant;

use confab_protocol::control::MediaGrant;
use confab_protocol::media::downlink::{Record, audio_header};
use confab_protocol::media::{AudioLevel, HopKey, RecordDigest, ReplayWindow};

pub(super) struct Session {
    pub(super) owner: u16,
    pub(super) sender: u16,
    pub(super) grant: MediaGrant,
    pub(super) address: Option<SocketAddr>,
    pub(super) window: ReplayWindow,
    pub(super) received: u32,
    pub(super) next_packet: u32,
}

impl Session {
    pub(super) fn number(&mut self) -> u32 {
        self.next_packet += 1;
        self.next_packet - 1
    }

    pub(super) fn audio(
        &mut self,
        sender: u16,
        level: AudioLevel,
        sframe: &[u8],
        key: &HopKey,
    ) -> Vec<u8> {
        let mut record = Record::header(sender, level, sframe.len())
            .unwrap()
            .to_vec();
        record.extend_from_slice(sframe);
        let digest = RecordDigest::of(&record);
        let number = self.number();
        let mut datagram = audio_header(1, number, key, [&digest]).to_vec();
        datagram.extend_from_slice(&record);
        datagram
    }
}

pub(super) struct Flight {
    pub(super) at: Instant,
    pub(super) order: u64,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) datagram: Vec<u8>,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
