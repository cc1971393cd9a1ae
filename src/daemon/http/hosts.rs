//! By which names the server may be asked. A page of some other site that has its own name lead to
//! this machine would else read the answers in the browser of whoever visits it.

use axum::http::uri::Authority;

/// The names that are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    /// Whether any will do, since no browser gets here.
    any: bool,
    names: Vec<String>,
}

impl Hosts {
    /// Those of a configuration, besides `localhost` and addresses.
    pub(super) fn of(names: &[String]) -> Self {
        Self { any: false, names: names.to_vec() }
    }

    /// All of them.
    pub(super) fn any() -> Self {
        Self { any: true, names: Vec::new() }
    }

    /// Whether a name, with or without a port, is known. An address can be given another meaning by
    /// nobody.
    pub(super) fn know(&self, host: &str) -> bool {
        if self.any {
            return true;
        }
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if host.contains('@') {
            return false;
        }
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<std::net::IpAddr>().is_ok()
            || name == "localhost"
            || self.names.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_names_that_are_known_will_do() {
        let hosts = Hosts::of(&["backup.example".to_owned()]);
        for known in [
            "127.0.0.1",
            "127.0.0.1:7373",
            "10.0.0.7:80",
            "[::1]",
            "[::1]:7373",
            "localhost",
            "LOCALHOST.:7373",
            "backup.example:1",
            "Backup.Example",
        ] {
            assert!(hosts.know(known), "{known}");
        }
        for unknown in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a@127.0.0.1",
            "backup.example.evil",
            "back up",
            "[::1",
            "127.0.0.1:x/",
        ] {
            assert!(!hosts.know(unknown), "{unknown}");
        }
        assert!(Hosts::any().know("whatever"));
    }
}
