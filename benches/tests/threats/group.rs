//! Messages to the delivery service that a participant may not send, or that are hostile in content.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use confab_e2ee::mls::FromMember;
use confab_e2ee::mls::suite::Suite;
use confab_e2ee::mls::wire::at;
use confab_protocol::wire::{self, from_member::Kind};
use tokio::time::Instant;

use super::hostile::{Hostile, Tamper};
use super::scene::{ROOM, Scene};

const SECOND: Duration = Duration::from_secs(1);

/// While the attacker does this to its messages, others come, hear, and go; no voice stops.
async fn others_go_on_under(tamper: Tamper) {
    let mut scene = Scene::new().await;
    let mut eve = Hostile::join(&scene.stage.fleet, "eve", ROOM).await;
    eve.tamper = tamper;
    let tampered = eve.tampered.clone();
    let from = Instant::now();
    let taking_part = tokio::spawn(async move {
        loop {
            eve.take_part(SECOND).await;
        }
    });
    // Each change is a commit, and each second or third is asked of the attacker.
    for name in ["cem", "dan", "eli", "fay"] {
        let mut guest = scene.guest(name).await;
        guest.leave().await.unwrap();
    }
    scene.ann_was_heard_since(from);
    assert!(tampered.load(Relaxed) > 0, "the attacker has done nothing");
    taking_part.abort();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_commits_stops_nobody() {
    let never: Tamper = Box::new(|message| match message {
        FromMember::Committed { .. } | FromMember::CannotCommit { .. } => Vec::new(),
        other => vec![other],
    });
    others_go_on_under(never).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_with_flipped_bits_stop_nobody() {
    let mut turn = 0;
    let flipping: Tamper = Box::new(move |message| match message {
        FromMember::Committed {
            group,
            epoch,
            mut commit,
            mut welcome,
        } => {
            turn += 1;
            let bytes = if turn % 3 == 0 {
                &mut welcome
            } else {
                &mut commit
            };
            // In the head, in what is encrypted to members, in the tags at the end.
            let at = [bytes.len() / 2, 20, bytes.len().saturating_sub(10)][turn % 3];
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
            vec![FromMember::Committed {
                group,
                epoch,
                commit,
                welcome,
            }]
        }
        other => vec![other],
    });
    others_go_on_under(flipping).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_always_says_that_it_failed_stops_nobody() {
    let failing: Tamper = Box::new(|message| match message {
        FromMember::Merged { group, epoch } => vec![FromMember::Failed { group, epoch }],
        other => vec![other],
    });
    others_go_on_under(failing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_any_content_stop_nobody() {
    let mut scene = Scene::new().await;
    let mut eve = Hostile::join(&scene.stage.fleet, "eve", ROOM).await;
    scene.ben_hears("ann", 25).await;
    let from = Instant::now();
    let group = eve.member.group().unwrap();
    for round in 0..20u64 {
        let noise: Bytes = (0..3000u64)
            .map(|n| (n * n + round) as u8)
            .collect::<Vec<_>>()
            .into();
        let epoch = [round, 0, u64::MAX][round as usize % 3];
        let here = Some(at(group, epoch));
        let all = [
            Kind::KeyPackage(wire::KeyPackage {
                suite: Suite::PostQuantum.number().into(),
                key_package: noise.clone(),
            }),
            Kind::Created(wire::GroupCreated {
                group_id: Bytes::copy_from_slice(&group.to_bytes()),
                group_info: noise.clone(),
                tree: noise.clone(),
            }),
            Kind::Commit(wire::GroupCommit {
                at: here.clone(),
                commit: noise.clone(),
                welcome: noise.clone(),
            }),
            Kind::CannotCommit(wire::CannotCommit {
                at: here.clone(),
                refused: (0..500).collect(),
            }),
            Kind::Reached(at(group, epoch)),
            Kind::Failed(at(group, epoch)),
            Kind::Behind(at(group, epoch)),
            Kind::Text(wire::GroupText {
                at: here,
                message: noise,
            }),
        ];
        for kind in all {
            eve.send(wire::FromMember { kind: Some(kind) }).await;
        }
        eve.take_part(Duration::from_millis(20)).await;
    }
    let guest = scene.guest("cem").await;
    drop(guest);
    scene.ann_was_heard_since(from);
    scene.end().await;
}
