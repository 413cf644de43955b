//! When a tool runs its frames, and when it ends.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Becomes true when the user presses Ctrl-C.
pub fn ctrl_c() -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let pressed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&pressed);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    Ok(pressed)
}

/// Sleeps from frame to frame.
#[derive(Debug)]
pub struct FrameClock {
    frame: Duration,
    next: Instant,
}

impl FrameClock {
    /// `hz` frames per second; 0 counts as 1.
    pub fn new(hz: u32) -> Self {
        Self { frame: Duration::from_secs(1) / hz.max(1), next: Instant::now() }
    }

    /// Sleeps until the next frame is due. A frame that took too long is not made up for by several short ones.
    pub fn sleep(&mut self) {
        self.next += self.frame;
        let now = Instant::now();
        match self.next.checked_duration_since(now) {
            Some(left) => thread::sleep(left),
            None => self.next = now,
        }
    }
}
