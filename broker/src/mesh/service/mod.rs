//! One deployed service: what is wanted of it, what its runner reports, and the reconciling of the two.
//!
//! Owns the service's desired state (in the store), its desk (where calls come in) and its view (what
//! others see). Parent: the mesh's set `services`. No children: processes belong to the runner.
//! A restart loses nothing: wanted state comes from the store, actual state from the link's board. Only
//! those who wait for the outcome of a deploy are told that it is unknown.

mod actor;
pub mod desk;
pub mod messages;
mod moves;
mod orders;
mod poison;
mod record;
mod shown;
mod spec;
pub mod state;
mod steps;
mod verbs;
mod view;

pub use actor::ServiceActor;
pub use desk::{Call, Desk, Ticket};
pub use messages::{Change, Deploy, DeployRequest, Forget, Look, Manage, News, Refused, Share, Teller, Undeploy};
pub(crate) use record::boxed;
pub use spec::child;
pub use view::{ServiceCell, View};
