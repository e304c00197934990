//! Members that come and go as often as they can: what that costs the others.

use confab_e2ee::mls::ToMember;
use confab_e2ee::mls::delivery::Output;
use confab_protocol::control::JoinId;

use super::hall::{Hall, SECOND, TICK};

/// Commits to one member, in bytes: so many at once, and then so many a second.
const BURST: usize = 512 * 1024;
const PER_SECOND: usize = 32_000;
/// More than one commit of these groups has.
const COMMIT: usize = 40_000;
/// A Remove does not wait for the budget; each needs an Add before it, which does.
const REMOVES: usize = 2;
const SECONDS: usize = 60;

/// Bytes of commits that were sent to a member.
fn commit_bytes(hall: &Hall, to: JoinId) -> usize {
    let size = |output: &Output| match output {
        Output::Send(join, ToMember::Commit(commit)) if *join == to => commit.size(),
        _ => 0,
    };
    hall.outputs.iter().map(size).sum()
}

/// Time until somebody who joins now agrees with the others, in ticks.
fn ticks_to_join(hall: &mut Hall, mut each_tick: impl FnMut(&mut Hall)) -> usize {
    let late = hall.join();
    let mut ticks = 0;
    while hall.members[&late].group().is_none() && ticks < 1000 {
        each_tick(hall);
        hall.run(TICK);
        ticks += 1;
    }
    ticks
}

#[test]
fn who_comes_and_goes_all_the_time_spends_no_more_than_a_members_budget() {
    let (mut hall, joins) = Hall::of(10);
    let before = commit_bytes(&hall, joins[0]);
    let mut guest = None;
    let mut come_and_go = move |hall: &mut Hall| match guest {
        None => guest = Some(hall.join()),
        Some(join) if hall.members[&join].group().is_some() => {
            hall.leave(join);
            guest = None;
        }
        Some(_) => {}
    };
    let end = hall.now + SECONDS as u32 * SECOND;
    while hall.now < end {
        // Numbers of participants are reused: there are only 255 in a test.
        hall.next = 100 + hall.next % 100;
        come_and_go(&mut hall);
        hall.run(TICK);
    }
    let spent = commit_bytes(&hall, joins[0]) - before;
    assert!(
        spent <= BURST + SECONDS * PER_SECOND + REMOVES * COMMIT,
        "{spent}"
    );
    hall.next = 220;
    let ticks = ticks_to_join(&mut hall, come_and_go);
    assert!(ticks <= 300, "a newcomer waited {ticks} ticks");
}
