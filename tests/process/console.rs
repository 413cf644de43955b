//! Ctrl-C for one child process on Windows, which has no signals: an event of the console that the process is attached to.
#![allow(unsafe_code, reason = "the standard library knows no consoles")]

use std::env;
use std::io;
use std::os::windows::process::CommandExt;
use std::process::{Command, Output};

use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_C_EVENT, FreeConsole, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;
use windows_sys::core::BOOL;

/// Tells [`presser`] whom.
const WHOM: &str = "PACKETPEER_TEST_CTRL_C_FOR";

/// Gives the process a console of its own, which shows no window.
pub(super) fn give_console(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW);
}

/// Presses Ctrl-C in the console of a process that [`give_console`] was called for.
///
/// Only who is attached to a console can do that, and who attaches itself to another loses its own, with the handles that
/// the test writes its output to. So another process does it: this test program, told to run [`presser`] alone.
pub(super) fn press_ctrl_c(process: u32) -> io::Result<Output> {
    let (_, module) = module_path!().split_once("::").expect("this module is not the root");
    let mut command = Command::new(env::current_exe()?);
    command.args(["--exact", "--ignored", &format!("{module}::presser")]).env(WHOM, process.to_string());
    give_console(&mut command);
    command.output()
}

#[test]
#[ignore = "a part of `Process::interrupt`, for a process of its own"]
fn presser() {
    let Ok(whom) = env::var(WHOM) else {
        eprintln!("skipped: run by `press_ctrl_c` only");
        return;
    };
    let whom = whom.parse().expect("the id of a process");
    // SAFETY: all take numbers, but for the handler, of which null stands for "ignore Ctrl-C".
    let results = unsafe {
        [
            FreeConsole(),
            AttachConsole(whom),
            // Whoever is attached gets the event, this process as well.
            SetConsoleCtrlHandler(None, TRUE),
            GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0),
        ]
    };
    assert_eq!(results.map(|result: BOOL| result != FALSE), [true; 4], "{}", io::Error::last_os_error());
}
