// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl unpair`

use super::order;
use crate::cli::{Cli, Unpair};
use crate::control::Op;
use crate::error::Error;

pub fn run(cli: &Cli, args: &Unpair) -> Result<(), Error> {
    order(cli, args.name, Op::Unpair)
}
