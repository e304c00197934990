//! A ramp over a real relay: measure, decide, open more rooms, and again.

use std::io;
use std::time::Duration;

use super::Shape;
use super::crowd::Crowd;
use super::ramp::{End, Limit, Next, Ramp};
use super::step::Measured;
use super::target::{LoadError, Target};

pub struct Climb {
    /// The first step; the crowd has these rooms already.
    pub from: Shape,
    pub ramp: Ramp,
    /// Time before each measurement that does not count.
    pub warm_up: Duration,
    /// Time of each measurement.
    pub step_time: Duration,
}

impl Climb {
    /// Climbs to the end; gives why it ended, and the last step that was good. `told` gets each measurement.
    pub async fn run(
        mut self,
        target: &Target,
        crowd: &mut Crowd,
        mut told: impl FnMut(&Measured) -> io::Result<()>,
    ) -> Result<(End, Option<Measured>), LoadError> {
        let sources = target.sources();
        let mut shape = self.from;
        loop {
            tokio::time::sleep(self.warm_up).await;
            let measured = Measured::over(self.step_time, crowd, &sources, shape).await;
            crowd.check()?;
            target.check()?;
            let measured = match measured {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Ok((End::Knee(Limit::Silence), self.ramp.last_good().cloned()));
                }
                measured => measured?,
            };
            told(&measured)?;
            match self.ramp.next(&measured) {
                Next::Grow(rooms) => {
                    let more = Shape {
                        rooms: rooms - shape.rooms,
                        ..shape
                    };
                    let sessions = target.open(more, shape.rooms).await?;
                    match tokio::task::block_in_place(|| crowd.add(sessions)) {
                        // Near the knee so much waits in the queues that new sessions hear nothing in time.
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                            return Ok((
                                End::Knee(Limit::NoAnswer),
                                self.ramp.last_good().cloned(),
                            ));
                        }
                        added => added?,
                    }
                    shape.rooms = rooms;
                }
                Next::Again => {}
                Next::Done(end) => return Ok((end, self.ramp.last_good().cloned())),
            }
        }
    }
}
