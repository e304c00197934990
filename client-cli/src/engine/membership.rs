//! The participant as a member of the room's MLS group: its keys, whom it hears, and what it is told of the group.

use std::time::Instant;

use confab_e2ee::mls::identity::SafetyCode;
use confab_e2ee::mls::member::{Announced, MemberConfig, MemberEvent, TextError};
use confab_e2ee::mls::messages::{TextRefusal, ToMember};
use confab_e2ee::mls::{FromMember, GroupName, Member, Suite};
use confab_e2ee::{BaseKeys as _, FrameCipher, OpenError};
use confab_protocol::control::text::Shown;
use confab_protocol::control::{JoinId, Participant, Username};
use confab_protocol::media::KeyId;

/// News of the room's group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEvent {
    /// The group, its epoch or its leaves are others now.
    Changed {
        /// The room's code, the same for all members; `None` without a group.
        code: Option<SafetyCode>,
    },
    /// A new group uses this suite.
    Suite(Suite),
    /// The server has offered weaker keys than the room needs: they were refused.
    Downgrade,
    /// A leaf is in the group that the server has not announced: nothing is sent until it is gone.
    Unannounced {
        leaf: u32,
        /// Who it says it is.
        username: Username,
    },
    /// All leaves are announced again: sending goes on.
    Announced,
    /// Many frames of a member do not open under the keys of the epoch in which it says that it is.
    Forked { username: Username },
    /// Others are in an epoch that this client does not get to.
    Unreachable,
    /// This client has not been let into a group for some seconds.
    NotInGroup,
    /// A participant wrote a text.
    Text {
        /// As the device of the leaf has signed it.
        from: Username,
        text: String,
    },
    /// A text of one's own was not passed on.
    TextRefused(TextRefusal),
    /// The group goes on without this client.
    Removed,
}

/// The membership of one join, and the frames that it seals and opens.
pub(super) struct Membership {
    config: MemberConfig,
    cipher: FrameCipher<Member>,
    /// When [`update`](Self::update) is due.
    deadline: Option<Instant>,
}

impl Membership {
    /// A member without a group.
    pub(super) fn new(config: MemberConfig) -> Self {
        Self {
            cipher: FrameCipher::new(Member::new(config.clone())),
            config,
            deadline: None,
        }
    }

    /// Begins anew, for another join of the same device. Keys, counters and announcements are those of the new member.
    pub(super) fn restart(&mut self, delivery_key: [u8; 32]) {
        self.config.delivery_key = delivery_key;
        let is_held = self.member().is_sending_held();
        *self = Self::new(self.config.clone());
        self.hold_sending(is_held);
    }

    /// The connection to the server was lost and stands again: what may not have arrived is sent again.
    pub(super) fn resume(&mut self) {
        self.cipher.keys_mut().resume();
    }

    pub(super) fn member(&self) -> &Member {
        self.cipher.keys()
    }

    pub(super) fn cipher(&mut self) -> &mut FrameCipher<Member> {
        &mut self.cipher
    }

    /// Where the member stands: its group, and the epoch in it.
    pub(super) fn standing(&self) -> Option<(GroupName, u64)> {
        self.member().group().zip(self.member().epoch())
    }

    pub(super) fn handle(&mut self, now: Instant, message: ToMember) {
        self.cipher.keys_mut().handle(now, message);
    }

    pub(super) fn poll_message(&mut self) -> Option<FromMember> {
        self.cipher.keys_mut().poll_message()
    }

    pub(super) fn hold_sending(&mut self, is_held: bool) {
        self.cipher.keys_mut().hold_sending(is_held);
    }

    pub(super) fn send_text(&mut self, text: &str) -> Result<(), TextError> {
        self.cipher.keys_mut().send_text(text)
    }

    pub(super) fn announce(&mut self, now: Instant, participant: &Participant) {
        let announced = Announced {
            account: participant.account,
            leaf: participant.leaf,
        };
        self.cipher
            .keys_mut()
            .announce(now, participant.join_id, announced);
    }

    pub(super) fn depart(&mut self, now: Instant, join: JoinId) {
        self.cipher.keys_mut().depart(now, join);
    }

    /// A frame of a participant did not open, or never will.
    pub(super) fn note_unopened(&mut self, now: Instant, key_id: KeyId) {
        self.cipher.keys_mut().note_unopened(now, key_id);
    }

    /// When [`update`](Self::update) is to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Does what is due. To be called after each change, too.
    pub(super) fn update(&mut self, now: Instant) {
        self.deadline = self.cipher.keys_mut().update(now);
    }

    /// The next event; what the member has refused is logged.
    pub(super) fn poll_event(&mut self) -> Option<GroupEvent> {
        loop {
            let member = self.cipher.keys_mut();
            return Some(match member.poll_event()? {
                MemberEvent::Changed => GroupEvent::Changed {
                    code: member.code(),
                },
                MemberEvent::Downgrade => GroupEvent::Downgrade,
                MemberEvent::Suite(suite) => GroupEvent::Suite(suite),
                MemberEvent::Unannounced { leaf, credential } => GroupEvent::Unannounced {
                    leaf,
                    username: credential.username,
                },
                MemberEvent::Announced => GroupEvent::Announced,
                MemberEvent::Forked { leaf } => match username(member, leaf) {
                    Some(username) => GroupEvent::Forked { username },
                    None => continue,
                },
                MemberEvent::Unreachable => GroupEvent::Unreachable,
                MemberEvent::Waiting => GroupEvent::NotInGroup,
                MemberEvent::Text { leaf, text } => match username(member, leaf) {
                    Some(from) => GroupEvent::Text { from, text },
                    None => continue,
                },
                MemberEvent::TextRefused(why) => GroupEvent::TextRefused(why),
                MemberEvent::Removed => GroupEvent::Removed,
                MemberEvent::Refused(why) => {
                    tracing::debug!(why = %Shown(why), "a message of the room's group was refused");
                    continue;
                }
            });
        }
    }

    /// True if frames of this key id can be opened, and told whose they are. Frames under own key ids cannot be.
    pub(super) fn can_open(&self, key_id: KeyId) -> bool {
        let member = self.member();
        member.speaker(key_id).is_some() && member.participant(key_id).is_some()
    }

    pub(super) fn is_own(&self, key_id: KeyId) -> bool {
        self.member().is_own(key_id)
    }

    /// True if a member has this key id, announced or not.
    pub(super) fn is_known(&self, key_id: KeyId) -> bool {
        self.member().speaker(key_id).is_some()
    }

    /// Opens a frame, and says which participant spoke; `None` if the server has not announced it.
    pub(super) fn open(
        &mut self,
        sframe: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<Option<JoinId>, OpenError> {
        let key_id = self.cipher.open(sframe, plaintext)?;
        Ok(self.member().participant(key_id))
    }
}

/// The name of a leaf's owner, as its device has signed it.
fn username(member: &Member, leaf: u32) -> Option<Username> {
    let credential = member.leaves().find(|(of, _)| *of == leaf);
    credential.map(|(_, credential)| credential.username.clone())
}
