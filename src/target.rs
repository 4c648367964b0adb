//! Which addresses are whose: where callbacks may go (the world outside, and what the configuration allows by name), and
//! which are on this machine.
//!
//! callout stands inside of a network that strangers want to look into, and a URL in a configuration may come
//! from them, or its name may begin to mean something else after it was looked at. So what counts is the
//! address that is connected to, at the moment when it is connected to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Whether a URL leads to this machine, where no proxy that leads out of it is in between.
pub fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() || address == Ipv4Addr::UNSPECIFIED,
        Some(Host::Ipv6(address)) => IpAddr::from(address).to_canonical().is_loopback(),
        None => false,
    }
}

/// What may be connected to although it is not the world outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    names: BTreeSet<Box<str>>,
    addresses: BTreeSet<IpAddr>,
}

/// Why something may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Whoever listens on the way could read it.
    #[error("must begin with https://; http:// is for hosts in `allow` only")]
    NotHttps,
    /// It names no host, or is no URL of HTTP.
    #[error("must be a URL that begins with https:// and names a host")]
    NoHost,
    /// A name and password in a URL end up in logs of others.
    #[error("must not hold a user name or password")]
    Credentials,
    /// The address belongs to no host of the world outside.
    #[error("leads to {0}, which must be named in `allow`")]
    Address(&'static str),
}

impl Allowed {
    /// Allows a host by its name, or an address; an IPv6 address may stand in brackets.
    pub fn allow(&mut self, text: &str) {
        let text = text.trim();
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => drop(self.addresses.insert(address.to_canonical())),
            Err(_name) => drop(self.names.insert(text.trim_end_matches('.').to_ascii_lowercase().into())),
        }
    }

    /// Whether a host is allowed by its name.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.contains(name.trim_end_matches('.'))
    }

    /// Whether an address may be connected to that no name vouches for.
    pub fn permits(&self, address: IpAddr) -> Result<(), Refused> {
        let address = address.to_canonical();
        match kind(address) {
            Some(_) if self.addresses.contains(&address) => Ok(()),
            Some(kind) => Err(Refused::Address(kind)),
            None => Ok(()),
        }
    }

    /// Whether a callback may go to this URL, as far as the URL itself says. The URL's parser has brought every
    /// spelling of an address (hexadecimal, octal, shortened) to one form.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let is_allowed = match url.host() {
            None => return Err(Refused::NoHost),
            Some(Host::Domain(name)) => self.has_name(name),
            Some(Host::Ipv4(address)) => self.has_address(address.into())?,
            Some(Host::Ipv6(address)) => self.has_address(address.into())?,
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if is_allowed => Ok(()),
            "http" => Err(Refused::NotHttps),
            _ => Err(Refused::NoHost),
        }
    }

    fn has_address(&self, address: IpAddr) -> Result<bool, Refused> {
        self.permits(address)?;
        Ok(self.addresses.contains(&address.to_canonical()))
    }
}

/// What kind of address it is, if it is not one of the world outside (IANA's registries of special-purpose
/// addresses). An IPv6 address that carries an IPv4 one is never of the world outside: whatever translates it
/// would connect to an address that nobody has looked at.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => Some("a private network"),
        [100, 64..=127, ..] => Some("a network shared by a provider's customers"),
        [0 | 127, ..] => Some("this machine"),
        [169, 254, ..] => Some("the local link"),
        [192, 0, 0, _] | [192, 31, 196, _] | [192, 52, 193, _] | [192, 175, 48, _] | [240..=255, ..] => {
            Some("a reserved network")
        }
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("a network of documents"),
        [192, 88, 99, _] => Some("a relay of 6to4"),
        [198, 18..=19, ..] => Some("a network of benchmarks"),
        [224..=239, ..] => Some("a multicast group"),
        [_, _, _, _] => None,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Some("this machine"),
        [0xfc00..=0xfdff, ..] => Some("a private network"),
        [0xfe80..=0xfebf, ..] => Some("the local link"),
        [0xfec0..=0xfeff, ..] => Some("a site's network"),
        [0xff00..=0xffff, ..] => Some("a multicast group"),
        [0x64, 0xff9b, ..] => Some("a translation to IPv4 (NAT64)"),
        [0x2001, 0x0000..=0x01ff, ..] => Some("a reserved network (Teredo and others)"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => Some("a network of documents"),
        [0x2002, ..] => Some("a translation to IPv4 (6to4)"),
        [first @ 0x2000..=0x3fff, second, third, ..] if (first, second, third) != (0x2620, 0x004f, 0x8000) => None,
        [_, ..] => Some("a reserved network"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: [&str; 62] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.254",
        "127.0.0.1",
        "127.1.2.3",
        "169.254.169.254",
        "169.254.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.170",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "192.175.48.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::10.0.0.1",
        "100::1",
        "2001::1",
        "2001:0:53aa:64c:0:0:f5ff:fffe",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2002:808:808::",
        "2620:4f:8000::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00::1",
        "fd12:3456:789a::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ];

    #[test]
    fn what_is_not_the_world_outside_is_refused() {
        for text in REFUSED {
            let address: IpAddr = text.parse().unwrap();
            assert!(Allowed::default().permits(address).is_err(), "{text}");
            let mut allowed = Allowed::default();
            allowed.allow(text);
            assert_eq!(allowed.permits(address), Ok(()), "{text}, allowed by name");
        }
    }

    #[test]
    fn the_world_outside_is_not() {
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "198.17.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450::1",
        ] {
            assert_eq!(Allowed::default().permits(text.parse().unwrap()), Ok(()), "{text}");
        }
    }

    #[test]
    fn no_spelling_of_an_address_gets_through() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "0x7f.1",
            "017700000001",
            "127.0.0.1.",
            "0",
            "0x0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:0:0:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "①⑦②.16.0.1",
        ] {
            let url = Url::parse(&format!("https://{host}/hook")).unwrap();
            assert!(Allowed::default().check(&url).is_err(), "{host} is read as {:?}", url.host());
        }
    }

    #[test]
    fn http_is_for_hosts_that_are_allowed_by_name() {
        let mut allowed = Allowed::default();
        let check = |allowed: &Allowed, text: &str| allowed.check(&Url::parse(text).unwrap());
        assert_eq!(check(&allowed, "http://hooks.internal/"), Err(Refused::NotHttps));
        assert_eq!(check(&allowed, "https://hooks.internal/"), Ok(()), "its addresses are looked at later");
        assert_eq!(check(&allowed, "https://tony:secret@hooks.example/"), Err(Refused::Credentials));
        assert_eq!(check(&allowed, "ftp://hooks.example/"), Err(Refused::NoHost));
        allowed.allow("Hooks.Internal");
        allowed.allow("[::1]");
        assert_eq!(check(&allowed, "http://hooks.internal/"), Ok(()));
        assert_eq!(check(&allowed, "http://HOOKS.internal./"), Ok(()));
        assert_eq!(check(&allowed, "http://[::1]:8080/"), Ok(()));
        assert!(check(&allowed, "http://127.0.0.1/").is_err(), "one address allows no other");
    }
}
