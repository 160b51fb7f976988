//! The wire as a client meets it: who is let in, and that everything sent gets exactly one answer.

mod answers;
mod frames;
mod hello;
