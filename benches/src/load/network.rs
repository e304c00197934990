//! The network between the load and what is measured: the loopback interface, or a cable.
//!
//! The cable is a pair of virtual Ethernet devices (veth) between two network namespaces: the load is in one, the programs
//! that are measured are in the other. So they send to a neighbour, as they do on a real network, and not to their own
//! host. What they send arrives in their own time, as on the loopback interface.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::process::{self, Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio::process::Command;

/// Set where this program is in a namespace of its own already.
const INSIDE: &str = "CONFAB_BENCH_INSIDE";
/// Both ends of the cable, from the block for measuring networks (RFC 2544 §C.2.2).
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// A namespace is there by then, or not at all.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where the load is, and where what is measured.
pub struct Network {
    /// The load's own address.
    pub near: IpAddr,
    /// The address of what is measured.
    pub far: IpAddr,
    /// Keeps the far namespace; ends when this process does.
    far_end: Option<Child>,
}

/// Starts this program anew in a network namespace of its own, which vanishes with it. Returns where that cannot be, or
/// where it is in one already.
pub fn enter() {
    let can = || {
        let tried = process::Command::new("unshare")
            .args(["--net", "ip", "link"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    };
    if std::env::var_os(INSIDE).is_some() || !can() {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    // It returns only if it fails, and then everything goes on where it is.
    let _ = process::Command::new("unshare")
        .arg("--net")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
}

impl Network {
    pub fn loopback() -> Self {
        Self {
            near: Ipv4Addr::LOCALHOST.into(),
            far: Ipv4Addr::LOCALHOST.into(),
            far_end: None,
        }
    }

    /// A cable, if this program is in a [namespace of its own](enter); else the loopback interface.
    pub fn lay() -> io::Result<Self> {
        if std::env::var_os(INSIDE).is_none() {
            return Ok(Self::loopback());
        }
        ip("link set lo up")?;
        let far_end = process::Command::new("unshare")
            // It reads until this process ends, however it does.
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let network = Self {
            near: NEAR.into(),
            far: FAR.into(),
            far_end: Some(far_end),
        };
        let pid = network.wait_for_far_end()?;
        ip(&format!(
            "link add near type veth peer name far netns {pid}"
        ))?;
        ip(&format!("address add {NEAR}/30 dev near"))?;
        ip("link set near up")?;
        let there = format!("--net=/proc/{pid}/ns/net");
        for command in [
            "link set lo up",
            &format!("address add {FAR}/30 dev far"),
            "link set far up",
        ] {
            run(process::Command::new("nsenter")
                .args([&there, "ip"])
                .args(command.split(' ')))?;
        }
        Ok(network)
    }

    /// How a relay can send audio here, by its `--transmit`; the way that costs least is the last one.
    pub fn ways(&self) -> &'static [&'static str] {
        // No frames go over the loopback interface. Whoever may make a namespace may open packet sockets in it.
        match self.far_end {
            Some(_) => &["socket", "packet"],
            None => &["socket"],
        }
    }

    /// True when datagrams go over a cable.
    pub fn is_cable(&self) -> bool {
        self.far_end.is_some()
    }

    /// How it is called in a report.
    pub fn name(&self) -> &'static str {
        match self.far_end {
            Some(_) => "a cable (veth) between two network namespaces",
            None => "the loopback interface",
        }
    }

    /// A program to be started at the far end.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.far_end {
            None => Command::new(program),
            Some(far_end) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/proc/{}/ns/net", far_end.id()));
                command.arg("--").arg(program);
                command
            }
        }
    }

    /// Datagrams that have come from a server to near sockets that are connected to it and that nobody reads: the kernel
    /// counts them when it finds the receive buffer full.
    pub fn arrived_from(&self, server: SocketAddr) -> io::Result<u64> {
        let sockets = fs::read_to_string("/proc/self/net/udp")?;
        Ok(drops(&sockets, server.port()))
    }

    fn wait_for_far_end(&self) -> io::Result<u32> {
        let pid = self.far_end.as_ref().map_or(0, Child::id);
        let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/net"));
        let own = namespace("self")?;
        let start = Instant::now();
        while namespace(&pid.to_string())? == own {
            if start.elapsed() > DEADLINE {
                return Err(io::Error::other("no second network namespace"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(pid)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(mut far_end) = self.far_end.take() {
            // It may have ended by itself.
            let _ = far_end.kill();
            let _ = far_end.wait();
        }
    }
}

fn ip(arguments: &str) -> io::Result<()> {
    run(process::Command::new("ip").args(arguments.split(' ')))
}

fn run(command: &mut process::Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {said}")))
}

/// Drops of the sockets that are connected to a port, by `/proc/net/udp`.
fn drops(sockets: &str, port: u16) -> u64 {
    let sockets = sockets.lines().skip(1);
    let dropped = sockets.filter_map(|socket| {
        let mut fields = socket.split_whitespace();
        let (_, remote) = fields.nth(2)?.split_once(':')?;
        let is_of_port = u16::from_str_radix(remote, 16) == Ok(port);
        fields
            .next_back()?
            .parse::<u64>()
            .ok()
            .filter(|_| is_of_port)
    });
    dropped.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arriving_datagrams_are_counted_by_sender() {
        let sockets = "  sl  local_address rem_address   st tx_queue rx_queue drops\n\
                       1: 0100007F:8235 0100007F:1F90 01 00000000:00001100 00:00000000 00000000 0 0 26 2 00000000 7\n\
                       2: 0100007F:8236 0100007F:1F90 01 00000000:00001100 00:00000000 00000000 0 0 27 2 00000000 5\n\
                       3: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 28 2 00000000 9\n";
        assert_eq!(drops(sockets, 8080), 12);
        assert_eq!(drops(sockets, 8081), 0);
    }
}
