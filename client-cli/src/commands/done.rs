//! The report of a command that changes something.

use serde::Serialize;

use crate::net::Server;
use crate::net::api::Change;
use crate::output::Printed;

/// A line for the person; in JSON also the subject of the change.
#[derive(Serialize, Default)]
pub(super) struct Done {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// The change is stored, and a relay that is out of reach does not obey it yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pending: bool,
    #[serde(skip)]
    text: String,
}

impl Done {
    /// A report whose JSON has `event` alone.
    pub(super) fn new(event: &'static str, text: impl Into<String>) -> Self {
        Self {
            event,
            text: text.into(),
            ..Self::default()
        }
    }

    pub(super) fn with_link(self, link: String) -> Self {
        let link = Some(link);
        Self { link, ..self }
    }

    pub(super) fn of_conference(self, slug: String) -> Self {
        let slug = Some(slug);
        Self { slug, ..self }
    }

    pub(super) fn of_user(self, username: String) -> Self {
        let username = Some(username);
        Self { username, ..self }
    }

    pub(super) fn of_session(self, id: String) -> Self {
        let id = Some(id);
        Self { id, ..self }
    }

    pub(super) fn at(self, server: &Server) -> Self {
        let server = Some(server.to_string());
        Self { server, ..self }
    }

    /// Adds where the change does not hold yet.
    pub(super) fn held(self, change: Change) -> Self {
        Self {
            pending: change == Change::Pending,
            text: self.text + change.note(),
            ..self
        }
    }
}

impl Printed for Done {
    fn text(&self) -> Option<String> {
        Some(self.text.clone())
    }
}
