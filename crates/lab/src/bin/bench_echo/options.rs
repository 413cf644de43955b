use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// What is measured, and how often.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) peers: Vec<usize>,
    pub(crate) sizes: Vec<usize>,
    pub(crate) bursts: Vec<usize>,
    pub(crate) contenders: Vec<String>,
    pub(crate) godot_peers: Vec<usize>,
    /// Repetitions, each with fresh processes.
    pub(crate) repeat: usize,
    /// Datagrams a contender and repetition.
    pub(crate) datagrams: usize,
    /// How long servers that run freely are sent more than they can take.
    pub(crate) overload: Duration,
    pub(crate) csv: String,
    pub(crate) drop_replies: bool,
    /// The network namespace that this one was started from.
    pub(crate) namespace_outside: String,
}

/// What every payload starts with; see the generator.
const SMALLEST: usize = 8;
/// Room of the servers' buffers.
pub(crate) const LARGEST: usize = 2048;

impl Options {
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let mut peers = String::from("10,1000,10000,100000");
        let mut sizes = String::from("64,1200");
        let mut bursts = String::from("1,4");
        let mut contenders = String::from("plain,naive,floor,floor-df,now,now-df,queue,flush,flush-df,godot");
        let mut godot_peers = String::from("100,1000,10000");
        let mut repeat: usize = 7;
        let mut datagrams: usize = 20_000;
        let mut csv = String::from("bench_echo.csv");
        let mut smoke = false;
        let mut drop_replies = false;
        let mut namespace_outside = String::new();
        lab::read_options(
            "Processor time per datagram of echo servers, in alternation; see the head of src/bin/bench_echo/main.rs.",
            &mut [
                ("peers", &mut peers),
                ("sizes", &mut sizes),
                ("burst", &mut bursts),
                ("contenders", &mut contenders),
                ("godot-peers", &mut godot_peers),
                ("repeat", &mut repeat),
                ("datagrams", &mut datagrams),
                ("csv", &mut csv),
                ("smoke", &mut smoke),
                ("drop-replies", &mut drop_replies),
                ("namespace-outside", &mut namespace_outside),
            ],
        )?;
        let mut options = Self {
            peers: list("peers", &peers)?,
            sizes: list("sizes", &sizes)?,
            bursts: list("burst", &bursts)?,
            contenders: list("contenders", &contenders)?,
            godot_peers: list("godot-peers", &godot_peers)?,
            repeat: repeat.max(1),
            datagrams: datagrams.max(1),
            overload: Duration::from_secs(3),
            csv,
            drop_replies,
            namespace_outside,
        };
        if smoke {
            options.peers = vec![10, 200];
            options.godot_peers = vec![10];
            options.repeat = 1;
            options.datagrams = 400;
            options.overload = Duration::from_millis(100);
        }
        let counts = options.peers.iter().chain(&options.bursts).chain(&options.godot_peers);
        if counts.into_iter().any(|&count| count == 0) {
            return Err("--peers, --burst, --godot-peers: at least 1".into());
        }
        if options.peers.iter().any(|&peers| peers > 10_000_000) {
            return Err("--peers: at most 10 000 000, one a loopback address".into());
        }
        if options.sizes.iter().any(|size| !(SMALLEST..=LARGEST).contains(size)) {
            return Err(format!("--sizes: {SMALLEST} to {LARGEST}").into());
        }
        // What the others are measured against has to run.
        if !options.contenders.iter().any(|name| name == "plain") {
            options.contenders.insert(0, "plain".to_owned());
        }
        Ok(options)
    }

    pub(crate) fn is_inside_namespace(&self) -> bool {
        !self.namespace_outside.is_empty()
    }
}

fn list<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<Vec<T>, Box<dyn Error>> {
    let parse = |item: &str| item.trim().parse().map_err(|why| format!("--{name}: {item:?}: {why}").into());
    text.split(',').map(parse).collect()
}
