//! A store whose operations tests can block, make fail or make panic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use confab_control::clock::UnixMillis;
use confab_control::domain::{PasswordHash, Peer};
use confab_control::store::{
    AccountRecord, ConferenceChange, ConferenceRecord, Cursor, GuestBan, HomeRecord,
    InvitationRecord, MemberRecord, Membership, NodeRecord, NodeRun, Page, Rotation, ServerId,
    SessionId, SessionRecord, Standing, Store, StoreError, StoreFuture,
};
use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId, Slug, Username};
use tokio::sync::watch;

/// One node's access to a shared store.
#[derive(Clone)]
pub struct Gate {
    store: Arc<dyn Store>,
    state: Arc<watch::Sender<State>>,
    waiting: Arc<Mutex<Vec<&'static str>>>,
    /// Faults by operation.
    faults: Arc<Mutex<HashMap<&'static str, Fault>>>,
}

#[derive(Clone, Copy)]
enum Fault {
    /// Panics this many times.
    Panics(u32),
    /// Fails.
    Refuses,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Operations fail at once.
    Shut,
    /// Operations wait until the state changes.
    Hanging,
}

impl Gate {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let state = Arc::new(watch::Sender::new(State::Open));
        Self {
            store,
            state,
            waiting: Arc::default(),
            faults: Arc::default(),
        }
    }

    pub fn shut(&self) {
        self.state.send_replace(State::Shut);
    }

    pub fn hang(&self) {
        self.state.send_replace(State::Hanging);
    }

    pub fn open(&self) {
        self.state.send_replace(State::Open);
    }

    /// True if an operation of this name waits or has waited.
    pub fn has_waited(&self, name: &str) -> bool {
        self.waiting.lock().unwrap().contains(&name)
    }

    /// The operation panics the next `times` times.
    pub fn panics_at(&self, operation: &'static str, times: u32) {
        let trap = Fault::Panics(times);
        self.faults.lock().unwrap().insert(operation, trap);
    }

    /// The operation fails from now on.
    pub fn refuses(&self, operation: &'static str) {
        self.faults
            .lock()
            .unwrap()
            .insert(operation, Fault::Refuses);
    }

    fn trigger(&self, operation: &'static str) -> Result<(), StoreError> {
        let trap = {
            let mut faults = self.faults.lock().unwrap();
            let trap = faults.get_mut(operation);
            trap.map(|trap| {
                let sprung = *trap;
                if let Fault::Panics(times) = trap {
                    *times = times.saturating_sub(1);
                }
                sprung
            })
        };
        match trap {
            Some(Fault::Panics(times)) if times > 0 => panic!("a test's panic at {operation}"),
            Some(Fault::Refuses) => Err(StoreError::Unavailable("the test says so".to_owned())),
            _ => Ok(()),
        }
    }

    async fn pass(&self, name: &'static str) -> Result<(), StoreError> {
        let mut state = self.state.subscribe();
        if *state.borrow() == State::Hanging {
            self.waiting.lock().unwrap().push(name);
        }
        let decided = state.wait_for(|state| *state != State::Hanging).await;
        match decided.map(|state| *state) {
            Ok(State::Open) => Ok(()),
            _ => Err(StoreError::Unavailable("the gate is shut".to_owned())),
        }
    }
}

macro_rules! through {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $result> {
            Box::pin(async move {
                self.pass(stringify!($name)).await?;
                self.trigger(stringify!($name))?;
                self.store.$name($($arg),*).await
            })
        })*
    };
}

impl Store for Gate {
    confab_control::for_each_store_operation!(through);

    /// The nodes of these tests run in one process and can share even an SQLite file.
    fn is_shared(&self) -> bool {
        true
    }
}
