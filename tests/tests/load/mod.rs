//! That what measures counts right, and that a server's faults are counted as what they are. Nothing here is timed.

mod compare;
mod faults;
mod mail;
mod services;
