//! Tools of services: their lists as raw JSON, cleaned where they hide something, and names that clients can take.

mod given;
mod names;

pub(super) use given::{Given, hidden_removed};
pub(super) use names::{Names, PREFIX_OF_SESSION, room_behind, room_of_proxy};
