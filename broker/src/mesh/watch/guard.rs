//! Which addresses a watch may reach. Pure.
//!
//! **Contract.** A watch is made by a member, but looks from where the broker stands. So only addresses of the public
//! internet are reached, whatever name led to them, and those that the operator allows. An address that carries another
//! one inside (mapped, translated, tunnelled) is judged by both.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::Range;

/// Of IPv4 what is not the public internet (IANA's special-purpose registry, and multicast).
const REFUSED_V4: [Range; 16] = [
    Range::v4(0, 0, 0, 0, 8),
    Range::v4(10, 0, 0, 0, 8),
    // Carriers' own: also where some clouds answer for their machines.
    Range::v4(100, 64, 0, 0, 10),
    Range::v4(127, 0, 0, 0, 8),
    // Link-local: the metadata of cloud machines is here.
    Range::v4(169, 254, 0, 0, 16),
    Range::v4(172, 16, 0, 0, 12),
    Range::v4(192, 0, 0, 0, 24),
    Range::v4(192, 0, 2, 0, 24),
    Range::v4(192, 88, 99, 0, 24),
    Range::v4(192, 168, 0, 0, 16),
    Range::v4(198, 18, 0, 0, 15),
    Range::v4(198, 51, 100, 0, 24),
    Range::v4(203, 0, 113, 0, 24),
    // One cloud's metadata and resolver, on a public address.
    Range::v4(168, 63, 129, 16, 32),
    Range::v4(224, 0, 0, 0, 4),
    Range::v4(240, 0, 0, 0, 4),
];

/// Of IPv6 the public internet is inside this; what of it is not:
const PUBLIC_V6: Range = Range::v6([0x2000, 0, 0], 3);
const REFUSED_V6: [Range; 4] = [
    // Protocol assignments, with Teredo, ORCHID and benchmarks.
    Range::v6([0x2001, 0, 0], 23),
    Range::v6([0x2001, 0xdb8, 0], 32),
    // 6to4: an IPv4 address inside, by whoever runs a relay.
    Range::v6([0x2002, 0, 0], 16),
    Range::v6([0x3fff, 0, 0], 20),
];
/// NAT64: the last four bytes are an IPv4 address.
const NAT64: Range = Range::v6([0x64, 0xff9b, 0], 96);

/// What the operator allows beyond the public internet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    allowed: Vec<Range>,
}

impl Guard {
    /// With these ranges allowed.
    #[must_use]
    pub fn new(allowed: Vec<Range>) -> Self {
        Self { allowed }
    }

    /// Whether a watch may connect to an address.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let inner = address.to_canonical();
        let allowed = |address: IpAddr| self.allowed.iter().any(|range| range.contains(address));
        allowed(address) || allowed(inner) || is_public(inner)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !REFUSED_V4.iter().any(|range| range.contains(address)),
        IpAddr::V6(v6) if NAT64.contains(address) => {
            let [.., a, b, c, d] = v6.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(_) => PUBLIC_V6.contains(address) && !REFUSED_V6.iter().any(|range| range.contains(address)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn h37_only_the_public_internet_is_reached() {
        let guard = Guard::default();
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "168.63.129.16",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!guard.allows(ip(inside)), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(guard.allows(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn h37_the_operator_allows_ranges() {
        let guard = Guard::new(vec!["10.1.0.0/16".parse().unwrap(), "::1".parse().unwrap()]);
        for allowed in ["10.1.2.3", "::ffff:10.1.2.3", "::1", "8.8.8.8"] {
            assert!(guard.allows(ip(allowed)), "{allowed}");
        }
        for not in ["10.2.0.1", "127.0.0.1", "::2"] {
            assert!(!guard.allows(ip(not)), "{not}");
        }
        assert!(Guard::new(vec!["0.0.0.0/0".parse().unwrap()]).allows(ip("127.0.0.1")));
        assert!(Guard::new(vec!["::/0".parse().unwrap()]).allows(ip("fe80::1")));
        for bad in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }
}
