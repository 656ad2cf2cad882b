// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A call by messages where neither side ever waits: both ends are this thread's, and each message is there when it is
//! looked for. It takes what the client's CPU and the server's execute together when the server polls, without the
//! looks that find nothing.
//!
//! A call of the transport waits for its reply. So the way there and the way back are a connection each, and what goes
//! over them are posted messages; sending and receiving is the same code. The channels lie in a memfd instead of the
//! window.

use std::io::IoSlice;
use std::thread;

use wormhole_transport::{connect, listen, Client, Config, Server};

use crate::{ring, Result};

pub struct OneThread {
    there: OneWay,
    back: OneWay,
}

impl OneThread {
    pub fn new() -> Result<Self> {
        Ok(OneThread {
            there: OneWay::new("there")?,
            back: OneWay::new("back")?,
        })
    }

    pub fn call(&mut self, words: [u64; 6]) -> Result<u64> {
        let reply = ring::answer(self.there.carry(&ring::request(words))?)?;
        ring::result(self.back.carry(&reply)?)
    }
}

struct OneWay {
    from: Box<dyn Client>,
    to: Box<dyn Server>,
    message: Vec<u8>,
}

impl OneWay {
    fn new(name: &str) -> Result<Self> {
        let file = format!("wormhole-delegate-bench.{}.{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        let config = Config::memfd(&path);
        let mut listener = listen(&config)?;
        let server = thread::spawn(move || listener.accept()?.serve());
        let client = connect(&config);
        std::fs::remove_file(&path)?;
        Ok(OneWay {
            from: client?,
            to: server.join().map_err(|_| "the server's end panicked")??,
            message: Vec::new(),
        })
    }

    fn carry(&mut self, message: &[u8]) -> Result<&[u8]> {
        self.from.post(&[IoSlice::new(message)])?;
        self.from.flush()?;
        self.to.receive(&mut self.message)?;
        Ok(&self.message)
    }
}
