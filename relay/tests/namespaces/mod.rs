//! Hosts that are joined by cables: network namespaces with pairs of virtual Ethernet devices. They need root.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static MADE: AtomicUsize = AtomicUsize::new(0);

/// A host without anything but a loopback interface; gone when it is dropped.
pub struct Host {
    name: String,
}

impl Host {
    /// `None` where none can be made; then it has been said why.
    pub fn new() -> Option<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("confab-test-{}-{number}", std::process::id());
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => {
                let host = Self { name };
                host.ip("link set lo up");
                Some(host)
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("NOT TRIED, for no network namespace can be made: {said}");
                None
            }
            Err(error) => {
                eprintln!("NOT TRIED, for there is no `ip`: {error}");
                None
            }
        }
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` there.
    pub fn ip(&self, command: &str) {
        run(&format!("ip -n {} {command}", self.name));
    }

    /// Lays a cable to another host; each end has a name and addresses.
    pub fn cable(&self, end: (&str, &[&str]), other: &Self, other_end: (&str, &[&str])) {
        run(&format!(
            "ip link add {} netns {} type veth peer name {} netns {}",
            end.0, self.name, other_end.0, other.name
        ));
        for (host, (device, addresses)) in [(self, end), (other, other_end)] {
            for address in addresses {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                host.ip(&format!("address add {address} dev {device}{nodad}"));
            }
            host.ip(&format!("link set {device} up"));
        }
    }

    /// Does something there. Sockets and threads that it opens stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let working = scope.spawn(|| {
                let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), network).unwrap();
                work()
            });
            working.join().unwrap()
        })
    }

    /// Packets that have come in by a device.
    pub fn received_by(&self, device: &str) -> u64 {
        let table = self.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let line = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(&format!("{device}:")));
        let mut fields = line.unwrap().split_whitespace();
        fields.nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .output();
    }
}

fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
}
