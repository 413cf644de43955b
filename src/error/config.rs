use std::error::Error;
use std::fmt;

/// A text that is not an address to bind to. See [`ToBindAddr`](crate::socket::ToBindAddr) for what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress {
    text: String,
}

impl InvalidAddress {
    /// That `text` is not one. For a [`ToBindAddr`](crate::socket::ToBindAddr) of your own, and for options of a program
    /// that are addresses.
    pub fn new(text: &str) -> Self {
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
///
/// It is refused where it is given: by [`UdpServer::with_config`](crate::UdpServer::with_config) and by the setters, so
/// that opening a socket has nothing left to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    name: &'static str,
    needs: &'static str,
}

impl ConfigError {
    /// That the value `name` has to be what `needs` says: the end of a sentence, with what is allowed and its unit. For
    /// the configuration of a server or layer of your own.
    ///
    /// ```
    /// use packetpeer::error::ConfigError;
    ///
    /// let error = ConfigError::new("max_streams", "at least 1");
    /// assert_eq!(error.to_string(), "max_streams has to be at least 1");
    /// ```
    pub const fn new(name: &'static str, needs: &'static str) -> Self {
        Self { name, needs }
    }

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
