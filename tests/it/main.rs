//! Every test that looks at callout from the outside, in one program.

mod sandbox_api;
mod sandbox_dispatch;
mod sandbox_faults;
mod sandbox_people;
mod sandbox_stage;
mod sandbox_webhooks;
