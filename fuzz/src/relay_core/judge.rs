//! What holds for everything that the relay sends.

use std::net::SocketAddr;

use confab_protocol::media::downlink::{Downlink, DownlinkBody, Record};

use super::Play;
use super::clients::Client;

impl Play {
    /// Judges all that was sent.
    pub(super) fn look(&mut self) {
        for (to, datagram) in std::mem::take(&mut self.world.wire.sent) {
            self.judge(to, &datagram);
        }
        for worker in self.world.take_rounds() {
            for client in &mut self.clients {
                if client.id.worker() != worker {
                    continue;
                }
                if !client.known {
                    client.known = true;
                    client.alive = client.alive.max(self.world.awake(worker));
                }
                if client.closed {
                    client.over.get_or_insert(self.at);
                }
            }
        }
        for id in self.world.take_ended() {
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
                !(is_there && self.world.is_overdue(client.id.worker(), client.alive)),
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
        let index = receivers.next().expect("a session that it is authentic to");
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
                let worker = receiver.id.worker();
                assert!(
                    !self.world.is_overdue(worker, proved),
                    "{to} does not answer"
                );
                assert_eq!(receiver.over, None, "sent to one who is gone");
                for record in records.iter() {
                    self.judge_record(index, &record);
                }
            }
            DownlinkBody::Bye(_) => assert!(receiver.closed),
            DownlinkBody::Pong(pong) => assert!(pong.highest < receiver.next),
            DownlinkBody::PathChallenge(_) => {}
            DownlinkBody::Loss(report) => {
                // What is lost is lost in runs.
                assert!(report.uplink.fraction == 0 || report.uplink.burst > 0);
            }
        }
    }

    fn judge_record(&mut self, index: usize, record: &Record<'_>) {
        let receiver = &self.clients[index];
        let mut in_room = self
            .clients
            .iter()
            .filter(|client| client.room == receiver.room);
        // In a room on several workers a frame may cross to the home while a session is opened, and a participant that
        // joins again may be sent the last frame of its former session.
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
}
