use super::udp_server::UdpServer;
use crate::socket::SocketRef;
use crate::stats::{ServerStats, TableSizes};

/// # Observing
impl UdpServer {
    /// What the server has seen so far.
    ///
    /// Where the kernel tells what it has dropped, this asks it: one system call for the socket listened on, and one for
    /// each that a peer has for itself.
    pub fn stats(&self) -> ServerStats {
        let mut stats = self.demux.stats();
        stats.kernel_drops = sum(self.kernel_drops_of_listened(), self.dedicated.kernel_drops());
        stats
    }

    /// How much the server remembers at the moment.
    pub fn table_sizes(&self) -> TableSizes {
        self.demux.table_sizes()
    }

    /// At the ports listened on so far.
    pub(super) fn kernel_drops_of_listened(&self) -> Option<u64> {
        let now = self.listening.as_ref().and_then(|listening| listening.transport.get().io().kernel_drops());
        sum(self.kernel_drops, now)
    }

    /// Bytes the system granted for datagrams that wait for the next poll, where it tells. Linux counts its own
    /// bookkeeping in: a small datagram takes some 800 of them.
    pub fn receive_buffer_size(&self) -> Option<usize> {
        self.listening.as_ref()?.transport.get().io().receive_buffer_size()
    }

    pub(super) fn warn_of_a_small_buffer(&self) {
        let (Some(asked), Some(granted)) = (self.config.receive_buffer, self.receive_buffer_size()) else { return };
        if granted < asked / 2 {
            log::warn!(
                "asked for a receive buffer of {asked} bytes and got {granted}; raise the system's limit \
                 (net.core.rmem_max on Linux) or poll more often"
            );
        }
    }

    /// The socket listened on, to set options the crate does not know or to wait for it beside others.
    ///
    /// An option by which the kernel keeps errors for the program, such as `IP_RECVERR`, makes [`wait`](Self::wait)
    /// return at once for as long as these have not been read.
    #[doc(alias = "AsFd")]
    #[doc(alias = "AsSocket")]
    pub fn socket(&self) -> Option<SocketRef<'_>> {
        self.listening.as_ref()?.transport.get().io().socket()
    }
}

/// What is known of either.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).reduce(u64::saturating_add)
}
