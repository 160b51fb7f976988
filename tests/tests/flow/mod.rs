//! What people do with it, and what they are told when it goes wrong.

mod acceptance;
mod agreement;
mod calls;
mod claude;
mod claude_session;
mod demo;
mod failures;
mod git;
mod hostile;
mod inspector;
mod isolation;
mod leftovers;
mod mail;
mod mcp;
mod packages;
mod rotate;
mod scan;
mod sealed;
mod second_up;
mod services;
mod two_runners;
mod vault;
mod watch;
mod watches;
mod zip;
