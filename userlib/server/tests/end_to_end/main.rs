// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that know nothing of Wormhole against a server with the OpenCL of
//! this machine, over every transport that needs no VM.
//!
//! Needs a C compiler, clinfo, the ICD loader's development files and an OpenCL
//! implementation (Debian: gcc, clinfo, ocl-icd-opencl-dev, pocl-opencl-icd).

mod amounts;
mod daemon;
mod death;
mod hostile;
mod program;
mod programs;
