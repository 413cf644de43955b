use std::error::Error;
use std::fmt;

/// A text that is not an address to bind to. See [`ToBindAddr`](crate::socket::ToBindAddr) for what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress {
    text: String,
}

impl InvalidAddress {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no address to bind to: give a port, an address, or an address and a port", self.text)
    }
}

impl Error for InvalidAddress {}

/// A value of [`Limits`](crate::Limits), of [`SocketOptions`](crate::SocketOptions) or of a setter that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static str,
}

impl ConfigError {
    /// Which value it is: the name of the field, or the setter's without `set_`.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has to be {}", self.name, self.needs)
    }
}

impl Error for ConfigError {}
