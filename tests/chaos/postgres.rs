//! A PostgreSQL for these tests, found or started as for the others.

#[expect(dead_code, reason = "some of it is for the tests that look into the database")]
#[path = "../it/postgres/server.rs"]
mod server;

use crate::left_out::leave_out;

pub(crate) use server::{Database, as_postgres, binaries, make_data, start_on};
