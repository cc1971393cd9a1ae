//! Which addresses may be written to: those of the public network, and others where a channel says
//! so. Whoever may write a channel's URL could else reach what only this machine can reach.
//!
//! Invariant: an address that was checked is the one that is connected to; a name is looked up
//! once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Why nothing is sent to an address.
pub(super) const REFUSED: &str = "is in a private network, where this channel may not write";

/// The addresses of a host to which something may be sent, each once.
///
/// # Errors
/// When the name can't be looked up, or all are refused.
pub(super) fn allowed(host: &str, port: u16, allow_private: bool) -> io::Result<Vec<SocketAddr>> {
    let mut allowed: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    allowed.retain(|address| allow_private || is_public(address.ip()));
    match allowed.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::PermissionDenied, REFUSED)),
        false => Ok(allowed),
    }
}

/// Looks names up for requests, and leaves out what is refused.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) allow_private: bool,
    pub(super) resolver: DefaultResolver,
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in found.iter().filter(|a| self.allow_private || is_public(a.ip())) {
            allowed.push(*address);
        }
        match allowed.is_empty() {
            true => Err(ureq::Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, REFUSED))),
            false => Ok(allowed),
        }
    }
}

/// Whether an address is one of the public network.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        // This network, multicast, what is reserved, and the broadcast.
        || a == 0
        || a >= 224
        // Shared by providers, for protocols, for measurements.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, ..] = address.segments();
    let [.., w, x, y, z] = address.octets();
    let inner = Ipv4Addr::new(w, x, y, z);
    match (a, b) {
        // An IPv4 address in IPv6, for a system that maps one or translates.
        (0, 0) if address.to_ipv4_mapped().is_some() => is_public_v4(inner),
        (0x64, 0xff9b) if c == 0 => is_public_v4(inner),
        // Tunnels to IPv4 addresses, and documentation.
        (0x2001, 0 | 0xdb8) | (0x2002, _) | (0x3fff, _) => false,
        _ => (0x2000..0x4000).contains(&a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_the_public_network_is_refused() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001:0:1:2::3",
            "::127.0.0.1",
            "fec0::1",
            "100::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn names_are_looked_up_once_and_refused_by_what_they_mean() {
        for host in ["localhost", "127.0.0.1", "::1", "127.1"] {
            let refused = allowed(host, 80, false).map_err(|e| e.to_string());
            // Not every system knows each of these.
            assert!(refused.is_err(), "{host}: {refused:?}");
        }
        assert_eq!(allowed("127.0.0.1", 80, false).unwrap_err().to_string(), REFUSED);
        assert_eq!(allowed("127.0.0.1", 80, true).unwrap().len(), 1);
    }
}
