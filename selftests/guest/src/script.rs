// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the client's tests tell the server to do, in words of the channel behind the drivers'.

use std::sync::atomic::Ordering::SeqCst;

use crate::device::{Device, Mapping, LONG};

/// A [`Command`].
pub const COMMAND: usize = 0x1000;
/// Its argument.
pub const ARGUMENT: usize = 0x1004;
/// The server's answer: the argument plus 1.
pub const ANSWER: usize = 0x1008;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Command {
    /// Answer.
    Echo = 1,
    /// Close the file.
    Close = 2,
    /// Die by SIGKILL.
    Die = 3,
    /// Do not accept any more; answer.
    Pause = 4,
    /// Answer, unbind the driver, and bind it again after a second.
    Rebind = 5,
    /// Answer; the tests are over.
    Quit = 6,
    /// Answer after so many milliseconds.
    Later = 7,
    /// Write the argument into every 64th KiB of the channel; answer.
    Fill = 8,
    /// Accept again; answer.
    Resume = 9,
    /// Serve exitless calls; answer; sleep until the client closes.
    Carry = 10,
}

impl Command {
    pub fn from_word(word: u32) -> Option<Self> {
        use Command::*;
        [
            Echo, Close, Die, Pause, Rebind, Quit, Later, Fill, Resume, Carry,
        ]
        .into_iter()
        .find(|command| *command as u32 == word)
    }
}

/// Tells the server, without waiting for its answer.
pub fn tell(device: &Device, map: &Mapping, command: Command, argument: u32) {
    map.word(ARGUMENT).store(argument, SeqCst);
    map.word(COMMAND).store(command as u32, SeqCst);
    device.notify().expect("NOTIFY");
}

/// Tells the server and waits for its answer.
pub fn ask(device: &Device, map: &Mapping, command: Command, argument: u32) {
    let mut seen = device.event();
    map.word(ANSWER).store(argument, SeqCst);
    tell(device, map, command, argument);
    let answered = || map.word(ANSWER).load(SeqCst) == argument.wrapping_add(1);
    while !answered() {
        let wait = device.wait(seen, LONG).expect("WAIT for an answer");
        // Some commands have the server go as soon as it has answered.
        assert!(
            wait.status == 0 || answered(),
            "the server went instead of answering {command:?}"
        );
        seen = wait.event;
    }
}
