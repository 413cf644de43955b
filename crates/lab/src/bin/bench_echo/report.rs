//! What is printed, and what is written beside it for spreadsheets.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use crate::generator::Outcome;

/// One table.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) peers: usize,
    pub(crate) size: usize,
    pub(crate) burst: usize,
    /// Datagrams a frame, or under way.
    pub(crate) at_a_time: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Frame,
    FrameDropped,
    Saturated,
    Overloaded,
}

/// One contender's repetitions.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

/// One repetition.
pub(crate) struct Sample {
    pub(crate) outcome: Outcome,
    pub(crate) pool_misses: u64,
    pub(crate) bytes_a_peer: f64,
}

impl Series {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), samples: Vec::new() }
    }
}

/// Below, what is not the peers' own weighs too much.
const MEMORY_FROM: usize = 10_000;

pub(crate) struct Report {
    csv: Option<BufWriter<File>>,
    sent: usize,
    lost: usize,
    strange: usize,
}

impl Report {
    /// An empty name writes no file.
    pub(crate) fn create(csv: &str) -> Result<Self, Box<dyn Error>> {
        let mut file = None;
        if !csv.is_empty() {
            let mut created = BufWriter::new(File::create(csv).map_err(|why| format!("{csv}: {why}"))?);
            writeln!(
                created,
                "kind,peers,size,burst,at_a_time,contender,repetition,datagrams,ns_per_datagram,against_plain,lost,\
                 pool_misses,resident_bytes_per_peer"
            )?;
            file = Some(created);
        }
        Ok(Self { csv: file, sent: 0, lost: 0, strange: 0 })
    }

    /// Prints a table. Ratios are those to `plain` in the same repetition.
    pub(crate) fn add(&mut self, case: &Case, all: &[Series]) -> Result<(), Box<dyn Error>> {
        let Case { kind, peers, size, burst, at_a_time } = *case;
        let how = match kind {
            Kind::Frame => "datagrams a frame",
            Kind::FrameDropped => "datagrams a frame, answers dropped",
            Kind::Saturated => "datagrams under way, servers run freely",
            Kind::Overloaded => "at a time, as fast as they can be sent; what was not answered is lost",
        };
        println!("\n{peers} peers, {size} bytes, {burst} a peer, {at_a_time} {how}");
        println!(
            "{:<9} {:>9} {:>19} {:>7} {:>15} {:>7} {:>7} {:>7}",
            "", "ns", "min..max", "/plain", "min..max", "lost", "misses", "B/peer"
        );
        let plain: Vec<f64> = all
            .iter()
            .find(|series| series.name == "plain")
            .map(|series| series.samples.iter().map(|sample| sample.outcome.nanoseconds_each()).collect())
            .unwrap_or_default();
        for series in all {
            self.add_series(case, series, &plain)?;
        }
        if let Some(csv) = &mut self.csv {
            csv.flush()?;
        }
        Ok(())
    }

    fn add_series(&mut self, case: &Case, series: &Series, plain: &[f64]) -> Result<(), Box<dyn Error>> {
        let Case { kind, peers, size, burst, at_a_time } = *case;
        let samples = &series.samples;
        let times: Vec<f64> = samples.iter().map(|sample| sample.outcome.nanoseconds_each()).collect();
        let ratios: Vec<f64> = times.iter().zip(plain).map(|(time, plain)| time / plain).collect();
        let (time, ratio) = (Spread::of(&times), Spread::of(&ratios));
        let sum = |of: fn(&Sample) -> usize| samples.iter().map(of).sum::<usize>();
        let (sent, lost) = (sum(|sample| sample.outcome.sent), sum(|sample| sample.outcome.lost));
        // In an overload nothing else is to be expected.
        if kind != Kind::Overloaded {
            self.sent += sent;
            self.lost += lost;
        }
        self.strange += sum(|sample| sample.outcome.strange);
        let misses: u64 = samples.iter().map(|sample| sample.pool_misses).sum();
        let memory = Spread::of(&samples.iter().map(|sample| sample.bytes_a_peer).collect::<Vec<_>>());
        let memory = if matches!(kind, Kind::Frame | Kind::FrameDropped) && peers >= MEMORY_FROM {
            format!("{:.0}", memory.median)
        } else {
            "-".to_owned()
        };
        println!(
            "{:<9} {:>9.0} {:>19} {:>7.3} {:>15} {lost:>7} {misses:>7} {memory:>7}",
            series.name,
            time.median,
            format!("{:.0}..{:.0}", time.least, time.most),
            ratio.median,
            format!("{:.3}..{:.3}", ratio.least, ratio.most),
        );
        let Some(csv) = &mut self.csv else { return Ok(()) };
        for (repetition, ((sample, time), ratio)) in samples.iter().zip(&times).zip(&ratios).enumerate() {
            let Sample { outcome: Outcome { sent, lost, .. }, pool_misses, bytes_a_peer } = sample;
            writeln!(
                csv,
                "{kind:?},{peers},{size},{burst},{at_a_time},{},{repetition},{sent},{time:.1},{ratio:.4},{lost},\
                 {pool_misses},{bytes_a_peer:.0}",
                series.name,
            )?;
        }
        Ok(())
    }

    /// Says whether the figures are worth something.
    pub(crate) fn finish(&self, csv: &str) -> Result<bool, Box<dyn Error>> {
        println!("\n{} datagrams, {} lost, {} answers not as sent", self.sent, self.lost, self.strange);
        if self.csv.is_some() {
            println!("each repetition is in {csv}");
        }
        let sound = self.strange == 0 && self.lost * 100 <= self.sent;
        if !sound {
            println!("NOT SOUND: more than 1 % lost, or answers not as sent");
        }
        Ok(sound)
    }
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 };
        Self { least: at(0), median, most: at(values.len().wrapping_sub(1)) }
    }
}
