//! Storage of a user on disk: an account with one session and one membership, all tables and indexes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_control::clock::{Clock, UnixMillis};
use confab_control::domain::PasswordHash;
use confab_control::random;
use confab_control::store::cql::CqlStore;
use confab_control::store::cql::config::{CqlAddress, CqlConfig};
use confab_control::store::sqlite::SqliteStore;
use confab_control::store::{
    AccountKind, AccountRecord, ConferenceRecord, SessionId, SessionRecord, Standing, Store,
    StoreError,
};
use confab_protocol::control::ConferenceId;
use confab_protocol::control::room::{Role, Visibility};
use confab_testdb::{self as testdb, Node};

use super::errors::ControlError;
use crate::figures::{Figure, Goal};

/// Users are members of one of these each.
const CONFERENCES: u32 = 500;
/// Users that are made at the same time.
const AT_ONCE: u32 = 24;
/// Limit of bytes for a user, by design.
const MOST: Goal = Goal::AtMost(428.0);
/// Conditional writes that making a user takes: two names, the account, the session, the place in a list, the standing.
const CONDITIONAL: f64 = 6.0;
/// Forgotten after hours, however many users there are.
const JOURNAL: &str = "unfinished";

pub async fn of_file(users: u32) -> Result<Vec<Figure>, ControlError> {
    let scratch = confab_testdb::scratch()?;
    let file = scratch.path().join("size.sqlite");
    let (before, conferences) = {
        let store = SqliteStore::open(&file)?;
        let conferences = conferences(&store).await?;
        drop(store);
        (closed(&file).await?, conferences)
    };
    let store = Arc::new(SqliteStore::open(&file)?);
    make_users(store.clone(), &conferences, users).await?;
    drop(store);
    let bytes = closed(&file).await?.saturating_sub(before) as f64 / f64::from(users);
    let name = "control.bytes_per_user.sqlite";
    Ok(vec![Figure::new(name, bytes, "bytes", MOST)])
}

/// Of a database: its files once all is in them, and those files when they have been merged. And the conditional writes that it did
/// in a second meanwhile.
pub async fn of_database(
    database: &Node,
    users: u32,
    progress: &impl Fn(&str),
) -> Result<Vec<Figure>, ControlError> {
    let address: CqlAddress = testdb::fresh_keyspace(&database.address())
        .parse()
        .map_err(|_| ControlError::Other("an address of the bench is no address"))?;
    let keyspace = address.keyspace.clone();
    let bytes = || {
        let tables = database.tables(&keyspace)?;
        let of_users = tables.into_iter().filter(|(name, _)| name != JOURNAL);
        Ok::<_, ControlError>(of_users.collect::<Vec<_>>())
    };
    let tool = |command| tokio::task::block_in_place(|| database.nodetool(command));
    let store = Arc::new(CqlStore::open(&CqlConfig::local(address)).await?);
    let conferences = conferences(store.as_ref()).await?;
    // What was merged into other files stays for a moment, and would be counted twice.
    tool("disableautocompaction")?;
    tool("flush")?;
    let before = bytes()?;
    let began = Instant::now();
    make_users(store, &conferences, users).await?;
    let per_s = f64::from(users) * CONDITIONAL / began.elapsed().as_secs_f64();
    tool("flush")?;
    let flushed = bytes()?;
    tool("compact")?;
    let compacted = bytes()?;
    let each =
        |after: &[(String, u64)]| sum(after).saturating_sub(sum(&before)) as f64 / f64::from(users);
    for (when, after) in [
        ("after a flush", &flushed),
        ("after a compaction", &compacted),
    ] {
        for (table, bytes) in after {
            let each = *bytes as f64 / f64::from(users);
            progress(&format!("{when}: {table} {each:.1} bytes a user"));
        }
    }
    Ok(vec![
        Figure::new("control.bytes_per_user.cql", each(&flushed), "bytes", MOST),
        Figure::new(
            "control.bytes_per_user.cql.compacted",
            each(&compacted),
            "bytes",
            Goal::None,
        ),
        Figure::new("control.conditional_writes_per_s", per_s, "1/s", Goal::None),
    ])
}

