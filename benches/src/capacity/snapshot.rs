//! How loaded the relays of each region are at a moment, and at the busiest.

use super::regions::REGIONS;
use super::relays::{Loaded, Relays};

/// How loaded the relays are at a moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub people: u64,
    pub rooms: u64,
    pub regions: Vec<RegionLoad>,
}

/// How loaded a region's relays are.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegionLoad {
    /// Relays that are there.
    pub relays: u32,
    /// Sessions of a relay: in the mean, at most.
    pub sessions: (f64, f64),
    /// How busy a relay's workers are, in cores of one: in the mean, and in the busiest relay's mean.
    pub cores: (f64, f64),
    /// The busiest worker of all, in cores.
    pub busiest_worker: f64,
    /// Datagrams that the relays send in a second.
    pub datagrams_per_s: u64,
}

/// A region at its busiest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peak {
    pub relays: u32,
    /// Cores that they use.
    pub cores: f64,
    /// Datagrams that they send in a second.
    pub datagrams_per_s: u64,
    pub sessions: u64,
}

impl RegionLoad {
    /// Adds a relay; the means are sums until all are there.
    fn add(&mut self, load: &Loaded) {
        let sessions = f64::from(load.sessions);
        self.relays += 1;
        self.sessions = (self.sessions.0 + sessions, self.sessions.1.max(sessions));
        self.cores = (self.cores.0 + load.mean, self.cores.1.max(load.mean));
        self.busiest_worker = self.busiest_worker.max(load.busiest);
        self.datagrams_per_s += load.datagrams_per_s;
    }
}

impl Snapshot {
    pub fn of(relays: &Relays, people: u64, rooms: u64) -> Self {
        let mut regions = vec![RegionLoad::default(); REGIONS.len()];
        for load in relays.loads() {
            regions[usize::from(load.region)].add(&load);
        }
        for region in &mut regions {
            let relays = f64::from(region.relays);
            region.sessions.0 /= relays;
            region.cores.0 /= relays;
        }
        Self {
            people,
            rooms,
            regions,
        }
    }

    /// Sessions of the fullest relay against the mean of its region, in the region where that is the most.
    pub fn sessions_ratio(&self) -> f64 {
        self.most(|load| load.sessions)
    }

    /// The same of processor time.
    pub fn cores_ratio(&self) -> f64 {
        self.most(|load| load.cores)
    }

    fn most(&self, of: impl Fn(&RegionLoad) -> (f64, f64)) -> f64 {
        let loads = self.regions.iter().map(of);
        let with_load = loads.filter(|(mean, _)| *mean > 0.0);
        with_load
            .map(|(mean, most)| most / mean)
            .fold(0.0, f64::max)
    }

    /// The busiest worker of all, in cores.
    pub fn busiest_worker(&self) -> f64 {
        self.regions
            .iter()
            .map(|load| load.busiest_worker)
            .fold(0.0, f64::max)
    }

    /// Datagrams that all relays send in a second.
    pub fn datagrams_per_s(&self) -> u64 {
        self.regions.iter().map(|load| load.datagrams_per_s).sum()
    }
}

impl Peak {
    /// Takes in how loaded the relays are now.
    pub fn note(peaks: &mut [Self], relays: &Relays) {
        let mut now = vec![Self::default(); peaks.len()];
        for load in relays.loads() {
            let region = &mut now[usize::from(load.region)];
            region.relays += 1;
            region.cores += load.cores;
            region.datagrams_per_s += load.datagrams_per_s;
            region.sessions += u64::from(load.sessions);
        }
        for (peak, now) in peaks.iter_mut().zip(now) {
            peak.relays = peak.relays.max(now.relays);
            peak.cores = peak.cores.max(now.cores);
            peak.datagrams_per_s = peak.datagrams_per_s.max(now.datagrams_per_s);
            peak.sessions = peak.sessions.max(now.sessions);
        }
    }
}
