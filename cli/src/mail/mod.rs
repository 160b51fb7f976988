//! Messages between peers, as a person's commands send and read them.
//!
//! Contract: what is sealed for whom is decided from what [`crate::client::Trusted`] vouches for, and said to the person
//! where nobody does. A message is in the session's outbox before it is on the wire, and out of it when the broker has
//! answered. What is read is in the session's file before it is on the screen, and acknowledged after.

mod directory;
mod intake;
mod read;
mod recipients;
mod send;
mod shown;

pub(crate) use directory::{Directory, find_member, label};
pub(crate) use intake::Intake;
pub(crate) use read::{Reading, read};
pub(crate) use send::{Order, Sent, resend, send};
pub(crate) use shown::Item;
