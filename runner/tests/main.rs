//! The runner's integration tests: one binary, one module per folder.

mod prepare;
mod process;
mod runner_alone;
