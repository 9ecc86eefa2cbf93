//! A port that stays a server's own, also while the server is down.

use anyhow::Context as _;
use std::{
    net::{TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the ports that systems hand out by themselves (from 32768 on Linux, from 49152 elsewhere): neither an outgoing
/// connection nor a listener without a port of its own takes one of these.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A TCP port of 127.0.0.1, kept until this is dropped. A server that is restarted finds it free: the UDP port of the same
/// number is held meanwhile, which keeps off every other process that reserves in this way and hinders no TCP listener.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: UdpSocket,
}

impl Port {
    /// Fails when no port is free.
    pub fn reserve() -> anyhow::Result<Self> {
        static TRIED: AtomicU16 = AtomicU16::new(0);
        // Processes that start together begin far from each other.
        let begin = std::process::id().wrapping_mul(101);
        let free = |_| {
            let step = u32::from(TRIED.fetch_add(1, Ordering::Relaxed)).wrapping_add(begin);
            let number = FIRST + u16::try_from(step % u32::from(COUNT)).ok()?;
            let held = UdpSocket::bind(("127.0.0.1", number)).ok()?;
            TcpListener::bind(("127.0.0.1", number)).ok()?;
            Some(Self { number, _held: held })
        };
        (0..COUNT).find_map(free).context("no port of 127.0.0.1 is free for a server")
    }

    /// On 127.0.0.1.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_nobody_elses_while_it_is_kept() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        for number in numbers {
            assert!(UdpSocket::bind(("127.0.0.1", number)).is_err(), "another process could take {number}");
            // The server's own listener, and the next one after it.
            for _ in 0..2 {
                TcpListener::bind(("127.0.0.1", number)).unwrap();
            }
        }
    }
}
