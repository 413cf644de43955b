//! Plays a case, and finds the shortest list of steps that still fails.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::setup::Setup;
use crate::steps::{Dice, Step};
use crate::world::{Outcome, World};

/// Plays the steps. What goes wrong comes back as text, panics too.
fn play(setup: &Setup, steps: &[Step]) -> Result<Outcome, String> {
    let game = || {
        let mut world = World::new(setup);
        for (number, step) in steps.iter().enumerate() {
            let result = world.step(step).and_then(|()| world.check());
            result.map_err(|trouble| format!("after step {number}, {step:?}\n  {trouble}"))?;
        }
        world.finish().map_err(|trouble| format!("at the end\n  {trouble}"))
    };
    catch_unwind(AssertUnwindSafe(game)).unwrap_or_else(|panic| Err(format!("panicked: {}", message_of(&*panic))))
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// Leaves out steps as long as what is left still fails.
fn shortened(setup: &Setup, mut steps: Vec<Step>) -> Vec<Step> {
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let without = [&steps[..at], &steps[at + 1..]].concat();
        if play(setup, &without).is_err() {
            // What came after may have been needed only for this step.
            at = without.len();
            steps = without;
        }
    }
    steps
}

/// Plays the case of this seed. What fails comes back with the shortest steps, and how to play them again.
pub(crate) fn play_seed(seed: u64) -> Result<Outcome, String> {
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let (setup, steps) = (dice.setup(), dice.steps());
    play(&setup, &steps).map_err(|trouble| {
        let steps = shortened(&setup, steps);
        let shortest = play(&setup, &steps).err().unwrap_or(trouble);
        let steps: Vec<_> = steps.iter().enumerate().map(|(at, step)| format!("  {at}: {step:?}\n")).collect();
        let again = format!("PACKETPEER_SEED={seed} PACKETPEER_CASES=1 cargo test --test model");
        format!("{shortest}\n\n{setup:?}\n{}\nagain: {again}", steps.concat())
    })
}
