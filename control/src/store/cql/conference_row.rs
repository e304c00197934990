//! A conference's row: a column for each value.

use confab_protocol::control::room::Visibility;
use confab_protocol::control::{AccountId, ConferenceId, Region, Slug};
use scylla::value::CqlTimestamp;

use super::packed::State;
use super::rows::row;
use crate::clock::UnixMillis;
use crate::store::{ConferenceRecord, StoreError};

row! {
    /// `state` is `live`, `closing` or `gone`. A closing row has `state`, `slug`, `owner` and `created`; one that is gone has `state`.
    ConferenceRow {
        state: String = Text,
        slug: String = Text,
        owner: Vec<u8> = Blob,
        created: CqlTimestamp = Timestamp,
        owner_name: String = Text,
        visibility: i8 = TinyInt,
        title: String = Text,
        region: String = Text,
        revision: i32 = Int,
    }
}

const LIVE: &str = "live";
const CLOSING: &str = "closing";
const GONE: &str = "gone";

/// A conference that is being deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClosingConference {
    pub(super) id: ConferenceId,
    pub(super) slug: Slug,
    pub(super) owner: AccountId,
    pub(super) created: UnixMillis,
}

impl From<&ConferenceRecord> for ClosingConference {
    fn from(conference: &ConferenceRecord) -> Self {
        Self {
            id: conference.id,
            slug: conference.slug.clone(),
            owner: conference.owner,
            created: conference.created,
        }
    }
}

impl ConferenceRow {
    pub(super) fn live(conference: &ConferenceRecord) -> Self {
        Self {
            state: Some(LIVE.to_owned()),
            owner_name: Some(conference.owner_name.as_str().to_owned()),
            // The numbers of visibilities are small.
            visibility: i8::try_from(i32::from(conference.visibility)).ok(),
            title: Some(conference.title.as_str().to_owned()),
            region: conference.region.as_ref().map(Region::to_string),
            revision: Some(conference.revision.into()),
            ..Self::closing(&conference.into())
        }
    }

    pub(super) fn closing(conference: &ClosingConference) -> Self {
        Self {
            state: Some(CLOSING.to_owned()),
            slug: Some(conference.slug.as_str().to_owned()),
            owner: Some(conference.owner.as_bytes().to_vec()),
            created: Some(timestamp(conference.created)),
            ..Self::default()
        }
    }

    pub(super) fn gone() -> Self {
        Self {
            state: Some(GONE.to_owned()),
            ..Self::default()
        }
    }

    /// The state; `None` without a row.
    pub(super) fn state(row: Option<&Self>) -> Result<Option<State>, StoreError> {
        match row.and_then(|row| row.state.as_deref()) {
            None => Ok(None),
            Some(LIVE) => Ok(Some(State::Live)),
            Some(CLOSING) => Ok(Some(State::Closing)),
            Some(GONE) => Ok(Some(State::Gone)),
            Some(_) => Err(StoreError::Corrupt("the state of a conference")),
        }
    }

    /// Reads a conference that is live.
    pub(super) fn read(&self, id: ConferenceId) -> Result<ConferenceRecord, StoreError> {
        let ClosingConference {
            slug,
            owner,
            created,
            ..
        } = self.read_closing(id)?;
        let read = || {
            Some(ConferenceRecord {
                id,
                slug,
                title: self.title.as_ref()?.parse().ok()?,
                visibility: Visibility::try_from(i32::from(self.visibility?)).ok()?,
                owner,
                owner_name: self.owner_name.as_ref()?.parse().ok()?,
                created,
                region: Region::parse(self.region.as_deref().unwrap_or_default()).ok()?,
                revision: u16::try_from(self.revision?).ok()?,
            })
        };
        read().ok_or(StoreError::Corrupt("a conference"))
    }

    /// Reads a conference that is not gone.
    pub(super) fn read_closing(&self, id: ConferenceId) -> Result<ClosingConference, StoreError> {
        let read = || {
            Some(ClosingConference {
                id,
                slug: self.slug.as_ref()?.parse().ok()?,
                owner: AccountId::new(self.owner.as_deref()?.try_into().ok()?),
                created: time(self.created?)?,
            })
        };
        read().ok_or(StoreError::Corrupt("a conference that is being deleted"))
    }
}

/// Milliseconds as a `timestamp`.
pub(super) fn timestamp(time: UnixMillis) -> CqlTimestamp {
    CqlTimestamp(i64::try_from(time.0).unwrap_or(i64::MAX))
}

/// `None` for a time before 1970.
pub(super) fn time(timestamp: CqlTimestamp) -> Option<UnixMillis> {
    u64::try_from(timestamp.0).ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conference_is_read_again_and_its_closing_row_keeps_what_removal_needs() {
        let record = ConferenceRecord {
            id: ConferenceId::new([8; 16]),
            slug: "friday".parse().unwrap(),
            title: "Пятничный вечер".parse().unwrap(),
            visibility: Visibility::Invite,
            owner: AccountId::new([7; 16]),
            owner_name: "ann".parse().unwrap(),
            created: UnixMillis(1_790_000_000_000),
            region: Some("eu-west".parse().unwrap()),
            revision: 3,
        };
        let live = ConferenceRow::live(&record);
        assert_eq!(live.read(record.id), Ok(record.clone()));
        let closing = live.read_closing(record.id).unwrap();
        assert_eq!(closing, ClosingConference::from(&record));
        let row = ConferenceRow::closing(&closing);
        assert_eq!(row.read_closing(record.id), Ok(closing));
        assert!(row.read(record.id).is_err());
        let states = [None, Some(&live), Some(&row), Some(&ConferenceRow::gone())];
        assert_eq!(
            states.map(|row| ConferenceRow::state(row).unwrap()),
            [
                None,
                Some(State::Live),
                Some(State::Closing),
                Some(State::Gone)
            ]
        );
    }
}
