//! Load for a real relay over real sockets: rooms, members and speakers, and what became of what they said.
//!
//! * [`rig`]: a relay of its own, commanded directly;
//! * [`crowd`]: the members: few sockets, many sessions, speakers at random phases;
//! * [`cpu`]: what a process has used of its cores;
//! * [`latency`]: how long frames stayed in the relay, by its own histogram;
//! * [`pace`]: when speakers speak.

pub mod cpu;
pub mod crowd;
pub mod latency;
pub mod pace;
pub mod rig;

/// Who is in which room.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Rooms.
    pub rooms: u32,
    /// Members of each.
    pub members: u16,
    /// How many of them speak, each 50 frames a second.
    pub speakers: u16,
}

impl Shape {
    /// Frames that the members of all rooms are to receive in a second.
    pub fn frames_out_per_second(&self) -> u64 {
        u64::from(self.rooms) * u64::from(self.speakers) * 50 * (u64::from(self.members) - 1)
    }
}
