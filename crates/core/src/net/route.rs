//! By which of its addresses this host speaks with another one, and which router it has.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// Any port: nothing is sent there.
const PORT: u16 = 9;

/// The address of this host by which it speaks with `other`. Nothing is sent: the kernel looks into its own
/// table.
pub fn own_towards(other: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match other {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((other, PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// The router of the default route. `None`: there is no such route.
pub fn gateway() -> Option<Ipv4Addr> {
    gateway_in(&fs::read_to_string("/proc/net/route").ok()?)
}

/// In `/proc/net/route`: device, destination, gateway, flags, and the mask in the eighth column, addresses as
/// the machine has them in memory.
pub(crate) fn gateway_in(table: &str) -> Option<Ipv4Addr> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok();
        let is_default = address(1)? == 0 && address(7)? == 0;
        let gateway = address(2).filter(|it| is_default && *it != 0)?;
        Some(Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_default_route_with_a_router_has_one() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n";
        let gateway = u32::from_ne_bytes([192, 168, 1, 1]);
        let of = |lines: &str| gateway_in(&format!("{head}{lines}"));
        let default = format!("eth0 00000000 {gateway:08X} 0003 0 0 0 00000000 0 0 0\n");
        let own = format!("eth0 {gateway:08X} 00000000 0001 0 0 0 00FFFFFF 0 0 0\n");
        let half = format!("eth0 00000000 {gateway:08X} 0003 0 0 0 00000080 0 0 0\n");
        let expected = Some(Ipv4Addr::new(192, 168, 1, 1));
        assert_eq!(of(&format!("{own}{half}{default}")), expected);
        for none in [
            "",
            "eth0",
            &own,
            &half,
            "tun0 00000000 00000000 1 0 0 0 00000000",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_host_speaks_with_itself_by_that_very_address() {
        let here = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(own_towards(here).unwrap(), here);
    }
}
