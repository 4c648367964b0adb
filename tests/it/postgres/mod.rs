//! What only PostgreSQL can promise: several nodes, lost answers, the database's clock, rolling upgrades.

mod moving;
mod nodes;
mod outage;
mod processes;
pub(crate) mod proxy;
pub(crate) mod server;
mod store;

use crate::harness::leave_out;
