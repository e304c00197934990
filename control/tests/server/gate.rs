//! A store with a door: while it is shut, nobody gets through to it. Single operations may fail or panic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use confab_control::clock::UnixMillis;
use confab_control::domain::{PasswordHash, Peer};
use confab_control::store::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Page, Rotation, ServerId, SessionId, SessionRecord, Standing, Store, StoreError,
    StoreFuture,
};
use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};
use tokio::sync::watch;

/// One node's way to a store that all share.
#[derive(Clone)]
pub struct Gate {
    store: Arc<dyn Store>,
    door: Arc<watch::Sender<Door>>,
    waiting: Arc<Mutex<Vec<&'static str>>>,
    /// By operation.
    traps: Arc<Mutex<HashMap<&'static str, Trap>>>,
}

#[derive(Clone, Copy)]
enum Trap {
    /// It panics, so many times more.
    Panics(u32),
    /// It is refused.
    Refuses,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Who comes is told so.
    Shut,
    /// Who comes waits until it is open or shut.
    Jammed,
}

impl Gate {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let door = Arc::new(watch::Sender::new(Door::Open));
        Self {
            store,
            door,
            waiting: Arc::default(),
            traps: Arc::default(),
        }
    }

    pub fn shut(&self) {
        self.door.send_replace(Door::Shut);
    }

    pub fn jam(&self) {
        self.door.send_replace(Door::Jammed);
    }

    pub fn open(&self) {
        self.door.send_replace(Door::Open);
    }

    /// Whether an operation of this name waits at the door, or has waited there.
    pub fn has_waited(&self, name: &str) -> bool {
        self.waiting.lock().unwrap().contains(&name)
    }

    /// The operation panics the next so many times.
    pub fn panics_at(&self, operation: &'static str, times: u32) {
        let trap = Trap::Panics(times);
        self.traps.lock().unwrap().insert(operation, trap);
    }

    /// The operation fails from now on.
    pub fn refuses(&self, operation: &'static str) {
        self.traps.lock().unwrap().insert(operation, Trap::Refuses);
    }

    fn spring(&self, operation: &'static str) -> Result<(), StoreError> {
        let trap = {
            let mut traps = self.traps.lock().unwrap();
            let trap = traps.get_mut(operation);
            trap.map(|trap| {
                let sprung = *trap;
                if let Trap::Panics(times) = trap {
                    *times = times.saturating_sub(1);
                }
                sprung
            })
        };
        match trap {
            Some(Trap::Panics(times)) if times > 0 => panic!("a test's panic at {operation}"),
            Some(Trap::Refuses) => Err(StoreError::Unavailable("the test says so".to_owned())),
            _ => Ok(()),
        }
    }

    async fn pass(&self, name: &'static str) -> Result<(), StoreError> {
        let mut door = self.door.subscribe();
        if *door.borrow() == Door::Jammed {
            self.waiting.lock().unwrap().push(name);
        }
        let decided = door.wait_for(|door| *door != Door::Jammed).await;
        match decided.map(|door| *door) {
            Ok(Door::Open) => Ok(()),
            _ => Err(StoreError::Unavailable("the gate is shut".to_owned())),
        }
    }
}

macro_rules! through {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $result> {
            Box::pin(async move {
                self.pass(stringify!($name)).await?;
                self.spring(stringify!($name))?;
                self.store.$name($($arg),*).await
            })
        })*
    };
}

impl Store for Gate {
    confab_control::for_each_store_operation!(through);

    /// The nodes of these tests are in one process, and share even a store that is a file.
    fn is_shared(&self) -> bool {
        true
    }
}
