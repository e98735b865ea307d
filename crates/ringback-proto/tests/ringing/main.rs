//! Stories told to the switchboard, in its own words and in virtual time.

mod budgets;
mod routes;
mod splices;
mod standby;
mod story;
mod tenants;
