//! News of the room's group as events.

use confab_e2ee::mls::Suite;
use confab_e2ee::mls::identity::SafetyCode;

use super::event::CallEvent;
use super::texts::refusal;
use crate::engine::membership::GroupEvent;

/// Says what is new of the group.
pub(super) struct GroupNews {
    /// The lines for a person have each code.
    shows_codes: bool,
    code: Option<SafetyCode>,
}

impl GroupNews {
    pub(super) fn new(shows_codes: bool) -> Self {
        Self {
            shows_codes,
            code: None,
        }
    }

    /// The event to print; `None` if nothing of it is new.
    pub(super) fn event(&mut self, event: GroupEvent) -> Option<CallEvent> {
        Some(match event {
            GroupEvent::Changed { code } => {
                if std::mem::replace(&mut self.code, code) == code {
                    return None;
                }
                CallEvent::RoomCode {
                    code: code.map(|code| code.to_string()),
                    is_shown: self.shows_codes,
                }
            }
            GroupEvent::Suite(suite) => CallEvent::Suite {
                post_quantum: suite == Suite::PostQuantum,
            },
            GroupEvent::Unannounced { leaf, username } => CallEvent::Unannounced {
                username: username.to_string(),
                leaf,
            },
            GroupEvent::Downgrade => CallEvent::Downgrade,
            GroupEvent::Announced => CallEvent::Announced,
            GroupEvent::Forked { username } => CallEvent::Forked {
                username: username.to_string(),
            },
            GroupEvent::Unreachable => CallEvent::Unreachable,
            GroupEvent::NotInGroup => CallEvent::NotInGroup,
            GroupEvent::Text { from, text } => CallEvent::Text {
                from: from.to_string(),
                text,
            },
            GroupEvent::TextRefused(why) => CallEvent::TextRefused {
                reason: refusal(why),
            },
            // It comes back by a Welcome, or the server says why not.
            GroupEvent::Removed => return None,
        })
    }
}
