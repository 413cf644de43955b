//! Examples and other programs as child processes of a test. The tests of `crates/lab` use it too.
#![allow(dead_code, reason = "each file of tests uses some of it")]

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(windows)]
mod console;

/// Lines of a process that are kept: enough for a test to look through, whatever the process repeats.
const KEPT: usize = 10_000;

/// Lines of a process that a failing test shows.
const SHOWN: usize = 40;

/// An example of this crate, ready to be given options. A plain `cargo test` builds the examples first; `cargo test
/// --test` with a name does not, and runs those built last.
pub(crate) fn our_example(name: &str) -> Command {
    // We are target/<profile>/deps/<test>-<hash>, the example is target/<profile>/examples/<name>.
    let test = env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("a test lies in target/<profile>/deps");
    let path = profile.join("examples").join(name).with_extension(env::consts::EXE_EXTENSION);
    assert!(path.is_file(), "{} is missing: run `cargo build --examples`, or `cargo test`, which does", path.display());
    our_program(&path)
}

/// A program that cargo built for this system, ready to be given options.
pub(crate) fn our_program(path: &Path) -> Command {
    // Where programs of this kind run by another, it has to be named for them as it is for cargo.
    let Ok(runner) = env::var("PACKETPEER_RUNNER") else { return Command::new(path) };
    let mut words = runner.split_whitespace();
    let mut command = Command::new(words.next().expect("the name of a program"));
    command.args(words).arg(path);
    command
}

/// A child process that does not outlive the test; should the test fail, it shows the last of what the process said.
pub(crate) struct Process {
    child: Child,
    program: String,
    output: Receiver<String>,
    said: VecDeque<String>,
}

/// A process that has ended: how, and the lines that it wrote, to stdout or stderr.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) said: Vec<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let program = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(windows)]
        console::give_console(command);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        // Bounded: who says more than we read waits in the write.
        let (sender, output) = mpsc::sync_channel(KEPT);
        let pipes: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("stdout is piped")),
            Box::new(child.stderr.take().expect("stderr is piped")),
        ];
        for pipe in pipes {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, program, output, said: VecDeque::new() }
    }

    /// The next line that starts with `prefix`, or `None` when the process has ended or the time is up.
    pub(crate) fn wait_for_line(&mut self, prefix: &str, timeout: Duration) -> Option<String> {
        let deadline = Instant::now() + timeout;
        while let Ok(line) = self.next_line(deadline) {
            if line.starts_with(prefix) {
                return Some(line);
            }
        }
        None
    }

    /// Waits until so many of the lines said so far satisfy `wanted`.
    #[track_caller]
    pub(crate) fn wait_for_lines(&mut self, count: usize, wanted: impl Fn(&str) -> bool, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut found = self.said.iter().filter(|line| wanted(line)).count();
        while found < count {
            match self.next_line(deadline) {
                Ok(line) => found += usize::from(wanted(&line)),
                Err(why) => panic!("{found} of {count} lines after {timeout:?}, {why}: {}", self.program),
            }
        }
    }

    /// Waits until what it has said so far, all of it, is as `wanted`: where lines are compared with each other, and not
    /// only counted.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, wanted: impl Fn(&[String]) -> bool, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while !wanted(self.said.make_contiguous()) {
            if let Err(why) = self.next_line(deadline) {
                panic!("not said after {timeout:?}, {why}: {}", self.program);
            }
        }
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, timeout: Duration) -> Ended {
        let deadline = Instant::now() + timeout;
        loop {
            match self.next_line(deadline) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("still running after {timeout:?}: {}", self.program),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // Its output is closed, so it has ended or is about to.
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Ended { status, said: self.said.iter().cloned().collect() };
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("closed its output, but still running after {timeout:?}: {}", self.program);
    }

    /// Ends it as Ctrl-C does, so that it has its last word.
    #[track_caller]
    pub(crate) fn interrupt(&mut self, timeout: Duration) -> Ended {
        let id = self.child.id();
        #[cfg(unix)]
        {
            // Every shell has `kill`; not every system has it as a program.
            let killed =
                Command::new("sh").args(["-c", "kill -INT \"$0\"", &id.to_string()]).status().expect("a shell");
            assert!(killed.success(), "kill: {killed}");
        }
        #[cfg(windows)]
        {
            let pressed = console::press_ctrl_c(id).expect("this test can be run by itself");
            assert!(pressed.status.success(), "Ctrl-C: {pressed:?}");
        }
        let ended = self.wait(timeout);
        assert!(ended.status.success(), "{ended:?}");
        ended
    }

    fn next_line(&mut self, deadline: Instant) -> Result<String, RecvTimeoutError> {
        let line = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
        if self.said.len() == KEPT {
            self.said.pop_front();
        }
        self.said.push_back(line.clone());
        Ok(line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only where the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let deadline = Instant::now() + Duration::from_secs(1);
            while self.next_line(deadline).is_ok() {}
            eprintln!("--- {}", self.program);
            let skipped = self.said.len().saturating_sub(SHOWN);
            self.said.iter().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
    }
}
