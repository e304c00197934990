//! A fleet in figures: a day of millions of people, with the placement that control nodes use, and the arithmetic of what
//! they ask of control and of its database.
//!
//! * [`assumptions`]: what is taken as given, each with where it comes from;
//! * [`rooms`]: how large rooms are, who speaks in them, what that costs a relay;
//! * [`regions`]: where people are, and when they are awake;
//! * [`relays`]: the relays with their workers, what they report, and where a room goes;
//! * [`snapshot`]: how loaded they are at a moment;
//! * [`day`]: people come, rooms grow, relays are lost, their rooms go elsewhere;
//! * [`statements`]: what requests send to a database;
//! * [`demand`]: what all that asks of control, of the database and of the network;
//! * [`report`]: the table and the figures.

pub mod assumptions;
pub mod day;
pub mod demand;
pub mod regions;
pub mod relays;
pub mod report;
pub mod rooms;
pub mod snapshot;
pub mod statements;

pub use assumptions::Assumptions;
pub use report::Report;

/// Lives through the day, and counts.
///
/// # Errors
///
/// A sentence for the user when the assumptions contradict one another.
pub fn run(assumptions: &Assumptions) -> Result<Report, String> {
    assumptions.check()?;
    let day = day::live(assumptions);
    let demand = demand::Demand::of(assumptions, &day);
    Ok(Report {
        assumptions: assumptions.clone(),
        day,
        demand,
    })
}
