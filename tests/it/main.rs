//! Every test that looks at callout from the outside, in one program.

mod alerts;
mod records;
mod sqlite;
mod stores;
