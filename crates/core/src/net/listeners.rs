//! Who listens on a TCP port of this host.

use nix::unistd::Uid;
use std::fs;

/// The users whose processes listen on `port`, on whatever address.
pub fn listeners(port: u16) -> Vec<Uid> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| listening(table, port))
        .collect()
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid ...`, the address as
/// `0100007F:D431`, all in hexadecimal but the user.
pub(crate) fn listening(table: &str, port: u16) -> impl Iterator<Item = Uid> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (_, own) = words.next()?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(own, 16).ok()? == port && words.nth(1)? == LISTEN;
        let uid = words.nth(3)?.parse().ok()?;
        is_it.then_some(Uid::from_raw(uid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_told_from_a_connection() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20  0: 0100007F:D431 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 19 1\n\
             \x20  1: 0100007F:D431 0100007F:D432 01 00000000:00000000 00:00000000 00000000  1002        0 20 1\n\
             \x20  2: 0100007F:D430 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1003        0 21 1\n\
             junk\n";
        let found: Vec<Uid> = listening(table, 0xd431).collect();
        assert_eq!(found, [Uid::from_raw(1001)]);
        let six = "x\n 0: 00000000000000000000000000000000:D431 00000000000000000000000000000000:0000 0A 0:0 0:0 0 7 0 1\n";
        assert_eq!(listening(six, 0xd431).next(), Some(Uid::from_raw(7)));
    }

    #[test]
    fn we_listen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listeners(port), [Uid::effective()]);
        // A port that was given back may be another test's a moment later; on this one nobody can listen.
        assert_eq!(listeners(0), []);
        drop(listener);
    }
}
