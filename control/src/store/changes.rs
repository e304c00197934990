//! Changes of records.

use confab_protocol::control::Title;
use confab_protocol::control::room::Visibility;

use super::records::ConferenceRecord;

/// A change of a conference. `None`: that stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConferenceChange {
    pub title: Option<Title>,
    pub visibility: Option<Visibility>,
}

impl ConferenceChange {
    /// The conference after the change; `None` if it is so already.
    pub fn applied_to(&self, old: &ConferenceRecord) -> Option<ConferenceRecord> {
        let changed = ConferenceRecord {
            title: self.title.clone().unwrap_or_else(|| old.title.clone()),
            visibility: self.visibility.unwrap_or(old.visibility),
            ..old.clone()
        };
        let revision = old.revision.wrapping_add(1);
        (changed != *old).then_some(ConferenceRecord {
            revision,
            ..changed
        })
    }
}
