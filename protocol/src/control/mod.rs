//! What a client and a control node say to each other, in the order of use.
//!
//! * [`framing`]: how a message stands in a stream; [`size`]: how long a request may be;
//! * [`text`]: which characters have a place in what people read, and how others are shown;
//! * [`names`]: usernames, slugs and the like, valid by construction;
//! * [`server`]: where a control node is;
//! * [`link`]: how a conference is named for those who do not know its server;
//! * [`invitation`]: what makes whoever has it a member of a conference;
//! * [`room`]: what a join gives;
//! * [`error`]: what a refusal says.

pub mod error;
mod fields;
pub mod framing;
pub mod invitation;
pub mod link;
pub mod names;
pub mod room;
pub mod server;
pub mod size;
pub mod text;

pub use error::{ErrorCode, Refusal};
pub use invitation::{InvitationId, InvitationToken};
pub use names::{
    Birthday, Device, Email, NameError, Notice, Password, Region, Slug, Title, Username,
};
pub use room::{
    AccountId, Capabilities, ConferenceId, GenerationLeaf, JoinId, MediaGrant, Participant,
    ParticipantName, ResumeSecret,
};

/// ALPN of clients (RFC 7301).
pub const ALPN: &[u8] = b"confab/1";

/// Longest request, in bytes of protobuf.
pub const MAX_REQUEST: usize = 16 * 1024;

/// Longest request of a kind that only participants of a room send, in bytes of protobuf.
pub const MAX_PARTICIPANT_REQUEST: usize = 256 * 1024;

/// Longest request to a group that has a commit or a new group in it, in bytes of protobuf.
pub const MAX_COMMIT_REQUEST: usize = 2 * 1024 * 1024;

/// Most messages in one request to a group.
pub const MAX_GROUP_MESSAGES: usize = 16;

/// Longest message on the group stream, in bytes of protobuf: the tree of a room of 1000 in the post-quantum suite has 2.6 MB.
pub const MAX_GROUP_MESSAGE: usize = 8 * 1024 * 1024;

/// Longest event, in bytes of protobuf.
pub const MAX_EVENT: usize = 256 * 1024;

/// Longest response, in bytes of protobuf: a room of 10 000 participants fits.
pub const MAX_RESPONSE: usize = 2 * 1024 * 1024;

/// Fewest frames of a participant that have to fail to open, and half of all its frames at least, before its clients report
/// it. Counted over [`FRAMES_REPORT_SECONDS`].
pub const MIN_FAILED_FRAMES: u32 = 50;

/// Time over which a client counts frames that fail to open, and between two of its reports of one participant.
pub const FRAMES_REPORT_SECONDS: u64 = 5;

/// Bytes of a session's token.
pub const TOKEN_LEN: usize = 60;

/// A request has to be whole after so many seconds.
pub const REQUEST_TIMEOUT_SECONDS: u64 = 10;

/// The name in every control node's certificate that the cluster CA signs.
///
/// Whoever pins the CA checks this name: the CA signs nothing else with it, and no public CA signs `.internal`.
pub const CLUSTER_SERVER_NAME: &str = "control.confab.internal";
