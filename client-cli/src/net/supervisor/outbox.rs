//! Messages of the member that wait for the server: they go in order, one request at a time.

use std::collections::VecDeque;
use std::time::Duration;

use confab_e2ee::mls::FromMember;
use confab_protocol::control::text::Shown;
use confab_protocol::control::{ErrorCode, MAX_COMMIT_REQUEST, MAX_GROUP_MESSAGES, MAX_REQUEST};
use confab_protocol::wire;
use prost::Message as _;

use crate::net::api::OwnJoin;
use crate::net::{ApiError, Link};

/// Most messages that wait, and most bytes of them. A server that takes so many no more is left.
const MAX_WAITING: usize = 512;
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of a request beside its messages, at most: ids, keys and lengths.
const REQUEST_OVERHEAD: usize = 256;

/// Bytes of a message's key and length in its request, at most.
const MESSAGE_OVERHEAD: usize = 8;

/// Wait before a request that the server refused for now is repeated, unless it says another, and the longest such wait.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// The server has not taken messages for long.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// The messages that wait, oldest first.
#[derive(Default)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

struct Waiting {
    message: wire::FromMember,
    /// Of protobuf.
    bytes: usize,
    may_be_long: bool,
}

impl Outbox {
    /// Adds a message; with an error it is dropped.
    pub fn push(&mut self, message: FromMember) -> Result<(), Full> {
        let may_be_long = message.may_be_long();
        let message = wire::FromMember::from(message);
        let bytes = message.encoded_len();
        if self.waiting.len() >= MAX_WAITING || self.bytes + bytes > MAX_WAITING_BYTES {
            return Err(Full);
        }
        self.bytes += bytes;
        self.waiting.push_back(Waiting {
            message,
            bytes,
            may_be_long,
        });
        Ok(())
    }

    /// Drops all messages.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes the messages of the next request; none if none waits. A commit or a new group may be long, and is the first of its request.
    pub fn next_batch(&mut self) -> Vec<wire::FromMember> {
        let is_long = self.waiting.front().is_some_and(|one| one.may_be_long);
        let limit = match is_long {
            true => MAX_COMMIT_REQUEST,
            false => MAX_REQUEST,
        };
        let (mut batch, mut size) = (Vec::new(), REQUEST_OVERHEAD);
        while let Some(one) = self.waiting.front() {
            size += one.bytes + MESSAGE_OVERHEAD;
            let is_next = batch.is_empty()
                || (size <= limit && batch.len() < MAX_GROUP_MESSAGES && !one.may_be_long);
            if !is_next {
                break;
            }
            self.bytes -= one.bytes;
            batch.extend(self.waiting.pop_front().map(|one| one.message));
        }
        batch
    }
}

/// Sends a batch, and again as long as the server refuses it for now. Another failure is logged: the server asks again for what it
/// misses.
pub async fn send(link: &Link, join: OwnJoin, batch: Vec<wire::FromMember>) {
    loop {
        let wait = match link.send_to_group(&join, batch.clone()).await {
            Ok(()) => return,
            Err(ApiError::Refused(refusal))
                if matches!(refusal.code, ErrorCode::Throttled | ErrorCode::Busy) =>
            {
                refusal.retry_after.unwrap_or(RETRY_AFTER)
            }
            Err(error) => {
                tracing::debug!(error = %Shown(error), "messages to the group were not taken");
                return;
            }
        };
        tokio::time::sleep(wait.min(LONGEST_RETRY)).await;
    }
}

#[cfg(test)]
mod tests {
    use confab_e2ee::mls::{GroupName, Suite};
    use confab_protocol::control::ConferenceId;

    use super::*;

    const GROUP: GroupName = GroupName {
        conference: ConferenceId::new([1; 16]),
        era: 1,
        generation: 1,
    };

    fn merged(epoch: u64) -> FromMember {
        FromMember::Merged {
            group: GROUP,
            epoch,
        }
    }

    fn commit(bytes: usize) -> FromMember {
        FromMember::Committed {
            group: GROUP,
            epoch: 0,
            commit: vec![1; bytes],
            welcome: Vec::new(),
        }
    }

    fn key_package(bytes: usize) -> FromMember {
        FromMember::KeyPackage {
            suite: Suite::PostQuantum,
            key_package: vec![1; bytes],
        }
    }

    fn batches(messages: Vec<FromMember>) -> Vec<usize> {
        let mut outbox = Outbox::default();
        for message in messages {
            outbox.push(message).unwrap();
        }
        let batches = std::iter::from_fn(|| Some(outbox.next_batch().len()));
        let sizes = batches.take_while(|size| *size > 0).collect();
        assert_eq!(outbox.bytes, 0);
        sizes
    }

    #[test]
    fn all_that_waits_goes_into_the_next_request_up_to_sixteen_messages() {
        assert_eq!(batches((0..20).map(merged).collect()), [16, 4]);
    }

    #[test]
    fn a_commit_begins_a_request_of_its_own() {
        let messages = vec![
            merged(1),
            commit(100_000),
            merged(2),
            commit(10),
            commit(10),
        ];
        assert_eq!(batches(messages), [1, 2, 1, 1]);
    }

    #[test]
    fn requests_without_a_commit_stay_as_short_as_others() {
        assert_eq!(batches(vec![key_package(6000); 5]), [2, 2, 1]);
    }

    #[test]
    fn messages_that_nobody_takes_are_not_kept_for_ever() {
        let mut outbox = Outbox::default();
        for epoch in 0..MAX_WAITING as u64 {
            outbox.push(merged(epoch)).unwrap();
        }
        assert_eq!(outbox.push(merged(0)), Err(Full));
        outbox.clear();
        for _ in 0..7 {
            outbox.push(commit(1024 * 1024)).unwrap();
        }
        assert_eq!(outbox.push(commit(1024 * 1024)), Err(Full));
    }
}
