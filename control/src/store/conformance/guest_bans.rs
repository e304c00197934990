//! Guests' devices that may not come.

use super::*;

pub(super) async fn run(store: &Arc<dyn Store>) {
    a_guest_s_device_is_banned_from_one_conference_until_that_is_lifted_or_over(store).await;
    bans_go_with_their_conference(store).await;
}

fn some_ban(conference: &ConferenceRecord) -> GuestBan {
    let guest = some_account();
    GuestBan {
        conference: conference.id,
        device: DevicePublicKey(random::bytes()),
        account: guest.id,
        username: guest.username,
        since: NOW,
    }
}

async fn a_guest_s_device_is_banned_from_one_conference_until_that_is_lifted_or_over(
    store: &Arc<dyn Store>,
) {
    let owner = make_account(store).await;
    let conference = make_conference(store, &owner).await;
    let other = make_conference(store, &owner).await.id;
    let (id, one, two) = (conference.id, some_ban(&conference), some_ban(&conference));
    for ban in [&one, &two, &one] {
        let banned = store.ban_guest(ban.clone()).await;
        assert_eq!(banned, Ok(()), "it may be repeated");
    }
    let found = store.guest_ban(id, one.device, NOW).await;
    assert_eq!(found, Ok(Some(one.clone())));
    assert_eq!(store.guest_ban(other, one.device, NOW).await, Ok(None));
    let mut both = vec![one.clone(), two.clone()];
    both.sort_by_key(|ban| ban.device);
    assert_eq!(store.guest_bans(id, NOW).await, Ok(both));
    let over = NOW.after(GUEST_BAN_LIFE);
    assert_eq!(store.guest_ban(id, one.device, over).await, Ok(None));
    assert_eq!(store.guest_bans(id, over).await, Ok(Vec::new()));
    // The same device under another name.
    let again = GuestBan {
        device: two.device,
        since: NOW.after(DAY),
        ..some_ban(&conference)
    };
    assert_eq!(store.ban_guest(again.clone()).await, Ok(()));
    let found = store.guest_ban(id, two.device, over).await;
    assert_eq!(found, Ok(Some(again.clone())));
    for _ in 0..2 {
        assert_eq!(store.lift_guest_ban(id, one.device).await, Ok(()));
    }
    assert_eq!(store.guest_bans(id, NOW).await, Ok(vec![again]));
}

async fn bans_go_with_their_conference(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    let conference = make_conference(store, &owner).await;
    let ban = some_ban(&conference);
    assert_eq!(store.ban_guest(ban.clone()).await, Ok(()));
    assert_eq!(store.delete_conference(conference.id, NOW).await, Ok(()));
    let found = store.guest_ban(conference.id, ban.device, NOW).await;
    assert_eq!(found, Ok(None));
    assert_eq!(store.ban_guest(ban).await, Err(StoreError::NotFound));
}