fn sum(tables: &[(String, u64)]) -> u64 {
    tables.iter().map(|(_, bytes)| bytes).sum()
}

/// The file's length when nobody has it open any more, and all is in it.
async fn closed(file: &Path) -> Result<u64, ControlError> {
    const DEADLINE: Duration = Duration::from_secs(30);
    let log = file.with_extension("sqlite-wal");
    let began = Instant::now();
    // The store's threads end by themselves; the last one takes the log with it.
    while log.exists() && began.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let of_log = std::fs::metadata(&log).map_or(0, |about| about.len());
    Ok(std::fs::metadata(file)?.len() + of_log)
}

async fn conferences(store: &dyn Store) -> Result<Arc<[ConferenceId]>, ControlError> {
    let now = Clock::System.now();
    let owner = account(0, now)?;
    store.create_account(owner.clone()).await?;
    let mut made = Vec::new();
    for number in 0..CONFERENCES {
        let conference = ConferenceRecord {
            id: ConferenceId::new(random::time_ordered_id(now)),
            slug: parsed(&format!("conference-{number}"))?,
            title: parsed("A conference of the bench")?,
            visibility: Visibility::Public,
            owner: owner.id,
            owner_name: owner.username.clone(),
            created: now,
            region: None,
            revision: 0,
        };
        made.push(conference.id);
        store.create_conference(conference).await?;
    }
    Ok(made.into())
}

async fn make_users(
    store: Arc<dyn Store>,
    conferences: &Arc<[ConferenceId]>,
    users: u32,
) -> Result<(), ControlError> {
    let now = Clock::System.now();
    let mut makers = tokio::task::JoinSet::new();
    for maker in 0..AT_ONCE {
        let (store, conferences) = (store.clone(), conferences.clone());
        makers.spawn(async move {
            for number in (maker + 1..=users).step_by(AT_ONCE as usize) {
                let at = u64::from(number) * 7919 % u64::from(CONFERENCES);
                let now = UnixMillis(now.0 + u64::from(number));
                make_user(store.as_ref(), number, conferences[at as usize], now).await?;
            }
            Ok::<_, ControlError>(())
        });
    }
    while let Some(made) = makers.join_next().await {
        made??;
    }
    Ok(())
}

async fn make_user(
    store: &dyn Store,
    number: u32,
    conference: ConferenceId,
    now: UnixMillis,
) -> Result<(), ControlError> {
    let account = account(number, now)?;
    let id = account.id;
    let session = SessionRecord {
        id: SessionId(random::time_ordered_id(now)),
        account: id,
        generation: 0,
        secret_hash: random::bytes(),
        used: true,
        device: parsed("windows")?,
        created: now,
        rotated: now,
        expires: now.after(Duration::from_secs(30 * 24 * 3600)),
    };
    let standing = Standing {
        revision: 0,
        role: Role::Member,
        muted: false,
        since: now,
    };
    store.create_account(account).await?;
    store.create_session(session).await?;
    Ok(store.add_member(conference, id, standing).await?)
}

/// Names of ten and of some twenty bytes.
fn account(number: u32, now: UnixMillis) -> Result<AccountRecord, ControlError> {
    // In no order, as user names are.
    let scrambled = number.wrapping_mul(0x9E37_79B1);
    let mut hash = [1; 60];
    random::fill(&mut hash[12..]);
    let hash = PasswordHash::from_bytes(&hash);
    let hash = hash.ok_or(ControlError::Store(StoreError::Corrupt("a hash")))?;
    let name = parsed(&format!("u{scrambled:08x}x"))?;
    Ok(AccountRecord {
        email: Some(parsed(&format!("{scrambled:08x}@mail.example"))?),
        birthday: Some(parsed("2004-02-29")?),
        ..AccountRecord::new(AccountKind::Person, name, hash, now)
    })
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, ControlError> {
    text.parse()
        .map_err(|_| ControlError::Other("a name of the bench is no name"))
}
