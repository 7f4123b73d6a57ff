//! The `mixline` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A panic is a bug of ours: a node that met one must not go on with half its threads.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    mixline::cli::main()
}
