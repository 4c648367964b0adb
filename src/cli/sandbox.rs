//! `callout sandbox`

use clap::Args;

use super::FAILED;

#[derive(Clone, Debug, Args)]
pub(super) struct SandboxArguments {}

pub(super) async fn run(_arguments: &SandboxArguments) -> u8 {
    FAILED
}
