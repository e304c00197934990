//! The way to the router.

use std::net::{IpAddr, Ipv4Addr};

use crate::reach;

/// Routes as Linux tells them; other systems have no such file. A process that sees its own part of /proc alone has it, too.
const ROUTES: &str = "/proc/self/net/route";
/// Flags of a route that is up and leads over a gateway.
const UP_BY_GATEWAY: u32 = 0x3;

/// The router of the default route, where the system tells it.
pub(super) fn default_gateway() -> Option<Ipv4Addr> {
    of(&std::fs::read_to_string(ROUTES).ok()?)
}

/// This machine's address on the way to another one.
pub(super) fn local_address(towards: Ipv4Addr) -> Option<Ipv4Addr> {
    match reach::towards(IpAddr::V4(towards))? {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

/// The gateway of the default route with the lowest metric.
fn of(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, to, gateway, flags, _, _, metric, mask, ..] = fields[..] else {
            return None;
        };
        let hex = |field| u32::from_str_radix(field, 16).ok();
        let is_default = hex(to)? == 0 && hex(mask)? == 0;
        let leads = hex(flags)? & UP_BY_GATEWAY == UP_BY_GATEWAY;
        // Addresses stand there in the order of this machine's bytes.
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        let metric: u32 = metric.parse().ok()?;
        (is_default && leads).then_some((metric, gateway))
    });
    routes.min().map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_of_the_lowest_metric_leads_to_the_router() {
        let word = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let (wifi, cable) = (word([192, 168, 2, 1]), word([192, 168, 1, 1]));
        let table = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
             wlan0\t00000000\t{wifi}\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t{cable}\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n"
        );
        assert_eq!(of(&table), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(of(""), None);
        assert_eq!(of("Iface\nnonsense 1 2\n"), None);
    }
}
