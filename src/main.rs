//! The program: argv in, exit code out.

fn main() -> std::process::ExitCode {
    callout::cli::run()
}
