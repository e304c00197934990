//! Durations of operations in a database with many users: `cargo test -p confab-control -- --ignored operations_take`.

use confab_protocol::control::room::Role;

use super::*;

/// `CONFAB_TEST_USERS` takes another count.
const USERS: u64 = 100_000;
const CONFERENCES: u64 = 500;
/// Users that are created at the same time.
const AT_ONCE: u64 = 24;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn operations_take_milliseconds() {
    with_store(async |store| {
        let owner = some_account();
        assert_eq!(store.create_account(owner.clone()).await, Ok(()));
        let mut conferences = Vec::new();
        for _ in 0..CONFERENCES {
            let conference = some_conference(&owner);
            assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
            conferences.push(conference.id);
        }
        let users =
            std::env::var("CONFAB_TEST_USERS").map_or(USERS, |text| text.parse().expect("a count"));
        let conferences = Arc::new(conferences);
        let since = Instant::now();
        let makers: Vec<_> = (0..AT_ONCE)
            .map(|maker| {
                let (store, conferences) = (store.clone(), conferences.clone());
                tokio::spawn(async move {
                    for number in (maker..users).step_by(AT_ONCE as usize) {
                        let conference = conferences[(number * 7919 % CONFERENCES) as usize];
                        make_user(&store, number, conference).await;
                    }
                })
            })
            .collect();
        for maker in makers {
            maker.await.expect("it ends");
        }
        println!("{users} users in {:?}", since.elapsed());
        latencies(&store, conferences[0]).await;
    })
    .await;
}

async fn make_user(store: &CqlStore, number: u64, conference: ConferenceId) {
    let now = UnixMillis(NOW.0 + number);
    let id = AccountId::new(crate::random::time_ordered_id(now));
    let hex = data_encoding::HEXLOWER.encode(&id.as_bytes()[11..]);
    let account = AccountRecord {
        id,
        username: format!("{}{hex}", number % 7).parse().expect("a name"),
        email: Some(format!("{hex}@mail.example").parse().expect("an address")),
        created: now,
        ..some_account()
    };
    let session = SessionRecord {
        device: "windows".parse().expect("a name"),
        created: now,
        rotated: now,
        ..some_session(&account, now.after(Duration::from_secs(30 * 24 * 3600)))
    };
    let standing = Standing {
        revision: 0,
        role: Role::Member,
        muted: false,
        since: now,
    };
    store.create_account(account).await.expect("an account");
    store.create_session(session).await.expect("a session");
    let added = store.add_member(conference, id, standing).await;
    added.expect("a membership");
}

/// One after the other, on a warm database.
async fn latencies(store: &CqlStore, conference: ConferenceId) {
    let mut times: Vec<(&str, Vec<Duration>)> = [
        "create_account",
        "account_by_username",
        "create_session",
        "session",
        "rotate_session",
        "mark_used",
        "add_member",
        "member",
        "change_member",
        "members",
        "count_members",
        "home",
        "write_home",
        "beat",
        "nodes",
        "remove_member",
        "end_session",
        "delete_account",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    let mut era = 0;
    for _ in 0..200 {
        let account = some_account();
        let session = some_session(&account, NOW.after(Duration::from_secs(3600)));
        let rotation = Rotation {
            secret_hash: [1; 16],
            rotated: NOW,
            expires: session.expires,
        };
        let old = Standing {
            revision: 0,
            role: Role::Member,
            muted: false,
            since: NOW,
        };
        let new = Standing { muted: true, ..old };
        let mut at = 0;
        macro_rules! time {
            ($operation:expr) => {{
                let since = Instant::now();
                $operation.await.expect("it is done");
                times[at].1.push(since.elapsed());
                at += 1;
            }};
        }
        time!(store.create_account(account.clone()));
        time!(store.account_by_username(account.username.clone()));
        time!(store.create_session(session.clone()));
        time!(store.session(session.id, NOW));
        time!(store.rotate_session(session.id, 0, rotation));
        time!(store.mark_used(session.id, 1));
        time!(store.add_member(conference, account.id, old));
        time!(store.member(conference, account.id));
        time!(store.change_member(conference, account.id, old, new));
        time!(store.members(conference, None, 100));
        time!(store.count_members(conference));
        time!(store.home(conference));
        let home = (era > 0).then(|| owned(era));
        era += 1;
        time!(store.write_home(conference, home, owned(era)));
        let node = NodeRecord {
            run: NodeRun::new("one".parse().expect("a name")),
            counter: era,
            cluster: "10.0.0.1:4433".to_owned(),
            public: vec!["voice.example.org:443".to_owned()],
        };
        time!(store.beat(node));
        time!(store.nodes());
        time!(store.remove_member(conference, account.id, new));
        time!(store.end_session(account.id, session.id));
        time!(store.delete_account(account.id, NOW));
        assert_eq!(at, times.len());
    }
    for (name, times) in &mut times {
        times.sort();
        println!(
            "{name}: p50 {:?}, p99 {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}
