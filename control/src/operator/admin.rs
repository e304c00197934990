//! Requests about accounts, conferences and rooms.

use bytes::Bytes;
use confab_protocol::wire::{self, admin_response::Kind};

use super::{Operator, OperatorError, unexpected};
use crate::cluster::nodes::admin::{AdminRequest, MAX_PAGE, Span};
use crate::cluster::nodes::{NodeRequest, NodeResponse};
use crate::store::Cursor;

/// A list that comes in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listed {
    Accounts,
    Conferences,
}

/// A page of a list.
#[derive(Clone, PartialEq, Debug)]
pub enum Rows {
    Accounts(Vec<wire::Account>),
    Conferences(Vec<wire::Conference>),
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Accounts(rows) => rows.len(),
            Self::Conferences(rows) => rows.len(),
        }
    }
}

impl Operator {
    /// Reads a list page by page, at most `limit` items of it. `each` gets every page, and may end the list with its error.
    pub async fn list<E: From<OperatorError>>(
        &self,
        list: Listed,
        limit: Option<u32>,
        mut each: impl FnMut(Rows) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut left, mut after) = (limit, None);
        while left != Some(0) {
            let limit = left.unwrap_or(MAX_PAGE).min(MAX_PAGE);
            let (rows, next) = self.page(list, Span { after, limit }).await?;
            let taken = u32::try_from(rows.len()).unwrap_or(u32::MAX);
            left = left.map(|left| left.saturating_sub(taken));
            each(rows)?;
            if next.is_empty() {
                break;
            }
            after = Some(Cursor(next));
        }
        Ok(())
    }

    async fn page(&self, list: Listed, span: Span) -> Result<(Rows, Bytes), OperatorError> {
        match list {
            Listed::Accounts => match self.admin(AdminRequest::ListAccounts(span)).await? {
                Kind::Accounts(page) => Ok((Rows::Accounts(page.accounts), page.next)),
                _ => Err(OperatorError::Malformed),
            },
            Listed::Conferences => match self.admin(AdminRequest::ListConferences(span)).await? {
                Kind::Conferences(page) => Ok((Rows::Conferences(page.conferences), page.next)),
                _ => Err(OperatorError::Malformed),
            },
        }
    }

    /// Sends a request about accounts, conferences and rooms.
    pub async fn admin(&self, ask: AdminRequest) -> Result<Kind, OperatorError> {
        match self.ask(&NodeRequest::Admin(Box::new(ask))).await? {
            NodeResponse::Admin(answer) => answer.kind.ok_or(OperatorError::Malformed),
            other => Err(unexpected(other)),
        }
    }

    /// Sends a request whose answer says nothing more than that it is done. False: not yet at a relay that cannot be reached.
    pub async fn admin_done(&self, ask: AdminRequest) -> Result<bool, OperatorError> {
        match self.admin(ask).await? {
            Kind::Done(done) => Ok(!done.pending),
            _ => Err(OperatorError::Malformed),
        }
    }
}
