//! What `multicast_server` and `multicast_client` share: the datagrams, and two kinds of options.
#![allow(dead_code, reason = "each of the two uses its side")]

pub(crate) mod wire;

use packetpeer::socket::Interface;

use crate::support::OptionValue;

/// A name, such as `eth0`, an IPv4 address, or an index.
impl OptionValue for Interface {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = if let Ok(index) = text.parse() {
            Self::Index(index)
        } else if let Ok(addr) = text.parse() {
            Self::Addr(addr)
        } else {
            Self::by_name(text).map_err(|error| format!("{text:?}: {error}"))?
        };
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// `--name true` or `--name false`, for what is true by default.
#[derive(Clone, Copy)]
pub(crate) struct Choice(pub(crate) bool);

impl OptionValue for Choice {
    fn read(&mut self, text: &str) -> Result<(), String> {
        self.0 = text.parse().map_err(|_| format!("{text:?}: true or false"))?;
        Ok(())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
