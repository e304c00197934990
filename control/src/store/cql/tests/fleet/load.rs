//! Clients that register, sign in and are moderated, and nodes that claim rooms, all at the same time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use confab_protocol::control::room::Role;
use tokio::task::JoinHandle;

use super::ledger::{Kind, Known, Ledger};
use super::*;
use crate::random::{self, jittered};

/// Workers of each kind and store.
const WORKERS: usize = 2;
/// Claimants of the same name.
const RIVALS: usize = 2 * WORKERS;
/// Rooms that all claimants want.
const ROOMS: u8 = 3;
/// The pause between two operations of a worker, which leaves time for a node that starts on the same machine.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause between two sweeps. Each gives up what is half-made at that moment.
const SWEEP: Duration = Duration::from_secs(2);
const MUCH_LATER: UnixMillis = UnixMillis(NOW.0 + 24 * 60 * 60 * 1000);
/// The pause between two heartbeats of a node.
const BEAT: Duration = Duration::from_millis(500);

pub(super) struct Load {
    ends: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Stops the workers, after their current operations.
    pub(super) async fn stop(self) {
        self.ends.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.expect("it ends well");
        }
    }
}

/// The state that a worker shares.
#[derive(Clone)]
struct Worker {
    store: CqlStore,
    ledger: Arc<Ledger>,
    ends: Arc<AtomicBool>,
    /// Counts claimants of names.
    names: Arc<AtomicUsize>,
    slugs: Arc<AtomicUsize>,
    conference: ConferenceRecord,
}

pub(super) async fn start(stores: &[CqlStore], ledger: &Arc<Ledger>) -> Load {
    let owner = some_account();
    let conference = some_conference(&owner);
    assert_eq!(stores[0].create_account(owner).await, Ok(()));
    let made = stores[0].create_conference(conference.clone()).await;
    assert_eq!(made, Ok(()));
    let ends = Arc::new(AtomicBool::default());
    let (names, slugs) = (Arc::default(), Arc::default());
    let mut workers = Vec::new();
    for store in stores {
        let worker = Worker {
            store: store.clone(),
            ledger: ledger.clone(),
            ends: ends.clone(),
            names: Arc::clone(&names),
            slugs: Arc::clone(&slugs),
            conference: conference.clone(),
        };
        for _ in 0..WORKERS {
            workers.push(tokio::spawn(worker.clone().register()));
            workers.push(tokio::spawn(worker.clone().sign_in()));
            workers.push(tokio::spawn(worker.clone().be_moderated()));
            workers.push(tokio::spawn(worker.clone().claim_rooms()));
        }
        workers.push(tokio::spawn(worker.clone().sweep()));
        workers.push(tokio::spawn(worker.beat()));
    }
    Load { ends, workers }
}

impl Worker {
    async fn goes_on(&self) -> bool {
        tokio::time::sleep(jittered(PAUSE)).await;
        !self.ends.load(Ordering::Relaxed)
    }

    /// Registers under a name that others claim at the same time, then creates a conference in the same way.
    async fn register(self) {
        while self.goes_on().await {
            let name = self.names.fetch_add(1, Ordering::Relaxed) / RIVALS;
            let account = AccountRecord {
                username: format!("person{name}").parse().expect("a name"),
                ..some_account()
            };
            let create = self.store.create_account(account.clone());
            if self.ledger.attempt(Kind::Register, create).await.is_err() {
                continue;
            }
            self.ledger.acknowledged().accounts.push(account.clone());
            let slug = self.slugs.fetch_add(1, Ordering::Relaxed) / RIVALS;
            let conference = ConferenceRecord {
                slug: format!("room{slug}").parse().expect("a slug"),
                ..some_conference(&account)
            };
            let create = self.store.create_conference(conference.clone());
            if self.ledger.attempt(Kind::Open, create).await.is_ok() {
                self.ledger.acknowledged().conferences.push(conference);
            }
        }
    }

    /// A random account that was acknowledged.
    async fn random_account(&self) -> AccountRecord {
        let account = some_account();
        while let Err(error) = self.store.create_account(account.clone()).await {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        }
        self.ledger.acknowledged().accounts.push(account.clone());
        account
    }

