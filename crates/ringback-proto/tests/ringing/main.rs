//! Stories told to the switchboard, in its own words and in virtual time.

mod probes;
mod routes;
mod splices;
mod standby;
mod story;
