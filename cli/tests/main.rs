//! The program as a shell sees it: words in; exit code, stdout and stderr out. The broker is a small one of our own that
//! says what each test wants it to say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod calls;
mod files;
mod harness;
mod mail;
mod mcp;
mod membership;
mod operator;
mod services;
mod serving;
mod words;
