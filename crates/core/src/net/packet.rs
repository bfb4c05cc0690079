//! ARP packets on the wire: one packet socket on one Ethernet device.

use failover_rules::facts::mac::Mac;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, bind, recv, sendto, socket,
};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::deadline::Deadline;
use crate::workers;

/// `ETH_P_ARP` in the byte order of the network, as `sockaddr_ll` has it.
const ETH_P_ARP: u16 = 0x0806_u16.to_be();
/// What stands before the addresses: hardware Ethernet, protocol IPv4, their lengths.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// Bytes of one packet, without its Ethernet header.
const LENGTH: usize = 28;
const BROADCAST: [u8; 6] = [0xff; 6];

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Request,
    Reply,
}

/// One ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(super) operation: Operation,
    pub(super) sender_mac: Mac,
    pub(super) sender: Ipv4Addr,
    pub(super) target_mac: Mac,
    pub(super) target: Ipv4Addr,
}

impl Packet {
    pub(crate) fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..6].copy_from_slice(&KIND);
        bytes[7] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..].copy_from_slice(&self.target.octets());
        bytes
    }

    /// `None`: that is no request or reply for IPv4 on Ethernet. Bytes after it are padding.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.first_chunk()?;
        let mac = |at: usize| Some(Mac(*bytes[at..].first_chunk()?));
        let address = |at: usize| Some(Ipv4Addr::from(*bytes[at..].first_chunk::<4>()?));
        if bytes[..6] != KIND {
            return None;
        }
        Some(Self {
            operation: match bytes[6..8] {
                [0, 1] => Operation::Request,
                [0, 2] => Operation::Reply,
                _ => return None,
            },
            sender_mac: mac(8)?,
            sender: address(14)?,
            target_mac: mac(18)?,
            target: address(24)?,
        })
    }
}

/// A socket for the ARP packets of one device. Needs `CAP_NET_RAW`.
pub(super) struct Socket {
    socket: OwnedFd,
    index: i32,
    mac: Mac,
}

impl Socket {
    /// On `dev`, by any of its names.
    ///
    /// # Errors
    /// Why there is none, such as `eth0 is down`.
    pub(super) fn open(dev: &str) -> Result<Self, String> {
        let reason = |error: Errno| error.desc().to_owned();
        let index =
            if_nametoindex(dev).map_err(|_| format!("this host has no network device {dev}"))?;
        let device = getifaddrs().map_err(reason)?.find_map(|it| {
            let link = *it.address.as_ref()?.as_link_addr()?;
            (link.ifindex() == index as usize).then_some((link, it.flags))
        });
        let (link, flags) =
            device.ok_or_else(|| format!("this host has no network device {dev}"))?;
        if !flags.contains(InterfaceFlags::IFF_UP) {
            return Err(format!("{dev} is down"));
        }
        let silent = flags.intersects(InterfaceFlags::IFF_NOARP | InterfaceFlags::IFF_LOOPBACK);
        let mac = match link.addr() {
            Some(mac) if !silent && link.hatype() == libc::ARPHRD_ETHER => Mac(mac),
            _ => return Err(format!("{dev} is no Ethernet device with ARP")),
        };
        // With no protocol of its own it hears nothing before it is bound to the device.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let kind = SockType::Datagram;
        let socket = socket(AddressFamily::Packet, kind, flags, None).map_err(reason)?;
        let index = i32::try_from(index).map_err(|error| error.to_string())?;
        bind(socket.as_raw_fd(), &everybody(index)?).map_err(reason)?;
        Ok(Self { socket, index, mac })
    }

    /// The device's hardware address.
    pub(super) fn mac(&self) -> Mac {
        self.mac
    }

    /// Closes it beside us. The kernel ends no packet socket before all its cores have seen that it is gone
    /// (some 10 ms), and clients wait for what comes next.
    pub(super) fn close_beside(self) {
        workers::start(move || drop(self));
    }

    /// To all on the network.
    pub(super) fn send(&self, packet: &Packet) -> Result<(), String> {
        let to = everybody(self.index)?;
        sendto(
            self.socket.as_raw_fd(),
            &packet.bytes(),
            &to,
            MsgFlags::empty(),
        )
        .map(drop)
        .map_err(|error| error.desc().to_owned())
    }

    /// The next packet, or `None` at `deadline`, also while others go on coming.
    pub(super) fn receive(&self, deadline: Deadline) -> Result<Option<Packet>, String> {
        loop {
            let mut buffer = [0; 64];
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    if let Some(packet) = Packet::read(&buffer[..length]) {
                        return Ok((!deadline.passed()).then_some(packet));
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.desc().to_owned()),
            }
            if deadline.passed() {
                return Ok(None);
            }
            let mut readable = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let limit = PollTimeout::try_from(deadline.remaining()).unwrap_or(PollTimeout::MAX);
            // What went wrong the next call says, too.
            let _ = poll(&mut readable, limit);
        }
    }
}

/// All hosts on the network of the device with this index.
fn everybody(index: i32) -> Result<LinkAddr, String> {
    let mut hardware = [0; 8];
    hardware[..6].copy_from_slice(&BROADCAST);
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ETH_P_ARP,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: hardware,
    };
    // SAFETY: it is read as what it is, an address of a packet socket.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), None) };
    address.ok_or_else(|| "no address of a packet socket".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Packet = Packet {
        operation: Operation::Reply,
        sender_mac: Mac([0x0e, 0xef, 0x14, 0xa9, 0xbe, 0x7d]),
        sender: Ipv4Addr::new(10, 9, 0, 2),
        target_mac: Mac([2, 0, 0, 0, 0, 1]),
        target: Ipv4Addr::new(10, 9, 0, 1),
    };

    #[test]
    fn a_packet_is_that_of_rfc_826() {
        let bytes = PACKET.bytes();
        assert_eq!(bytes[..8], [0, 1, 8, 0, 6, 4, 0, 2]);
        assert_eq!(bytes[8..14], PACKET.sender_mac.0);
        assert_eq!(bytes[14..18], [10, 9, 0, 2]);
        assert_eq!(bytes[24..], [10, 9, 0, 1]);
        let mut padded = bytes.to_vec();
        padded.resize(46, 0);
        assert_eq!(Packet::read(&padded), Some(PACKET));
    }

    #[test]
    fn what_is_no_arp_for_ipv4_is_passed_over() {
        let bytes = PACKET.bytes();
        for length in 0..LENGTH {
            assert_eq!(Packet::read(&bytes[..length]), None, "{length}");
        }
        // Hardware, protocol and lengths; the operation (3 is reverse ARP).
        for at in 0..8 {
            let mut other = bytes;
            other[at] ^= 3;
            let read = Packet::read(&other);
            let request = at == 7 && read.is_some_and(|it| it.operation == Operation::Request);
            assert!(read.is_none() || request, "byte {at}: {read:?}");
        }
    }

    #[test]
    fn the_address_is_everybodys() {
        let link = everybody(7).unwrap();
        assert_eq!((link.ifindex(), link.halen()), (7, 6));
        assert_eq!((link.addr(), link.protocol()), (Some(BROADCAST), ETH_P_ARP));
    }

    #[test]
    fn a_device_without_arp_is_said() {
        let why = |dev: &str| Socket::open(dev).map(drop).unwrap_err();
        assert_eq!(
            why("no-such-device"),
            "this host has no network device no-such-device"
        );
        assert_eq!(why("lo"), "lo is no Ethernet device with ARP");
    }
}