    /// Signs in with device after device and uses each once.
    async fn sign_in(self) {
        let account = self.random_account().await;
        let day = Duration::from_secs(24 * 60 * 60);
        while self.goes_on().await {
            let name = account.username.clone();
            let look = self.store.account_by_username(name);
            match self.ledger.attempt(Kind::Look, look).await {
                Ok(found) => assert_eq!(found.as_ref(), Some(&account), "it was acknowledged"),
                Err(_) => continue,
            }
            let session = some_session(&account, NOW.after(day));
            let create = self.store.create_session(session.clone());
            if self.ledger.attempt(Kind::SignIn, create).await.is_err() {
                continue;
            }
            let rotation = Rotation {
                secret_hash: random::bytes(),
                rotated: NOW,
                expires: NOW.after(day),
            };
            let rotate = self.store.rotate_session(session.id, 0, rotation);
            let candidates = match self.ledger.attempt(Kind::Rotate, rotate).await {
                Ok(()) => vec![1],
                Err(_) => vec![0, 1],
            };
            let known = Known { candidates };
            self.ledger
                .acknowledged()
                .sessions
                .push((session.id, known));
        }
    }

    /// Is added to the conference, muted and unmuted, and removed, again and again.
    async fn be_moderated(self) {
        let (account, conference) = (self.random_account().await.id, self.conference.id);
        let mut candidates = vec![None];
        let mut is: Option<Standing> = None;
        for turn in 0u64.. {
            if !self.goes_on().await {
                break;
            }
            let next = match is {
                None => Some(Standing {
                    revision: 0,
                    role: Role::Member,
                    muted: false,
                    since: UnixMillis(NOW.0 + turn),
                }),
                Some(_) if turn % 7 == 0 => None,
                Some(old) => Some(Standing {
                    muted: !old.muted,
                    ..old
                }),
            };
            let write = async {
                match (is, next) {
                    (None, Some(new)) => self.store.add_member(conference, account, new).await,
                    (Some(old), None) => self.store.remove_member(conference, account, old).await,
                    (Some(old), Some(new)) => {
                        let store = &self.store;
                        store.change_member(conference, account, old, new).await
                    }
                    (None, None) => Ok(()),
                }
            };
            match self.ledger.attempt(Kind::Moderate, write).await {
                Ok(()) => {
                    candidates = vec![next];
                    is = next;
                    continue;
                }
                // A write whose outcome was not known was done after all.
                Err(StoreError::Conflict | StoreError::NotFound) => {}
                Err(_) => candidates.push(next),
            }
            if let Ok(found) = self.look_again(conference, account).await {
                assert!(candidates.contains(&found), "{found:?} of {candidates:?}");
                is = found;
            }
        }
        let known = Known { candidates };
        let standing = (conference, account, known);
        self.ledger.acknowledged().standings.push(standing);
    }

    async fn look_again(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> Result<Option<Standing>, StoreError> {
        loop {
            let found = self.store.member(conference, account).await;
            if found.is_ok() || self.ends.load(Ordering::Relaxed) {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Claims rooms of the other nodes.
    async fn claim_rooms(self) {
        let run = NodeRun::new("one".parse().expect("a name"));
        while self.goes_on().await {
            let [room] = random::bytes();
            let conference = ConferenceId::new([room % ROOMS; 16]);
            let claim = async {
                let old = self.store.home(conference).await?;
                let new = HomeRecord {
                    era: old.as_ref().map_or(0, |old| old.era) + 1,
                    owner: Some(run.clone()),
                    place: None,
                };
                let written = self.store.write_home(conference, old, new.clone()).await;
                written.map(|()| new)
            };
            if let Ok(home) = self.ledger.attempt(Kind::Claim, claim).await {
                self.ledger.acknowledged().homes.push((conference, home));
            }
        }
    }

    async fn sweep(self) {
        while self.goes_on().await {
            tokio::time::sleep(SWEEP).await;
            let sweep = self.store.sweep(MUCH_LATER);
            let _ = self.ledger.attempt(Kind::Sweep, sweep).await;
        }
    }

    async fn beat(self) {
        let run = NodeRun::new(
            data_encoding::HEXLOWER
                .encode(&random::bytes::<4>())
                .parse()
                .expect("a name"),
        );
        for counter in 0.. {
            let node = NodeRecord {
                run: run.clone(),
                counter,
                cluster: "10.0.0.1:4433".to_owned(),
                public: Vec::new(),
            };
            let beat = self.store.beat(node);
            let _ = self.ledger.attempt(Kind::Beat, beat).await;
            tokio::time::sleep(BEAT).await;
            if !self.goes_on().await {
                break;
            }
        }
    }
}
