//! Links to a conference: `confab://HOST[:PORT]/SLUG#1.FINGERPRINT[.INVITATION]`. The fingerprint is of the cluster's authority, so that
//! whoever follows a link has nothing to trust at first sight. It stands in the fragment, which no program sends to a server.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

use super::{InvitationToken, Slug};

/// How a link begins.
const SCHEME: &str = "confab://";

/// The form of what follows `#`.
const VERSION: &str = "1.";

/// A link to a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConferenceLink {
    /// HOST or HOST:PORT.
    pub server: String,
    /// The conference.
    pub slug: Slug,
    /// SHA-256 of the DER form of the cluster authority's certificate.
    pub authority: [u8; 32],
    /// What makes whoever follows the link a member.
    pub invitation: Option<InvitationToken>,
}

/// Text that is no link to a conference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// It does not have the form.
    #[error(
        "a link looks like confab://HOST/CONFERENCE#1.FINGERPRINT, perhaps with .INVITATION behind it: copy the whole of it"
    )]
    Form,
    /// What follows `#` is of a later version.
    #[error("the link is of a later version than this program knows: install a newer one")]
    Version,
}

impl FromStr for ConferenceLink {
    type Err = BadLink;

    fn from_str(text: &str) -> Result<Self, BadLink> {
        let rest = bare(text)
            .split_at_checked(SCHEME.len())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
            .map(|(_, rest)| rest)
            .ok_or(BadLink::Form)?;
        let (server, rest) = rest.split_once('/').ok_or(BadLink::Form)?;
        let (slug, fragment) = rest.split_once('#').ok_or(BadLink::Form)?;
        let rest = match fragment.strip_prefix(VERSION) {
            Some(rest) => rest,
            None if fragment.contains('.') => return Err(BadLink::Version),
            None => return Err(BadLink::Form),
        };
        let (digest, invitation) = match rest.split_once('.') {
            // A sentence may end behind a link. Without anything before it the dot is what is left of a token.
            Some((digest, token)) => (digest, Some(token.trim_end_matches('.'))),
            None => (rest, None),
        };
        let invitation = invitation.map(str::parse).transpose();
        let digest = BASE64URL_NOPAD.decode(digest.as_bytes());
        let digest = digest.map_err(|_| BadLink::Form)?;
        if server.is_empty() {
            return Err(BadLink::Form);
        }
        Ok(Self {
            server: server.to_owned(),
            slug: slug.parse().map_err(|_| BadLink::Form)?,
            authority: digest.try_into().map_err(|_| BadLink::Form)?,
            invitation: invitation.map_err(|_| BadLink::Form)?,
        })
    }
}

/// True for text that is meant to be a link, and not a slug.
pub fn is_meant_as_link(text: &str) -> bool {
    text.contains("://") || text.contains('#')
}

/// The link without what chats and mails put around it.
fn bare(text: &str) -> &str {
    let around = |c: char| c.is_whitespace() || "<>()[]\"'`‘’“”".contains(c);
    text.trim_matches(around)
        .trim_end_matches([',', ';', '!', '?'])
        .trim_matches(around)
}

impl fmt::Display for ConferenceLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = BASE64URL_NOPAD.encode(&self.authority);
        let Self { server, slug, .. } = self;
        write!(f, "{SCHEME}{server}/{slug}#{VERSION}{digest}")?;
        match &self.invitation {
            Some(token) => write!(f, ".{}", token.reveal()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_link_reads_as_it_is_written(
            authority: [u8; 32],
            slug in "[a-z0-9]{3,20}",
            server in "[a-z0-9.]{1,20}(:[1-9][0-9]{0,3})?",
            token: Option<[u8; 16]>,
        ) {
            let invitation = token.map(InvitationToken::new);
            let link = ConferenceLink { server, slug: slug.parse().unwrap(), authority, invitation };
            prop_assert_eq!(link.to_string().parse(), Ok(link));
        }

        #[test]
        fn a_link_is_read_out_of_what_is_around_it(token: Option<[u8; 16]>) {
            let invitation = token.map(InvitationToken::new);
            let link = ConferenceLink {
                server: "talk.example.org".to_owned(),
                slug: "friday".parse().unwrap(),
                authority: [7; 32],
                invitation,
            };
            let text = link.to_string();
            for pasted in [
                format!("<{text}>"),
                format!("  {text}\n"),
                format!("'{text}',"),
                format!("({text})!"),
                text.replacen("confab", "CONFAB", 1),
            ] {
                let pasted = match link.invitation {
                    Some(_) => pasted.replace(&text, &format!("{text}.")),
                    None => pasted,
                };
                prop_assert!(is_meant_as_link(&pasted));
                prop_assert_eq!(pasted.parse::<ConferenceLink>(), Ok(link.clone()));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,120}") {
            let _ = text.parse::<ConferenceLink>();
            let _ = format!("{SCHEME}{text}").parse::<ConferenceLink>();
        }
    }

    #[test]
    fn what_is_cut_off_or_of_a_later_version_is_told_apart() {
        let whole = format!("confab://talk.example.org/friday#1.{}", "A".repeat(43));
        assert!(whole.parse::<ConferenceLink>().is_ok());
        let invited = format!("{whole}.{}", "A".repeat(22));
        assert!(invited.parse::<ConferenceLink>().is_ok());
        for cut in [
            &whole[..20],
            &whole[..whole.len() - 1],
            &invited[..invited.len() - 1],
            &invited[..=whole.len()],
            &format!("{invited}.A"),
            "friday",
            "",
        ] {
            assert_eq!(cut.parse::<ConferenceLink>(), Err(BadLink::Form), "{cut}");
        }
        let later = whole.replace("#1.", "#2.");
        assert_eq!(later.parse::<ConferenceLink>(), Err(BadLink::Version));
    }
}
