//! The lines that the tables of a server and of a peer have in common.

use std::fmt;

use super::drops::SendDrops;

pub(super) fn write_traffic(f: &mut fmt::Formatter<'_>, counts: [u64; 5]) -> fmt::Result {
    let [received, received_bytes, delivered, queued, queued_bytes] = counts;
    writeln!(f, "received        {received:>12}  {received_bytes} bytes")?;
    writeln!(f, "  delivered     {delivered:>12}")?;
    writeln!(f, "  waiting       {queued:>12}  {queued_bytes} bytes")
}

pub(super) fn write_sends(f: &mut fmt::Formatter<'_>, counts: [u64; 4], drops: &SendDrops) -> fmt::Result {
    let [put, sent, sent_bytes, queued] = counts;
    writeln!(f, "put             {put:>12}")?;
    writeln!(f, "  sent          {sent:>12}  {sent_bytes} bytes")?;
    writeln!(f, "  to be sent    {queued:>12}")?;
    writeln!(f, "  not sent      {:>12}  {drops}", drops.total())
}

pub(super) fn write_kernel_drops(f: &mut fmt::Formatter<'_>, drops: Option<u64>) -> fmt::Result {
    drops.map_or(Ok(()), |drops| writeln!(f, "kernel dropped  {drops:>12}"))
}
