//! Checks after the load has ended, while all nodes run.

use std::collections::BTreeMap;

use super::ledger::Ledger;
use super::*;

/// Concurrent reads.
const AT_ONCE: usize = 64;

pub(super) async fn nothing_is_lost_or_owned_twice(store: &CqlStore, ledger: &Ledger) {
    let acknowledged = std::mem::take(&mut *ledger.acknowledged());
    println!(
        "acknowledged: {} accounts, {} conferences, {} sessions, {} standings, {} homes",
        acknowledged.accounts.len(),
        acknowledged.conferences.len(),
        acknowledged.sessions.len(),
        acknowledged.standings.len(),
        acknowledged.homes.len()
    );
    let (mut names, mut slugs, mut eras) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for account in &acknowledged.accounts {
        let twice = names.insert(account.username.as_str(), account.id);
        assert_eq!(twice, None, "{} is owned twice", account.username);
    }
    for conference in &acknowledged.conferences {
        let twice = slugs.insert(conference.slug.as_str(), conference.id);
        assert_eq!(twice, None, "{} is owned twice", conference.slug);
    }
    for (conference, home) in &acknowledged.homes {
        let twice = eras.insert((*conference.as_bytes(), home.era), home);
        assert_eq!(twice, None, "an era is owned twice");
    }
    each(&acknowledged.accounts, async |account| {
        let found = Ok(Some(account.clone()));
        assert_eq!(store.account(account.id).await, found);
        let name = account.username.clone();
        assert_eq!(store.account_by_username(name).await, found);
        let email = email_of(account);
        assert_eq!(store.account_by_email(email).await, found);
    })
    .await;
    each(&acknowledged.conferences, async |conference| {
        let found = Ok(Some(conference.clone()));
        assert_eq!(store.conference(conference.id).await, found);
        let slug = conference.slug.clone();
        assert_eq!(store.conference_by_slug(slug).await, found);
        let owner = store.member(conference.id, conference.owner).await;
        assert!(owner.is_ok_and(|owner| owner.is_some()));
    })
    .await;
    each(&acknowledged.sessions, async |(id, known)| {
        let found = store.session(*id, NOW).await.expect("it answers");
        let generation = found.expect("it was acknowledged").generation;
        assert!(known.candidates.contains(&generation), "{generation}");
    })
    .await;
    each(
        &acknowledged.standings,
        async |(conference, account, known)| {
            let found = store.member(*conference, *account).await;
            let found = found.expect("it answers");
            assert!(known.candidates.contains(&found), "{found:?}");
            let listed = store.conferences_of(*account, None, 10).await;
            let listed = listed.map(|page| !page.items.is_empty());
            assert_eq!(listed, Ok(found.is_some()));
        },
    )
    .await;
    for ((conference, era), home) in &eras {
        let conference = ConferenceId::new(*conference);
        let found = store.home(conference).await.expect("it answers");
        let found = found.expect("it was acknowledged");
        assert!(found.era >= *era, "an era fell");
        assert!(found.era > *era || found == **home, "{found:?}");
    }
    // For the look through the other store.
    *ledger.acknowledged() = acknowledged;
}

async fn each<T>(items: &[T], check: impl AsyncFn(&T)) {
    for some in items.chunks(AT_ONCE) {
        join_all(some.iter().map(|item| check(item))).await;
    }
}
