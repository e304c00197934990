//! A relay in the server's process: workers of its own, and a link to control as any relay has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Parser as _;
use confab_control::commands::{Companion, INSIDE, Inner, InnerError};
use confab_control::flags::ServeFlags;
use confab_control::tls::authority::Authority;
use confab_control::{Running, clock::Clock};
use confab_relay::flags::Flags;
use confab_relay::{StartError, descriptors};
use tokio::sync::mpsc;

use crate::link::{FirstLink, first_steps};
use crate::mapping::Mapping;
use crate::router::Ports;
use crate::{ports, reach};

/// The conference of the link that is printed at the start.
const FIRST_CONFERENCE: &str = "lobby";

/// Folder of its identity, below the data folder.
const FOLDER: &str = "relay";

/// Makes the relay of `serve --with-relay`.
pub(crate) struct Inside;

impl Inner for Inside {
    async fn start(&self, server: &Running, flags: &ServeFlags) -> Result<Companion, InnerError> {
        let folder = flags.data_dir.join(FOLDER);
        let authority = Authority::open(&flags.data_dir).map_err(failed)?;
        let name = INSIDE.parse().map_err(failed)?;
        // Anew at each start: it never ends while the server is looked after.
        authority
            .issue_relay(&name, &folder, Clock::System.now())
            .map_err(failed)?;
        descriptors::raise_limit();
        let given = &flags.relay;
        let names = &flags.public_names;
        let mut public = given.relay_public_address.clone();
        // A port that the system chooses is not known yet; then the relay tells what it can.
        if public.is_empty() && given.relay_listen.port() != 0 {
            public = reach::addresses(given.relay_listen, names).await;
        }
        let mut settings = defaults(&near(server.addr).to_string())?;
        settings.identity = Some(folder);
        settings.listen = vec![given.relay_listen];
        settings.public_address.clone_from(&public);
        if let Some(region) = &flags.region {
            settings.region = region.as_str().to_owned();
        }
        let relay = confab_relay::start(&settings).await.map_err(advised)?;
        let listening = relay.addresses().iter();
        let listening = listening.map(|address| format!("relay inside, on {address} (UDP)"));
        let mut says: Vec<String> = listening.collect();
        let listen = SocketAddr::new(
            given.relay_listen.ip(),
            relay.addresses().first().map_or(0, SocketAddr::port),
        );
        if public.is_empty() {
            public = reach::addresses(listen, names).await;
        }
        let own = reach::own_address(server.addr);
        let conference = FIRST_CONFERENCE.parse().map_err(failed)?;
        says.extend(first_steps(flags, &conference));
        let link = FirstLink {
            conference,
            authority: authority.digest(),
            name: names.first().cloned(),
            own,
            port: server.addr.port(),
            is_near: server.addr.ip().is_loopback() || listen.ip().is_loopback(),
        };
        let ports = Ports {
            control: server.addr.port(),
            relay: listen.port(),
        };
        let can_be_mapped = [server.addr, listen].into_iter().all(ports::can_be_mapped);
        let held = if given.map_ports && can_be_mapped {
            let mapping = Mapping {
                ports,
                own,
                relay_addresses: public,
                told: relay.public_addresses(),
                link,
            };
            // The outcome and the link are said as soon as they are known.
            Some(mapping.hold())
        } else {
            let is_told = !names.is_empty() || !given.relay_public_address.is_empty();
            if given.map_ports {
                says.push(ports::NOT_MAPPABLE.to_owned());
            } else if !is_told && can_be_mapped {
                says.extend(ports::hint(ports, own));
            }
            says.extend(link.lines(None));
            None
        };
        let (end, ends) = mpsc::channel(1);
        let task = tokio::spawn(async move { relay.run(ends).await.map_err(failed) });
        Ok(Companion {
            says,
            end,
            task,
            ports: held,
        })
    }
}

/// A relay's settings as they are without a flag. Variables of the environment and files are for relays of their own.
fn defaults(control: &str) -> Result<Flags, InnerError> {
    let given = ["confab-relay", "--control", control, "--identity", FOLDER];
    Flags::try_parse_from(given).map_err(failed)
}

/// Where this process reaches its own server.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn failed(error: impl std::error::Error) -> InnerError {
    InnerError(error.to_string())
}

/// The relay's own flags have other names here.
fn advised(error: StartError) -> InnerError {
    InnerError(error.to_string().replace("--listen", "--relay-listen"))
}
