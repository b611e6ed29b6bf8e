//! Whom a caller is counted with: its network address, or the one that a trusted proxy names for it.
//!
//! Connections, requests, room for uploads and wrong tokens are all counted by [`Peer`].

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

/// What names the addresses that a request passed, the caller first and each proxy behind it.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// How many addresses of that header are looked at, from its end.
const MOST_HOPS: usize = 32;

/// Callers that are counted as one: an IPv4 address, or an IPv6 network of 64 bits, since an IPv6 host has a network of
/// addresses of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(Ipv6Addr);

impl Peer {
    /// The peer that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
            }
            IpAddr::V4(address) => address.to_ipv6_mapped(),
        })
    }

    /// A number that no other peer has.
    pub fn number(self) -> u128 {
        self.0.to_bits()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match IpAddr::from(self.0).to_canonical() {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({self})")
    }
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// As IPv6; an IPv4 address is mapped.
    first: u128,
    /// How many bits are the same.
    bits: u32,
}

/// A text is neither an address nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither an address such as 10.0.0.7 nor a network such as 10.0.0.0/8")]
pub struct NoNetwork;

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        let differing = as_ipv6(address) ^ self.first;
        self.bits == 0 || differing >> (128 - self.bits) == 0
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| NoNetwork)?,
            None => longest,
        };
        if bits > longest {
            return Err(NoNetwork);
        }
        Ok(Self {
            first: as_ipv6(address),
            bits: bits + 128 - longest,
        })
    }
}

fn as_ipv6(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Where proxies are whose word on the addresses of callers is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// Trusts these.
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// Whether an address is that of a trusted proxy.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }

    /// Whether a request names addresses that it passed, and came from no trusted proxy.
    pub fn is_untrusted_word(&self, connected: IpAddr, headers: &HeaderMap) -> bool {
        headers.contains_key(FORWARDED_FOR) && !self.trust(connected)
    }

    /// The address of the caller of a request: the one that connected, or the last address that the proxies name and that is none of
    /// theirs. What stands before that was written by the caller. Where a name is no address the proxy that wrote it
    /// counts.
    pub fn caller(&self, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut caller = connected;
        let values: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .map(|value| value.to_str().unwrap_or_default())
            .collect();
        let hops = values.iter().rev().flat_map(|value| value.rsplit(','));
        for hop in hops.take(MOST_HOPS) {
            if !self.trust(caller) {
                break;
            }
            match address(hop.trim()) {
                Some(address) => caller = address,
                None => break,
            }
        }
        caller
    }
}

/// An address as proxies write it, some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    let alone = plain.parse().ok();
    alone.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::of(text.parse().unwrap())
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_what_it_maps() {
        assert_eq!(peer("2001:db8:1:2:3::4"), peer("2001:db8:1:2::9"));
        assert_ne!(peer("2001:db8:1:2::"), peer("2001:db8:1:3::"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(peer("10.0.0.1").to_string(), "10.0.0.1");
        assert_eq!(peer("2001:db8:1:2:3::4").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn a_network_holds_what_begins_like_it() {
        for (network, address, is_held) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.6", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::1", "::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("0.0.0.0/0", "2001:db8::", false),
            ("::/0", "9.9.9.9", true),
        ] {
            let held = network.parse::<Network>().unwrap();
            assert_eq!(
                held.holds(address.parse().unwrap()),
                is_held,
                "{network} {address}"
            );
        }
        for text in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "::1/x",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }

    fn seen(connected: &str, values: &[&str]) -> String {
        let networks = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"];
        let networks = networks.map(|network| network.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let proxies = TrustedProxies::new(networks);
        let caller = proxies.caller(connected.parse().unwrap(), &headers);
        caller.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_names_the_caller() {
        for (connected, values, caller) in [
            ("9.9.9.9", &["8.8.8.8"][..], "9.9.9.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["8.8.8.8"], "8.8.8.8"),
            ("127.0.0.1", &["1.1.1.1, 8.8.8.8"], "8.8.8.8"),
            ("127.0.0.1", &["1.1.1.1, 8.8.8.8,10.1.2.3"], "8.8.8.8"),
            ("127.0.0.1", &["1.1.1.1", "8.8.8.8", "10.1.2.3"], "8.8.8.8"),
            ("127.0.0.1", &["10.1.1.1, 10.1.2.3"], "10.1.1.1"),
            ("127.0.0.1", &["8.8.8.8:1234"], "8.8.8.8"),
            ("fd00::1", &["[2001:db8::1]:1234"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["8.8.8.8, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(seen(connected, values), caller, "{connected} {values:?}");
        }
    }
}
