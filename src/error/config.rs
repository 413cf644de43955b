use std::error::Error;
use std::fmt;

/// A text that is not an address to bind to. See [`ToBindAddr`](crate::socket::ToBindAddr) for what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress {
    text: String,
}

impl InvalidAddress {
    /// The error for `text`: for a custom [`ToBindAddr`](crate::socket::ToBindAddr), and for a program's own address
    /// options.
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
/// It is refused where it is given, by [`UdpServer::with_config`](crate::UdpServer::with_config) and by the setters, so that
/// opening a socket never fails for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    name: &'static str,
    needs: &'static str,
}

impl ConfigError {
    /// The error for the value `name`, which has to be `needs`: the end of a sentence, with what is allowed and its unit. For
    /// the configuration of a custom server or layer.
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
