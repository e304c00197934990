//! Load for a real relay over real sockets: rooms, members and speakers, and what became of what they said.
//!
//! * [`rig`]: a relay of its own, commanded directly;
//! * [`network`]: what is between the two;
//! * [`deployment`]: relays that stand already, through control's public API;
//! * [`group`]: their members' keys;
//! * [`crowd`]: the members: few sockets, many sessions, speakers at random phases;
//! * [`voice`]: what one member sends;
//! * [`reader`]: reads what arrives;
//! * [`pace`]: when speakers speak;
//! * [`cores`]: which threads run where;
//! * [`cpu`]: what a process has used of its cores;
//! * [`metrics`]: what a relay tells of itself;
//! * [`latency`]: how long frames stayed in the relay, by its own histogram;
//! * [`times`]: how long other things took;
//! * [`step`]: one measurement of all that;
//! * [`ramp`]: how many rooms the next one has, and when it is enough;
//! * [`climb`]: a ramp over a real relay;
//! * [`target`]: what is measured;
//! * [`flags`] and [`run`]: the program `confab-load`.

pub mod climb;
pub mod cores;
pub mod cpu;
pub mod crowd;
pub mod deployment;
pub mod flags;
pub mod group;
pub mod latency;
pub mod metrics;
pub mod network;
pub mod pace;
pub mod ramp;
pub mod reader;
pub mod rig;
pub mod run;
pub mod step;
pub mod target;
pub mod times;
pub mod voice;

/// The members of each room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub rooms: u32,
    pub members: u16,
    /// How many of them speak, each 50 frames a second.
    pub speakers: u16,
}

impl Shape {
    /// Frames that the members of all rooms are to receive in a second.
    pub fn frames_out_per_second(&self) -> u64 {
        self.frames_in_per_second() * (u64::from(self.members) - 1)
    }

    /// Frames that the speakers of all rooms send in a second.
    pub fn frames_in_per_second(&self) -> u64 {
        u64::from(self.rooms) * u64::from(self.speakers) * 50
    }

    /// Members of all rooms.
    pub fn people(&self) -> u64 {
        u64::from(self.rooms) * u64::from(self.members)
    }
}
