//! Hosting: a server of this machine that the mesh may call for as long as this program runs.

pub(crate) mod calls;
pub(crate) mod local;
