//! The server against a model of it: random things are done to both, and after each they have to agree in everything
//! that can be seen from outside, down to the last counter.
//!
//! One model stands for servers that know their peers by address and for those that go by connection ids, in every send
//! mode, with and without pinned reply addresses. A case is a [`Setup`](setup::Setup) and a list of
//! [steps](steps::Step), both drawn from one seed; [`world`] does the steps to the server and to the [`model`], over a
//! network that [`rig`] completes; [`play`] finds the shortest list of steps that still fails.
//!
//! A run has 30,000 cases. `PACKETPEER_CASES` sets another number, and `PACKETPEER_SEED` the seed of the first; each
//! next case has the next seed.

mod model;
mod play;
mod rig;
mod setup;
mod steps;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, thread};

use play::play_seed;
use world::Outcome;

const CASES: u64 = 30_000;

/// So many cases meet every reason for a drop.
const MANY_CASES: u64 = 2_000;

fn number_from_env(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

#[test]
fn the_server_does_what_the_model_does() {
    let base = number_from_env("PACKETPEER_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cases = number_from_env("PACKETPEER_CASES").unwrap_or(CASES);
    println!("PACKETPEER_SEED={base} PACKETPEER_CASES={cases}");

    let next = AtomicU64::new(0);
    let met = Mutex::new(Met::default());
    let work = || {
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases {
                return Ok(());
            }
            let outcome = play_seed(base.wrapping_add(case));
            // One failure is enough to read.
            let outcome = outcome.inspect_err(|_| next.store(cases, Ordering::Relaxed));
            met.lock().unwrap().add(&outcome.map_err(|trouble| format!("case {case}: {trouble}"))?);
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let outcomes: Vec<Result<(), String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("panics are caught")).collect()
    });
    if let Some(trouble) = outcomes.into_iter().find_map(Result::err) {
        panic!("{trouble}");
    }
    met.into_inner().unwrap().check(cases);
}

/// How often the cases met what there is to meet.
#[derive(Debug, Default)]
struct Met(BTreeMap<(&'static str, &'static str), u64>);

/// What does not happen here: no function of the caller's panics, and no layer stands above.
const IMPOSSIBLE: [(&str, &str); 2] = [("received", "panicked"), ("received", "undecodable")];

impl Met {
    fn add(&mut self, outcome: &Outcome) {
        let received = outcome.drops.iter().map(|stat| (("received", stat.name), stat.value));
        let sent = outcome.send_drops.iter().map(|stat| (("sent", stat.name), stat.value));
        let happened = outcome.happened.iter().map(|&(what, count)| (("happened", what), count));
        for (what, count) in received.chain(sent).chain(happened) {
            *self.0.entry(what).or_insert(0) += count;
        }
    }

    fn check(&self, cases: u64) {
        println!("{:?}", self.0);
        let never: Vec<_> = self.0.iter().filter(|&(what, &count)| count == 0 && !IMPOSSIBLE.contains(what)).collect();
        assert!(cases < MANY_CASES || never.is_empty(), "the cases never met: {never:?}");
    }
}
