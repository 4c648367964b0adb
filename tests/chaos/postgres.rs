//! A PostgreSQL for these tests, found or started as for the others; and kills on it.

#[path = "../it/postgres/server.rs"]
mod server;

pub(crate) use server::{Database, left_out};
