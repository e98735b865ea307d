//! Stories told to the switchboard, in its own words and in virtual time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budgets;
mod by_client;
mod ladder;
mod probes;
mod routes;
mod spares;
mod splices;
mod standby;
mod story;
mod tenants;
mod through;
