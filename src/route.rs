//! The addresses of this host: the one that leads to a server, and all the others.
//!
//! Sends no packet: connecting a UDP socket only asks the kernel which address it would use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The local address from which `target` is reached; `None` without a route.
pub fn address_towards(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16, 0, 0, 0, 0, 0, 0, 0], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// Every address of this host but loopback and link-local ones, as the kernel lists them; empty where it does not
/// (other systems than Linux).
pub fn local_addresses() -> Vec<IpAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = ipv4_of(&read("/proc/net/fib_trie"));
    found.extend(ipv6_of(&read("/proc/net/if_inet6")));
    found
}

/// The `/32 host LOCAL` leaves of the kernel's routing table.
fn ipv4_of(trie: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut leaf = None;
    for line in trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(ip) = leaf.filter(|ip| !ip.is_loopback() && !ip.is_link_local())
            && !found.contains(&ip.into())
        {
            found.push(ip.into());
        }
    }
    found
}

/// `fd00…01 02 40 00 80 eth0` per line: 32 hexadecimal digits come first.
fn ipv6_of(list: &str) -> Vec<IpAddr> {
    let addresses = list.lines().filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok());
    let usable = |ip: &Ipv6Addr| !ip.is_loopback() && !ip.is_unicast_link_local();
    addresses.map(Ipv6Addr::from_bits).filter(usable).map(IpAddr::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_reached_from_the_loopback() {
        assert!(address_towards(([127, 0, 0, 1], 9).into()).is_some_and(|ip| ip.is_loopback()));
    }

    #[test]
    fn the_kernels_lists_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.8.3.14\n        /32 host LOCAL\n     |-- 10.8.3.255\n        \
                    /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n     |-- 10.8.3.14\n        \
                    /32 host LOCAL\n";
        assert_eq!(ipv4_of(trie), ["10.8.3.14".parse::<IpAddr>().expect("ip")]);
        let list = "fd000000000000000000000000000007 02 40 00 80     eth0\n\
                    fe80000000000000021132fffe445566 02 40 20 80     eth0\n\
                    00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(ipv6_of(list), ["fd00::7".parse::<IpAddr>().expect("ip")]);
        assert_eq!((ipv4_of("?"), ipv6_of("?")), (vec![], vec![]));
    }
}
