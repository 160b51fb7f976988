//! The runner's integration tests: one binary, one module per folder.

mod levels;
mod prepare;
mod process;
mod runner_alone;
