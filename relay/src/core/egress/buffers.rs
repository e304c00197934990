//! The receive buffers and bundles of a worker, and their way back to the pools.

use std::sync::Arc;

use crate::core::bundle::{Bundle, BundlePool};
use crate::core::config::WorkerConfig;
use crate::core::crossing::Crossings;
use crate::core::packet::{Packet, PacketPool};

/// The pools of a worker.
pub(super) struct Buffers {
    worker: u8,
    packets: PacketPool,
    bundles: BundlePool,
    crossings: Arc<Crossings>,
}

impl Buffers {
    pub(super) fn new(config: &WorkerConfig, crossings: &Arc<Crossings>) -> Self {
        Self {
            worker: config.index,
            packets: PacketPool::new(config.index, config.buffers),
            bundles: BundlePool::default(),
            crossings: Arc::clone(crossings),
        }
    }

    pub(super) fn packets(&mut self) -> &mut PacketPool {
        &mut self.packets
    }

    /// Receive buffers that are free.
    pub(super) fn available(&self) -> usize {
        self.packets.available()
    }

    /// Gives a receive buffer back to the worker that owns it.
    pub(super) fn release(&mut self, packet: Box<Packet>) {
        if packet.owner == self.worker {
            self.packets.give(packet);
        } else {
            self.crossings.give_back(packet);
        }
    }

    /// Takes back the receive buffers that other workers have released.
    pub(super) fn take_back(&mut self) {
        while let Some(packet) = self.crossings.take_back(self.worker) {
            self.packets.give(packet);
        }
    }

    /// An empty bundle.
    pub(super) fn take_bundle(&mut self) -> Arc<Bundle> {
        self.bundles.take()
    }

    /// Remembers a bundle that other workers send too, to use it again after them.
    pub(super) fn lend_bundle(&mut self, bundle: &Arc<Bundle>) {
        self.bundles.lend(bundle);
    }

    /// Takes back a bundle, and the receive buffer that it holds, if no other worker still sends it.
    pub(super) fn release_bundle(&mut self, bundle: Arc<Bundle>) {
        if let Some(packet) = self.bundles.give(bundle) {
            self.release(packet);
        }
    }
}
