//! The client's side of a media session.

use std::net::SocketAddr;

use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{
    AudioLevel, ConnectionId, HopKey, KeyId, SFRAME_TAG_LEN, SframeHeader,
};

/// A client of the relay, as much of it as a datagram needs.
#[derive(Clone)]
pub struct Client {
    pub id: ConnectionId,
    pub sender: u16,
    pub uplink: HopKey,
    pub downlink: HopKey,
    pub address: SocketAddr,
    pub next: u32,
    pub counter: u64,
}

impl Client {
    pub fn datagram(&mut self, body: UplinkBody<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        body.encode(self.id, self.next, &self.uplink, &mut out)
            .unwrap();
        self.next += 1;
        out
    }

    /// An audio datagram whose SFrame is a real header, `text`, and as many zeros as a tag has.
    pub fn audio(&mut self, text: &str) -> Vec<u8> {
        self.audio_under(KeyId::new(self.sender.into(), 0, 0), text)
    }

    /// The same under this key id.
    pub fn audio_under(&mut self, key_id: KeyId, text: &str) -> Vec<u8> {
        let sframe = self.sframe_under(key_id, text);
        self.datagram(UplinkBody::Audio {
            level: AudioLevel::new(true, 18.0),
            sframe: &sframe,
        })
    }

    pub fn sframe(&mut self, leaf: u32, text: &str) -> Vec<u8> {
        self.sframe_under(KeyId::new(leaf, 0, 0), text)
    }

    pub fn sframe_under(&mut self, key_id: KeyId, text: &str) -> Vec<u8> {
        let header = SframeHeader {
            key_id,
            counter: self.counter,
        };
        self.counter += 1;
        let mut head = [0; SframeHeader::MAX_LEN];
        let len = header.write(&mut head);
        [&head[..len], text.as_bytes(), &[0; SFRAME_TAG_LEN]].concat()
    }

    /// The frames that a datagram to this client holds: sender and text. Panics where it is not authentic.
    pub fn hear(&self, datagram: &[u8]) -> Vec<(u16, String)> {
        let downlink = Downlink::parse(datagram).unwrap();
        assert!(downlink.is_authentic(&self.downlink));
        let DownlinkBody::Audio(records) = downlink.body else {
            return Vec::new();
        };
        // An empty record says that its sender is not forwarded any more.
        let frames = records.iter().filter(|record| !record.sframe.is_empty());
        frames
            .map(|record| {
                let (_, len) = SframeHeader::parse(record.sframe).unwrap();
                let text = &record.sframe[len..record.sframe.len() - SFRAME_TAG_LEN];
                (record.sender, String::from_utf8(text.to_vec()).unwrap())
            })
            .collect()
    }

    /// The frames to this client in all that the relay sent.
    pub fn heard(&self, sent: &[(SocketAddr, Vec<u8>)]) -> Vec<(u16, String)> {
        sent.iter()
            .filter(|(to, _)| *to == self.address)
            .flat_map(|(_, datagram)| self.hear(datagram))
            .collect()
    }
}
