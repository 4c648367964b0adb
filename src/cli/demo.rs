//! `callout demo`

use clap::Args;

use super::FAILED;

#[derive(Clone, Debug, Args)]
pub(super) struct DemoArguments {}

pub(super) async fn run(_arguments: &DemoArguments) -> u8 {
    FAILED
}
