//! Texts that a member writes and reads.

use confab_protocol::control::GenerationLeaf;

use super::Member;
use super::event::MemberEvent;
use super::group::GroupError;
use super::texts::{self, TextError};
use crate::mls::messages::FromMember;

impl Member {
    /// Writes a text for the room. It waits until there is a group, and is sealed again if the epoch changes meanwhile.
    pub fn send_text(&mut self, text: &str) -> Result<(), TextError> {
        self.texts.push(text)?;
        self.send_texts();
        Ok(())
    }

    /// Texts that were written and that control has neither passed on nor refused.
    pub fn texts_under_way(&self) -> usize {
        self.texts.len()
    }

    /// Seals the next text, unless a commit of one's own is under way: MLS seals none while there are proposals.
    pub(super) fn send_texts(&mut self) {
        let may_send = self.own_commit.is_none() && self.may_write() && !self.awaits_others();
        let Some(group) = self.group.as_mut().filter(|_| may_send) else {
            return;
        };
        let Some(plaintext) = self.texts.next() else {
            return;
        };
        match group.seal_text(&self.provider, &plaintext) {
            Ok(message) => {
                let (group, epoch) = (group.name(), group.epoch());
                self.messages.push_back(FromMember::Text {
                    group,
                    epoch,
                    message,
                });
            }
            Err(error) => {
                self.texts.repeat();
                self.refuse(error.to_string());
            }
        }
    }

    /// True while this member is alone in a group in which others will be: they would not get what it writes.
    fn awaits_others(&self) -> bool {
        let alone = self
            .group
            .as_ref()
            .filter(|group| group.leaves().len() == 1);
        alone.is_some_and(|group| {
            let (generation, leaf) = (group.name().generation, group.own_leaf());
            self.roster.has_others(GenerationLeaf { generation, leaf })
        })
    }

    pub(super) fn open_text(&mut self, message: &[u8]) {
        let Some(group) = self.group.as_mut() else {
            return;
        };
        let opened = group.open_text(&self.provider, message);
        let opened = opened
            .and_then(|(leaf, text)| Ok((leaf, texts::unpad(&text).ok_or(GroupError::Malformed)?)));
        match opened {
            // Its writer has sent it twice, for it did not hear that the first one was passed on.
            Ok((_, (id, _))) if !self.texts.is_new(id) => {}
            Ok((leaf, (_, text))) => self.events.push_back(MemberEvent::Text { leaf, text }),
            Err(error) => self.refuse(error.to_string()),
        }
    }
}
