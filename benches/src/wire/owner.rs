//! Finds the process that sent a datagram on this machine.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

/// The local UDP ports of a process, as Linux tells; none where it does not.
pub(super) fn ports_of(process: u32) -> HashSet<u16> {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let mut sockets = HashSet::new();
    for entry in fs::read_dir(folder.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let name = target.to_string_lossy();
        let inode = name
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        sockets.extend(inode.map(str::to_owned));
    }
    let mut ports = HashSet::new();
    for table in ["net/udp", "net/udp6"] {
        let text = fs::read_to_string(folder.join(table)).unwrap_or_default();
        ports.extend(text.lines().filter_map(|line| port_of(line, &sockets)));
    }
    ports
}

/// The local port of a line of the kernel's table of UDP sockets, if its socket is one of these.
fn port_of(line: &str, sockets: &HashSet<String>) -> Option<u16> {
    let mut fields = line.split_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let inode = fields.nth(7)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    sockets.contains(inode).then_some(port)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_to_be_ours_while_it_is_open() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = socket.local_addr().expect("it is bound").port();
        assert!(ports_of(std::process::id()).contains(&port));
        drop(socket);
        assert!(!ports_of(std::process::id()).contains(&port));
    }
}
