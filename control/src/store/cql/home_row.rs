//! The row of a conference's home.

use confab_protocol::cluster::BootId;

use super::rows::row;
use crate::store::{HomePlace, HomeRecord, NodeRun, StoreError};

row! {
    /// `owner` and `incarnation` are null without an owner; `relay`, `boot` and `placement` without a place. The integers are the
    /// same 64 bits without a sign.
    HomeRow {
        era: i64 = BigInt,
        owner: String = Text,
        incarnation: i64 = BigInt,
        relay: String = Text,
        boot: Vec<u8> = Blob,
        placement: i64 = BigInt,
    }
}

impl HomeRow {
    pub(super) fn new(home: &HomeRecord) -> Self {
        let (owner, place) = (home.owner.as_ref(), home.place.as_ref());
        Self {
            era: Some(home.era.cast_signed()),
            owner: owner.map(|run| run.name.to_string()),
            incarnation: owner.map(|run| run.incarnation.cast_signed()),
            relay: place.map(|place| place.relay.to_string()),
            boot: place.map(|place| place.boot.0.to_vec()),
            placement: place.map(|place| place.placement.cast_signed()),
        }
    }

    pub(super) fn read(&self) -> Result<HomeRecord, StoreError> {
        let owner = || {
            let (name, incarnation) = (self.owner.as_ref()?, self.incarnation?);
            Some(NodeRun {
                name: name.parse().ok()?,
                incarnation: incarnation.cast_unsigned(),
            })
        };
        let place = || {
            let (relay, boot) = (self.relay.as_ref()?, self.boot.as_deref()?);
            Some(HomePlace {
                relay: relay.parse().ok()?,
                boot: BootId(boot.try_into().ok()?),
                placement: self.placement?.cast_unsigned(),
            })
        };
        let home = HomeRecord {
            era: self.era.unwrap_or_default().cast_unsigned(),
            owner: owner(),
            place: place(),
        };
        if Self::new(&home) == *self {
            Ok(home)
        } else {
            Err(StoreError::Corrupt("a home"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?";

    fn runs() -> impl Strategy<Value = NodeRun> {
        (NAME, any::<u64>()).prop_map(|(name, incarnation)| NodeRun {
            name: name.parse().expect("it is a name"),
            incarnation,
        })
    }

    fn places() -> impl Strategy<Value = HomePlace> {
        (NAME, any::<[u8; 16]>(), any::<u64>()).prop_map(|(relay, boot, placement)| HomePlace {
            relay: relay.parse().expect("it is a name"),
            boot: BootId(boot),
            placement,
        })
    }

    prop_compose! {
        fn homes()(
            era in any::<u64>(),
            owner in proptest::option::of(runs()),
            place in proptest::option::of(places()),
        ) -> HomeRecord {
            HomeRecord { era, owner, place }
        }
    }

    proptest! {
        #[test]
        fn a_home_is_read_again_and_half_an_owner_or_place_is_refused(record in homes()) {
            let row = HomeRow::new(&record);
            prop_assert_eq!(row.read(), Ok(record.clone()));
            let damaged = [
                HomeRow { incarnation: None, ..row.clone() },
                HomeRow { owner: None, ..row.clone() },
                HomeRow { boot: None, ..row.clone() },
                HomeRow { boot: Some(vec![1; 15]), ..row.clone() },
                HomeRow { placement: None, ..row.clone() },
                HomeRow { owner: Some("-".to_owned()), ..row.clone() },
            ];
            for other in damaged {
                prop_assert!(other == row || other.read().is_err(), "{:?}", other);
            }
        }
    }
}
