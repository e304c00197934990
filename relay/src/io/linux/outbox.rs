//! Sends chunks of datagrams: by the UDP sockets, or as frames by a packet socket.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use confab_protocol::media::downlink::HEADER_LEN;
use confab_relay_packet::{
    DEVICE_NAME_LEN, Found, MAX_HEAD, NO_DEVICE, PacketPath, Route, RouteKey, Routes, Sum,
    device_name,
};

use super::records::{write_name, zeroed_name};
use super::{EMPTY_PIECE, Listener, zeroed_header};
use crate::core::CHUNK;
use crate::core::{Outgoing, SendStatus};

/// Pieces of an outgoing datagram: its header and up to two shared ones.
const PIECES: usize = 3;

/// The arrays for `sendmmsg`.
pub(super) struct Outbox {
    slots: Box<[Slot]>,
    headers: Box<[libc::mmsghdr]>,
    /// Datagrams sent by the packet socket and not counted yet.
    sent_by_packet: u64,
}

/// One datagram in the form of the system call.
struct Slot {
    by: SendBy,
    /// The receiver's address, for the UDP socket.
    name: libc::sockaddr_in6,
    /// The device, for the packet socket.
    device: libc::sockaddr_ll,
    /// A frame's headers and the receiver's own.
    head: [u8; MAX_HEAD],
    pieces: [libc::iovec; PIECES],
}

/// The socket that a datagram is sent by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SendBy {
    /// One of the UDP sockets.
    Udp(u8),
    Packet,
}

impl Outbox {
    /// For a chunk at a time.
    pub(super) fn new() -> Self {
        let slot = || Slot {
            by: SendBy::Packet,
            name: zeroed_name(),
            device: NO_DEVICE,
            head: [0; MAX_HEAD],
            pieces: [EMPTY_PIECE; PIECES],
        };
        Self {
            slots: (0..CHUNK).map(|_| slot()).collect(),
            headers: (0..CHUNK).map(|_| zeroed_header()).collect(),
            sent_by_packet: 0,
        }
    }

