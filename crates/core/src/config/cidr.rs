//! An IPv4 address with the length of its network's prefix.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An address such as `192.168.1.200/24`: the virtual address together with its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address itself, not that of the network.
    pub addr: Ipv4Addr,
    /// Bits of the network part, 1 to 32.
    pub prefix: u8,
}

/// The text is no address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an IPv4 address with its prefix length, such as 192.168.1.200/24")]
pub struct NoCidr;

impl FromStr for Cidr {
    type Err = NoCidr;

    fn from_str(text: &str) -> Result<Self, NoCidr> {
        let (addr, prefix) = text.split_once('/').ok_or(NoCidr)?;
        let addr: Ipv4Addr = addr.parse().map_err(|_| NoCidr)?;
        // `u8::from_str` alone would also take "+24" and "024".
        let plain = prefix.starts_with(|c: char| matches!(c, '1'..='9'));
        let prefix: u8 = prefix.parse().map_err(|_| NoCidr)?;
        if plain && prefix <= 32 && !addr.is_unspecified() {
            Ok(Self { addr, prefix })
        } else {
            Err(NoCidr)
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_the_same() {
        for text in ["192.168.1.200/24", "10.0.0.1/8", "10.0.0.1/32", "1.2.3.4/1"] {
            assert_eq!(text.parse::<Cidr>().map(|c| c.to_string()), Ok(text.into()));
        }
    }

    #[test]
    fn half_an_address_is_none() {
        for text in [
            "",
            "/",
            "192.168.1.200",
            "192.168.1.200/",
            "192.168.1.200/0",
            "192.168.1.200/33",
            "192.168.1.200/+24",
            "192.168.1.200/024",
            "192.168.1.200/24/24",
            "192.168.1.200/ 24",
            "192.168.1.300/24",
            "0.0.0.0/24",
            "fe80::1/64",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(NoCidr), "{text:?}");
        }
    }
}
