//! What this host can say about itself: the local addresses that a source's firewall has to let in.
//!
//! Sends no packet: connecting a UDP socket only asks the kernel which address it would use.

use crate::route;
use std::net::{IpAddr, ToSocketAddrs};

/// The note of an address that no route to the given hosts uses.
pub const OTHER: &str = "not used to reach it";

/// One local address and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The address of this host.
    pub ip: IpAddr,
    /// Why it is listed: `used to reach db-01.example.net`.
    pub note: String,
}

impl Address {
    /// True when traffic to the given hosts leaves from it.
    pub fn is_used(&self) -> bool {
        self.note != OTHER
    }
}

/// The addresses from which this host reaches `hosts` (`host:port[,…]`); without hosts, or when no name resolves, the
/// address of the default route; then the other addresses of this host ([`OTHER`]). Resolves names, so it may block for
/// seconds.
pub fn addresses(hosts: Option<&str>) -> Vec<Address> {
    let mut found: Vec<Address> = Vec::new();
    let names = hosts.unwrap_or_default().split("://").last().unwrap_or_default();
    for host in names.split(',').filter(|host| !host.is_empty()) {
        let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            host.to_string()
        } else {
            format!("{host}:27017")
        };
        let Ok(targets) = with_port.to_socket_addrs() else { continue };
        for ip in targets.filter_map(route::address_towards) {
            if !found.iter().any(|address| address.ip == ip) {
                found.push(Address { ip, note: format!("used to reach {host}") });
            }
        }
    }
    if found.is_empty() {
        // Addresses that are reserved for documentation: nobody is there, only the route counts.
        let probes = [([192, 0, 2, 1], 9).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9).into()];
        let route = |ip| Address { ip, note: "of the default route".into() };
        found.extend(probes.into_iter().filter_map(route::address_towards).map(route));
    }
    let others = route::local_addresses().into_iter().filter(|ip| !found.iter().any(|address| address.ip == *ip));
    let others: Vec<Address> = others.map(|ip| Address { ip, note: OTHER.into() }).collect();
    found.extend(others);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_reached_from_the_loopback() {
        let found = addresses(Some("127.0.0.1:27017,127.0.0.1:27018"));
        assert!(found[1..].iter().all(|address| address.note == OTHER && !address.ip.is_loopback()), "{found:?}");
        assert!(found[0].ip.is_loopback());
        assert_eq!(found[0].note, "used to reach 127.0.0.1:27017");
    }
}
