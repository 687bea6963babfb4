//! `cargo +nightly run --bin write_seeds -- FOLDER`: writes the inputs to begin with, in one folder for each target.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| "corpus".into()));
    for (number, (target, bytes)) in log_store_fuzz::seeds::all().into_iter().enumerate() {
        let target = folder.join(target);
        fs::create_dir_all(&target)?;
        fs::write(target.join(format!("seed-{number}")), bytes)?;
    }
    Ok(())
}
