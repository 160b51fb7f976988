//! Tools of services: their lists as raw JSON, cleaned where they hide something, and names that clients can take.

mod given;
mod names;

pub(super) use given::Given;
pub(super) use names::room_of_proxy;
