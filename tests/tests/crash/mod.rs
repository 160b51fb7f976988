//! What happens to it: each part killed without warning, under load. Each story has the machine alone.

mod broker;
mod cycles;
mod database;
mod instances;
mod killer;
mod mail;
mod runner;
mod service;
mod watches;
