//! `callout completions` and `callout man`: what shells and `man` show, made from the flags themselves.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::terminal::{complain, to_stdout};
use super::{Arguments, DONE, FAILED};

#[derive(Clone, Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell to complete for.
    shell: Shell,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ManArguments {
    /// Write one page for each command into this folder; without it, the first page is printed.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(arguments: &CompletionsArguments) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "callout", &mut script);
    let _read_or_not = to_stdout(&String::from_utf8_lossy(&script));
    DONE
}

pub(super) fn man(arguments: &ManArguments) -> u8 {
    let command = Arguments::command();
    let mut page = Vec::new();
    let written = match &arguments.dir {
        Some(folder) => std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder)),
        None => clap_mangen::Man::new(command).render(&mut page),
    };
    if let Err(error) = written {
        complain(&format!("the pages cannot be written: {error}"), None);
        return FAILED;
    }
    let _read_or_not = to_stdout(&String::from_utf8_lossy(&page));
    DONE
}
