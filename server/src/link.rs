//! The link to a first conference, which is printed at the start.

use std::net::{IpAddr, SocketAddrV4};

use confab_control::flags::{Creators, Registration, ServeFlags};
use confab_protocol::control::Slug;
use confab_protocol::control::link::ConferenceLink;
use confab_protocol::control::server::Server;

/// How participants reach the server, and the conference to which they are invited.
pub(crate) struct FirstLink {
    pub(crate) conference: Slug,
    /// Digest of the cluster CA.
    pub(crate) authority: [u8; 32],
    /// The first public name.
    pub(crate) name: Option<String>,
    /// This machine's address.
    pub(crate) own: IpAddr,
    /// The server's port on this machine.
    pub(crate) port: u16,
    /// True if other machines cannot reach the server.
    pub(crate) is_near: bool,
}

impl FirstLink {
    /// The lines with the link; `external` is the server's address outside of a router. A router may not pass what comes from within to its
    /// own address outside: then this network has a link of its own.
    pub(crate) fn lines(&self, external: Option<SocketAddrV4>) -> Vec<String> {
        let port = external.map_or(self.port, |external| external.port());
        let own = || self.own.to_string();
        match (&self.name, external) {
            (Some(name), _) => vec![self.line(self.from(), name.clone(), port)],
            (None, Some(external)) => vec![
                self.line("from elsewhere", external.ip().to_string(), port),
                self.line("from this network", own(), self.port),
            ],
            (None, None) => vec![self.line(self.from(), own(), port)],
        }
    }

    fn from(&self) -> &'static str {
        match self.is_near {
            true => "from this machine alone",
            false => "from here or elsewhere",
        }
    }

    fn line(&self, from: &str, host: String, port: u16) -> String {
        let link = ConferenceLink {
            server: Server { host, port }.short(),
            slug: self.conference.clone(),
            authority: self.authority,
            invitation: None,
        };
        format!("join {from}: confab join '{link}'")
    }
}

/// What has to be done before somebody can follow the link, where the server does not let everybody in.
pub(crate) fn first_steps(flags: &ServeFlags, conference: &Slug) -> Vec<String> {
    let folder = flags.data_dir.display();
    let mut steps = Vec::new();
    let account = match flags.registration {
        Registration::Open => None,
        Registration::Invite => Some("without an invitation (`confab conference invite --link`)"),
        Registration::Closed => Some("but by you"),
    };
    if let Some(how) = account {
        steps.push(format!(
            "nobody gets an account here {how}: make the first one with `confab-control users add NAME --data-dir {folder}`"
        ));
    }
    if flags.create == Creators::Operators {
        steps.push(format!(
            "only you create conferences here: `confab-control conferences create {conference} --owner NAME --data-dir {folder}` makes that of the link"
        ));
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use clap::Parser as _;
    use confab_control::flags::{Command, Flags};

    use super::*;

    fn link(name: Option<&str>) -> FirstLink {
        FirstLink {
            conference: "lobby".parse().unwrap_or_else(|_| unreachable!()),
            authority: [0; 32],
            name: name.map(str::to_owned),
            own: Ipv4Addr::new(192, 168, 1, 7).into(),
            port: 4433,
            is_near: false,
        }
    }

    fn begins(lines: &[String], expected: &[&str]) {
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
    }

    #[test]
    fn a_mapped_server_has_a_link_for_elsewhere_and_one_for_this_network() {
        let outside = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 5433);
        begins(
            &link(None).lines(Some(outside)),
            &[
                "join from elsewhere: confab join 'confab://203.0.113.9:5433/lobby#",
                "join from this network: confab join 'confab://192.168.1.7/lobby#",
            ],
        );
        let named =
            "join from here or elsewhere: confab join 'confab://talk.example.org:5433/lobby#";
        begins(
            &link(Some("talk.example.org")).lines(Some(outside)),
            &[named],
        );
    }

    #[test]
    fn a_server_that_is_not_mapped_has_one_link() {
        let own = "join from here or elsewhere: confab join 'confab://192.168.1.7/lobby#";
        begins(&link(None).lines(None), &[own]);
        let near = FirstLink {
            is_near: true,
            ..link(None)
        };
        begins(&near.lines(None), &["join from this machine alone: "]);
    }

    #[test]
    fn where_not_everybody_may_come_the_first_steps_are_said() {
        let steps = |flags: &[&str]| {
            let given = ["confab-control", "serve", "--data-dir", "here"];
            let given = given.iter().chain(flags);
            let command = Flags::try_parse_from(given).unwrap().command;
            let Command::Serve(flags) = command else {
                unreachable!()
            };
            first_steps(&flags, &"lobby".parse().unwrap())
        };
        assert!(steps(&[]).is_empty());
        let closed = steps(&["--registration", "closed", "--create", "operators"]);
        assert!(closed[0].contains("users add NAME --data-dir here"));
        assert!(closed[1].contains("conferences create lobby --owner NAME"));
        assert_eq!(steps(&["--registration", "invite"]).len(), 1);
    }
}
