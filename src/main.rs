//! The program: argv in, exit code out.

/// Many threads allocate and free small values; the system's allocator took a sixth of all processor time for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    callout::cli::run()
}
