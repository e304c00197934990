//! Where people are, and when they are awake. All of it is a guess; what matters is that regions differ and that their
//! evenings do not coincide.

use std::f64::consts::TAU;

/// A region with relays of its own.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    /// Its name.
    pub name: &'static str,
    /// Share of the world's people.
    pub share: f64,
    /// Hours that its clocks are ahead of UTC.
    pub ahead: f64,
}

pub const REGIONS: [Region; 12] = [
    region("us-east", 0.17, -5.0),
    region("us-central", 0.08, -6.0),
    region("us-west", 0.10, -8.0),
    region("brazil", 0.09, -3.0),
    region("europe-west", 0.12, 0.0),
    region("europe-central", 0.17, 1.0),
    region("europe-east", 0.06, 3.0),
    region("gulf", 0.03, 3.0),
    region("india", 0.05, 5.5),
    region("southeast-asia", 0.06, 8.0),
    region("japan-korea", 0.05, 9.0),
    region("australia", 0.02, 10.0),
];

/// Most people of a region talk at this hour of its own clocks.
const BUSIEST_HOUR: f64 = 21.0;
/// How much the day swings: at its quietest a region has (1 - SWING) / (1 + SWING) of its busiest, a fifth.
const SWING: f64 = 0.65;
/// Hours of a day.
pub const DAY_HOURS: f64 = 24.0;

const fn region(name: &'static str, share: f64, ahead: f64) -> Region {
    Region { name, share, ahead }
}

impl Region {
    /// People who talk at this hour of UTC, as a share of those at the region's busiest.
    fn awake(&self, hour: f64) -> f64 {
        (1.0 + SWING * self.phase(hour).cos()) / (1.0 + SWING)
    }

    /// How that changes in an hour.
    fn waking(&self, hour: f64) -> f64 {
        -SWING * self.phase(hour).sin() * TAU / DAY_HOURS / (1.0 + SWING)
    }

    fn phase(&self, hour: f64) -> f64 {
        (hour + self.ahead - BUSIEST_HOUR) * TAU / DAY_HOURS
    }
}

/// The world's day, in people.
pub struct World {
    /// People of each region at its own busiest.
    people: Vec<f64>,
    /// The hour of UTC at which most people talk.
    pub busiest_hour: f64,
    /// People of all hours, in the mean.
    pub mean_people: f64,
}

impl World {
    /// A world in which so many people talk at its busiest moment.
    pub fn new(people: u32) -> Self {
        const STEPS: u32 = 24 * 60;
        let hours = (0..STEPS).map(|minute| f64::from(minute) / 60.0);
        let shares: Vec<(f64, f64)> = hours.map(|hour| (hour, total(hour))).collect();
        let busiest = shares.iter().fold(
            (0.0, 0.0),
            |a: (f64, f64), b| if b.1 > a.1 { *b } else { a },
        );
        let mean = shares.iter().map(|(_, share)| share).sum::<f64>() / f64::from(STEPS);
        let scale = f64::from(people) / busiest.1;
        Self {
            people: REGIONS.iter().map(|region| region.share * scale).collect(),
            busiest_hour: busiest.0,
            mean_people: mean * scale,
        }
    }

    /// People of a region who begin to talk in a second at this hour of UTC, when each talks for `stay_hours`.
    pub fn arrivals_per_s(&self, region: usize, hour: f64, stay_hours: f64) -> f64 {
        let shape = &REGIONS[region];
        let per_hour = shape.awake(hour) / stay_hours + shape.waking(hour);
        self.people[region] * per_hour.max(0.0) / 3600.0
    }

    /// Shares `count` relays out among the regions by their people, each at least one.
    pub fn share_out(&self, count: u16) -> Vec<u16> {
        let left = count.saturating_sub(REGIONS.len() as u16);
        let total: f64 = self.people.iter().sum();
        let wished: Vec<f64> = self
            .people
            .iter()
            .map(|people| people / total * f64::from(left))
            .collect();
        let mut shares: Vec<u16> = wished.iter().map(|wished| *wished as u16 + 1).collect();
        // What rounding left over goes to those that it took most from.
        let mut by_rest: Vec<usize> = (0..shares.len()).collect();
        by_rest.sort_by(|a, b| wished[*b].fract().total_cmp(&wished[*a].fract()));
        let rest = usize::from(count)
            - shares
                .iter()
                .map(|share| usize::from(*share))
                .sum::<usize>();
        for region in by_rest.into_iter().take(rest) {
            shares[region] += 1;
        }
        shares
    }
}

fn total(hour: f64) -> f64 {
    let people = |region: &Region| region.share * region.awake(hour);
    REGIONS.iter().map(people).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_regions_are_the_world() {
        let shares: f64 = REGIONS.iter().map(|region| region.share).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        let relays: u16 = World::new(1_000_000).share_out(1000).iter().sum();
        assert_eq!(relays, 1000);
        assert_eq!(World::new(1).share_out(12), [1; 12]);
    }

    #[test]
    fn the_busiest_moment_has_as_many_people_as_were_asked_for() {
        let world = World::new(4_000_000);
        let people = |region: &Region| {
            let scale = world.people[0] / REGIONS[0].share;
            region.share * scale * region.awake(world.busiest_hour)
        };
        let people: f64 = REGIONS.iter().map(people).sum();
        assert!((people - 4_000_000.0).abs() < 1.0, "{people}");
        assert!(world.mean_people < people);
    }
}
