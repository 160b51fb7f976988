//! What people do with it, and what they are told when it goes wrong.

mod agreement;
mod demo;
mod failures;
mod isolation;
mod leftovers;
mod packages;
mod second_up;
mod watch;
