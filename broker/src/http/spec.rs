//! The child specification of the listener.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::web;
use supervision::{Ack, Child, ChildSpec, Restart, Shutdown};

use super::{Http, serve};

/// The root's child `http`. The port stays bound while it restarts: nobody else can take it, and
/// connections wait in the kernel's queue.
#[must_use]
pub fn child(http: &web::Data<Http>, listener: TcpListener) -> Child {
    let spec = ChildSpec::new("http")
        .kind("http")
        .restart(Restart::Permanent)
        .ack(Ack::Explicit)
        .start_timeout(Duration::from_secs(5))
        .shutdown(Shutdown::Deadline(Duration::from_secs(2)));
    let http = http.clone();
    Child::task(spec, move |life| serve::run(http.clone(), listener.try_clone(), life))
}
