//! A store with a door: while it is shut, nobody gets through to it.

use std::sync::{Arc, Mutex};

use confab_control::accounts::hashing::PasswordHash;
use confab_control::clock::UnixMillis;
use confab_control::cluster::RelayName;
use confab_control::store::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Page, Rotation, SessionId, SessionRecord, Standing, Store, StoreError, StoreFuture,
};
use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};
use tokio::sync::watch;

/// One node's way to a store that all share.
#[derive(Clone)]
pub struct Gate {
    store: Arc<dyn Store>,
    door: Arc<watch::Sender<Door>>,
    waiting: Arc<Mutex<Vec<&'static str>>>,
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
                self.store.$name($($arg),*).await
            })
        })*
    };
}

impl Store for Gate {
    confab_control::for_each_store_operation!(through);
}
