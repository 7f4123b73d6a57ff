//! Writes the inputs from which the fuzzer starts into the corpora.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    for target in mixline_fuzz::TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        fs::create_dir_all(&corpus)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
