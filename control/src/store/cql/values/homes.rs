//! Who owns a room, and what a node says of itself.

use confab_protocol::cluster::BootId;

use super::{put_bytes, take, take_text};
use crate::store::{HomePlace, HomeRecord, NodeRecord, NodeRun, StoreError};

/// `era (8) · owner's name, empty for none · its incarnation (8) · relay's name, empty for none · boot (16) · placement (8)`;
/// what belongs to no owner or no relay is left out.
pub(in super::super) fn home(record: &HomeRecord) -> Vec<u8> {
    let mut out = record.era.to_be_bytes().to_vec();
    match &record.owner {
        None => put_bytes(&mut out, &[]),
        Some(run) => {
            put_bytes(&mut out, run.name.as_str().as_bytes());
            out.extend_from_slice(&run.incarnation.to_be_bytes());
        }
    }
    match &record.place {
        None => put_bytes(&mut out, &[]),
        Some(place) => {
            put_bytes(&mut out, place.relay.as_str().as_bytes());
            out.extend_from_slice(&place.boot.0);
            out.extend_from_slice(&place.placement.to_be_bytes());
        }
    }
    out
}

pub(in super::super) fn read_home(value: &[u8]) -> Result<HomeRecord, StoreError> {
    let read = || {
        let mut rest = value;
        let era = take_number(&mut rest)?;
        let owner = match take_text(&mut rest)? {
            "" => None,
            name => Some(NodeRun {
                name: name.parse().ok()?,
                incarnation: take_number(&mut rest)?,
            }),
        };
        let place = match take_text(&mut rest)? {
            "" => None,
            relay => Some(HomePlace {
                relay: relay.parse().ok()?,
                boot: BootId(take(&mut rest)?),
                placement: take_number(&mut rest)?,
            }),
        };
        rest.is_empty().then_some(HomeRecord { era, owner, place })
    };
    read().ok_or(StoreError::Corrupt("a home"))
}

/// `incarnation (8) · counter (8) · count of addresses for clients (1) · address for nodes · the addresses for clients`, each
/// address with its length (2).
pub(in super::super) fn node(record: &NodeRecord) -> Vec<u8> {
    debug_assert!(
        record.public.len() <= usize::from(u8::MAX),
        "addresses are given by hand"
    );
    let mut out = record.run.incarnation.to_be_bytes().to_vec();
    out.extend_from_slice(&record.counter.to_be_bytes());
    out.push(record.public.len() as u8);
    for address in std::iter::once(&record.cluster).chain(&record.public) {
        put_address(&mut out, address);
    }
    out
}

pub(in super::super) fn read_node(name: &str, value: &[u8]) -> Result<NodeRecord, StoreError> {
    let read = || {
        let mut rest = value;
        let run = NodeRun {
            name: name.parse().ok()?,
            incarnation: take_number(&mut rest)?,
        };
        let counter = take_number(&mut rest)?;
        let [count] = take(&mut rest)?;
        let cluster = take_address(&mut rest)?;
        let public = (0..count)
            .map(|_| take_address(&mut rest))
            .collect::<Option<_>>()?;
        let record = NodeRecord {
            run,
            counter,
            cluster,
            public,
        };
        rest.is_empty().then_some(record)
    };
    read().ok_or(StoreError::Corrupt("a node"))
}

fn put_address(out: &mut Vec<u8>, address: &str) {
    debug_assert!(
        address.len() <= usize::from(u16::MAX),
        "the names of hosts are shorter"
    );
    out.extend_from_slice(&(address.len() as u16).to_be_bytes());
    out.extend_from_slice(address.as_bytes());
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn take_address(rest: &mut &[u8]) -> Option<String> {
    let len = u16::from_be_bytes(take(rest)?);
    let (taken, after) = rest.split_at_checked(usize::from(len))?;
    *rest = after;
    std::str::from_utf8(taken).map(str::to_owned).ok()
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

    prop_compose! {
        fn nodes()(
            run in runs(),
            counter in any::<u64>(),
            cluster in ".{0,300}",
            public in proptest::collection::vec(".{0,20}", 0..4),
        ) -> NodeRecord {
            NodeRecord { run, counter, cluster, public }
        }
    }

    proptest! {
        #[test]
        fn a_home_is_read_again_and_nothing_shorter_or_longer_is(record in homes()) {
            let mut value = home(&record);
            prop_assert_eq!(read_home(&value), Ok(record));
            for end in 0..value.len() {
                prop_assert!(read_home(&value[..end]).is_err(), "{} bytes", end);
            }
            value.push(0);
            prop_assert!(read_home(&value).is_err());
        }

        #[test]
        fn a_node_is_read_again_and_nothing_shorter_or_longer_is(record in nodes()) {
            let mut value = node(&record);
            let name = record.run.name.clone();
            prop_assert_eq!(read_node(name.as_str(), &value), Ok(record));
            for end in 0..value.len() {
                prop_assert!(read_node(name.as_str(), &value[..end]).is_err(), "{} bytes", end);
            }
            value.push(0);
            prop_assert!(read_node(name.as_str(), &value).is_err());
        }
    }
}
