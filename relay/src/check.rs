//! `confab-relay check`: the settings of this host that hold a relay back, and the command that changes each.

use std::fs;
use std::path::{Path, PathBuf};

use confab_console::{Finding, open_files};

/// Socket buffers that ride out some 100 ms of a busy worker.
const WANTED_SOCKET_BUFFER: u64 = 4 << 20;
/// Packets that the kernel may queue for a core between the card and the sockets.
const WANTED_BACKLOG: u64 = 5000;
/// Descriptors: a few sockets for each worker and link, and spare ones.
const WANTED_FILES: u64 = 1024;
/// Slots of a device's send queue.
const WANTED_TX_QUEUE: u64 = 1000;

/// The capability to open packet sockets, by its number.
const CAP_NET_RAW: u32 = 13;

/// Looks at a host through its `/proc` and `/sys`, below `root` (`/` but in tests).
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The host whose files are below `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// All findings, those with a remedy first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![
            self.sysctl(
                "net.core.rmem_max",
                WANTED_SOCKET_BUFFER,
                "bytes of receive buffer a socket may have",
            ),
            self.sysctl(
                "net.core.wmem_max",
                WANTED_SOCKET_BUFFER,
                "bytes of send buffer a socket may have",
            ),
            self.sysctl(
                "net.core.netdev_max_backlog",
                WANTED_BACKLOG,
                "packets queued for a core",
            ),
            self.files(),
            self.cores(),
            self.clock(),
            self.packet_sockets(),
        ];
        findings.extend(self.udp_errors());
        findings.extend(self.devices());
        findings.sort_by_key(|finding| finding.remedy.is_none());
        findings
    }

    fn sysctl(&self, name: &str, wanted: u64, meaning: &str) -> Finding {
        let Some(value) = self.number(&format!("proc/sys/{}", name.replace('.', "/"))) else {
            return unknown(name);
        };
        Finding {
            what: format!("{name} is {value} ({meaning}; {wanted} or more is good)"),
            remedy: (value < wanted).then(|| {
                format!(
                    "sysctl -w {name}={wanted}   (and keep it: echo '{name}={wanted}' > /etc/sysctl.d/90-confab-{}.conf)",
                    name.rsplit('.').next().unwrap_or(name)
                )
            }),
        }
    }

    fn files(&self) -> Finding {
        let limits = self.text("proc/self/limits").unwrap_or_default();
        open_files(&limits, WANTED_FILES)
    }

    fn cores(&self) -> Finding {
        let info = self.text("proc/cpuinfo").unwrap_or_default();
        let cores = info
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count();
        Finding {
            what: format!("{cores} cores: as many workers by default"),
            remedy: (cores == 1).then(|| {
                "give the machine a second core: on one, control's commands and voice wait for each other".to_owned()
            }),
        }
    }

    fn clock(&self) -> Finding {
        const FOLDER: &str = "sys/devices/system/clocksource/clocksource0";
        let Some(clock) = self.text(&format!("{FOLDER}/current_clocksource")) else {
            return unknown("the kernel's clock");
        };
        let clock = clock.trim();
        let is_fast = [
            "tsc",
            "kvm-clock",
            "arch_sys_counter",
            "hyperv_clocksource_tsc_page",
        ]
        .contains(&clock);
        let others = self
            .text(&format!("{FOLDER}/available_clocksource"))
            .unwrap_or_default();
        Finding {
            what: format!("the kernel's clock is {clock}"),
            remedy: (!is_fast).then(|| {
                format!(
                    "each look at this clock is a slow call into the kernel; try another of: {}   (echo tsc > /{FOLDER}/current_clocksource)",
                    others.trim()
                )
            }),
        }
    }

    /// Says if `--transmit packet` would start here. There is no remedy: a relay works without it.
    fn packet_sockets(&self) -> Finding {
        const WORTH: &str = "it saves about a third of what a datagram costs, and passes by this host's own firewall \
                             rules for output, NAT, IPsec and traffic control";
        let status = self.text("proc/self/status").unwrap_or_default();
        let mut lines = status.lines();
        let effective = lines.find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        let Some(effective) = effective else {
            return unknown("whether --transmit packet is possible");
        };
        Finding {
            what: match effective >> CAP_NET_RAW & 1 {
                1 => format!("--transmit packet is possible: {WORTH}"),
                _ => format!(
                    "--transmit packet is not possible without CAP_NET_RAW (setcap cap_net_raw+ep, or systemd: \
                     AmbientCapabilities=CAP_NET_RAW): {WORTH}"
                ),
            },
            remedy: None,
        }
    }

    /// UDP datagrams that the kernel has dropped since the host started.
    fn udp_errors(&self) -> Option<Finding> {
        let snmp = self.text("proc/net/snmp")?;
        let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (lines.next()?, lines.next()?);
        let get = |wanted: &str| -> Option<u64> {
            let at = names.split_whitespace().position(|name| name == wanted)?;
            values.split_whitespace().nth(at)?.parse().ok()
        };
        let (received, sent) = (get("RcvbufErrors")?, get("SndbufErrors")?);
        Some(Finding {
            what: format!("since the host started, {received} datagrams were dropped for a full receive buffer and {sent} for a full send buffer"),
            remedy: (received + sent > 0).then(|| {
                "if these grow while a relay runs: larger --socket-buffer, more --workers, or a second relay".to_owned()
            }),
        })
    }

    /// Send queues of the network devices that are up, but loopback.
    fn devices(&self) -> Vec<Finding> {
        let Ok(folder) = fs::read_dir(self.root.join("sys/class/net")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = folder
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name != "lo")
            .collect();
        names.sort();
        names.iter().filter_map(|name| self.device(name)).collect()
    }

    fn device(&self, name: &str) -> Option<Finding> {
        let up = self.text(&format!("sys/class/net/{name}/operstate"))?;
        if up.trim() != "up" {
            return None;
        }
        let length = self.number(&format!("sys/class/net/{name}/tx_queue_len"))?;
        let dropped = self.number(&format!("sys/class/net/{name}/statistics/tx_dropped"))?;
        let is_short = length > 0 && length < WANTED_TX_QUEUE;
        Some(Finding {
            what: format!("{name} queues {length} packets for sending and has dropped {dropped}"),
            remedy: (is_short || dropped > 0).then(|| {
                format!("a full device queue drops without an error at the socket: ip link set {name} txqueuelen {}", WANTED_TX_QUEUE * 5)
            }),
        })
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.root.join(file)).ok()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }
}

fn unknown(what: &str) -> Finding {
    Finding::good(format!("{what} cannot be read here"))
}

#[cfg(test)]
mod tests {
    use confab_console::report;

    use super::*;

    /// A host with these files.
    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let host = Host::new(root.path());
        (root, host)
    }

    fn to_remedy(host: &Host) -> Vec<String> {
        host.findings()
            .into_iter()
            .filter_map(|finding| finding.remedy)
            .collect()
    }

    #[test]
    fn a_setting_that_is_too_small_comes_first_with_its_remedy() {
        let (_root, host) = host(&[
            ("proc/sys/net/core/rmem_max", "212992\n"),
            ("proc/sys/net/core/wmem_max", "8388608\n"),
            (
                "proc/self/limits",
                "Max open files            256                  4096                 files\n",
            ),
            ("proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n"),
        ]);
        let remedies = to_remedy(&host);
        assert_eq!(remedies.len(), 2, "{remedies:?}");
        assert!(remedies[0].contains("sysctl -w net.core.rmem_max=4194304"));
        assert!(remedies[1].contains("ulimit -n 1024"));
        assert!(host.findings()[0].remedy.is_some());
    }

    #[test]
    fn drops_and_slow_clocks_are_named() {
        let (_root, host) = host(&[
            ("proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n"),
            (
                "proc/net/snmp",
                "Udp: InDatagrams RcvbufErrors SndbufErrors\nUdp: 10 7 0\n",
            ),
            (
                "sys/devices/system/clocksource/clocksource0/current_clocksource",
                "hpet\n",
            ),
            (
                "sys/devices/system/clocksource/clocksource0/available_clocksource",
                "tsc hpet\n",
            ),
            ("sys/class/net/eth0/operstate", "up\n"),
            ("sys/class/net/eth0/tx_queue_len", "1000\n"),
            ("sys/class/net/eth0/statistics/tx_dropped", "3\n"),
            ("sys/class/net/eth1/operstate", "down\n"),
        ]);
        let text = report(&host.findings());
        for expected in ["7 datagrams", "hpet", "eth0 queues 1000"] {
            assert!(text.contains(expected), "{text}");
        }
        assert!(!text.contains("eth1"));
        assert_eq!(to_remedy(&host).len(), 3);
    }

    #[test]
    fn packet_sockets_are_reported_without_a_remedy() {
        for (capabilities, expected) in [
            ("0000000000002000", "packet is possible"),
            ("00000000a80405fb", "is not possible without CAP_NET_RAW"),
            ("nonsense", "cannot be read here"),
        ] {
            let status = format!("Name:\tx\nCapEff:\t{capabilities}\nCapBnd:\t0\n");
            let (_root, host) = host(&[("proc/self/status", &status)]);
            let text = report(&host.findings());
            assert!(text.contains(expected), "{text}");
            assert_eq!(to_remedy(&host), [] as [&str; 0]);
        }
    }

    #[test]
    fn a_host_without_readable_files_gives_findings_and_no_panic() {
        let (_root, host) = host(&[]);
        assert!(!host.findings().is_empty());
        assert!(to_remedy(&host).is_empty());
    }
}