    /// Sends a chunk, in order; by `packet` what has a route there.
    pub(super) fn send(
        &mut self,
        chunk: &[Outgoing<'_>],
        listeners: &[Listener],
        mut packet: Option<&mut PacketPath>,
    ) -> SendStatus {
        // A transport is given no more at once.
        let (chunk, beyond) = chunk.split_at(chunk.len().min(CHUNK));
        match packet.as_deref_mut() {
            Some(packet) => self.prepare_frames(chunk, packet.routes()),
            None => self.prepare_for_udp(chunk, 0),
        }
        let mut sent = 0;
        while sent < chunk.len() {
            // Each call is for one socket: most relays have one, and for most others the receivers of a room are alike.
            let by = self.slots[sent].by;
            let alike = self.slots[sent..chunk.len()].iter();
            let end = sent + alike.take_while(|slot| slot.by == by).count();
            match by {
                SendBy::Udp(at) => {
                    let Some(listener) = listeners.get(usize::from(at)) else {
                        return SendStatus::Refused { sent };
                    };
                    let (count, stopped) = self.submit(listener.socket.as_raw_fd(), sent, end);
                    sent += count;
                    match stopped {
                        Ok(()) => {}
                        Err(error) if is_full(&error) => return SendStatus::WouldBlock { sent },
                        Err(_) => return SendStatus::Refused { sent },
                    }
                }
                SendBy::Packet => {
                    if let Some(packet) = packet.as_deref_mut() {
                        sent += self.submit_frames(packet, sent, end);
                    }
                    // The rest goes by the UDP socket.
                    self.prepare_for_udp(&chunk[sent..end], sent);
                }
            }
        }
        match beyond {
            [] => SendStatus::All,
            _ => SendStatus::WouldBlock { sent },
        }
    }

    /// Datagrams sent by the packet socket since the last call.
    pub(super) fn take_sent_by_packet(&mut self) -> u64 {
        std::mem::take(&mut self.sent_by_packet)
    }

    /// Prepares datagrams for the packet socket, or for the UDP sockets where there is no route.
    fn prepare_frames(&mut self, chunk: &[Outgoing<'_>], routes: &mut Routes) {
        routes.follow_generation();
        let mut summed = SummedBody::default();
        let slots = self.slots.iter_mut().zip(&mut self.headers);
        for (outgoing, (slot, header)) in chunk.iter().zip(slots) {
            let key = RouteKey::new(outgoing.to.local, outgoing.to.remote.ip());
            match routes.find(key) {
                Found::Frames(route) => {
                    slot.prepare_frame(outgoing, route, summed.sum(outgoing.body), header);
                }
                Found::Datagrams => slot.prepare_for_udp(outgoing, header),
                Found::Nothing => {
                    slot.prepare_for_udp(outgoing, header);
                    routes.ask(key);
                }
            }
        }
        routes.wake_resolver();
    }

    /// Prepares datagrams for the UDP sockets, from slot `at` on.
    fn prepare_for_udp(&mut self, datagrams: &[Outgoing<'_>], at: usize) {
        let slots = self.slots[at..].iter_mut().zip(&mut self.headers[at..]);
        for (outgoing, (slot, header)) in datagrams.iter().zip(slots) {
            slot.prepare_for_udp(outgoing, header);
        }
    }

    /// Sends frames that are prepared from `start` to `end`. Says how many were sent: those after them are to go by the UDP
    /// socket.
    ///
    /// When the device is full, or this socket's share of it, that one's queue takes what it can. So only a UDP socket ever
    /// says that there is no room, and waiting for room is waiting for it.
    fn submit_frames(&mut self, packet: &mut PacketPath, start: usize, end: usize) -> usize {
        let (count, stopped) = self.submit(packet.as_raw_fd(), start, end);
        self.sent_by_packet += count as u64;
        if stopped.is_err_and(|error| !is_full(&error)) {
            // An interface is down or gone, or has become too narrow: what is known is wrong.
            packet.routes().forget();
        }
        count
    }

    /// Sends the datagrams whose headers are prepared from `start` to `end` by one socket. Says how many were sent, and why
    /// not the next one.
    fn submit(&mut self, socket: RawFd, start: usize, end: usize) -> (usize, io::Result<()>) {
        let mut sent = start;
        while sent < end {
            // SAFETY: headers up to `end` were set for this chunk and point at live slots and at the chunk's bytes, which
            // the call only reads.
            let count = unsafe {
                libc::sendmmsg(
                    socket,
                    self.headers[sent..end].as_mut_ptr(),
                    (end - sent) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            if count >= 0 {
                sent += count as usize;
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return (sent - start, Err(error));
            }
        }
        (sent - start, Ok(()))
    }
}

impl Slot {
    /// Prepares it for the UDP socket.
    fn prepare_for_udp(&mut self, outgoing: &Outgoing<'_>, header: &mut libc::mmsghdr) {
        self.by = SendBy::Udp(outgoing.to.local);
        header.msg_hdr.msg_namelen = write_name(outgoing.to.remote, &mut self.name);
        header.msg_hdr.msg_name = (&raw mut self.name).cast();
        self.pieces[0] = piece(&outgoing.head);
        self.point_at(outgoing.body, header);
    }

    /// Prepares it for the packet socket.
    fn prepare_frame(
        &mut self,
        outgoing: &Outgoing<'_>,
        route: &Route,
        body_sum: Sum,
        header: &mut libc::mmsghdr,
    ) {
        self.by = SendBy::Packet;
        self.device = device_name(route);
        header.msg_hdr.msg_name = (&raw mut self.device).cast();
        header.msg_hdr.msg_namelen = DEVICE_NAME_LEN;
        let len = route.headers.write(
            outgoing.to.remote.port(),
            &outgoing.head,
            outgoing.len() - HEADER_LEN,
            body_sum,
            &mut self.head,
        );
        self.pieces[0] = piece(&self.head[..len]);
        self.point_at(outgoing.body, header);
    }

    /// Adds the shared pieces to the first one, and has the header point at all.
    fn point_at(&mut self, body: [&[u8]; 2], header: &mut libc::mmsghdr) {
        self.pieces[1] = piece(body[0]);
        self.pieces[2] = piece(body[1]);
        header.msg_hdr.msg_iov = self.pieces.as_mut_ptr();
        header.msg_hdr.msg_iovlen = if body[1].is_empty() { 2 } else { 3 };
    }
}

/// Bytes that the kernel is to read.
fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// True when there may be room later.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

/// The sum of a body that most receivers of a chunk share.
#[derive(Default)]
struct SummedBody<'a> {
    body: [&'a [u8]; 2],
    sum: Sum,
}

impl<'a> SummedBody<'a> {
    /// Sums the bytes, unless they are the ones that were summed last.
    fn sum(&mut self, body: [&'a [u8]; 2]) -> Sum {
        let is_same = |at: usize| std::ptr::eq(self.body[at], body[at]);
        if !(is_same(0) && is_same(1)) {
            let second = Sum::of(body[1]);
            self.sum = Sum::of(body[0]).and(match body[0].len() % 2 {
                0 => second,
                _ => second.at_odd_offset(),
            });
            self.body = body;
        }
        self.sum
    }
}
