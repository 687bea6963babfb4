//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use examples::Guarantee;

/// Finds card fraud in a stream of payments, and says how well.
#[derive(Parser)]
#[command(name = "fraud-detection")]
pub(crate) struct Args {
    /// Labelled transactions, as comma-separated values, perhaps compressed with gzip [default: the file of this example]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// How long after a transaction its label becomes known: 30s, 15m, 12h, 1d
    #[arg(long, default_value = "1d", value_name = "TIME", value_parser = duration)]
    pub(crate) label_delay: Duration,

    /// Replays the transactions N times as fast as they happened [default: as fast as possible]
    #[arg(long, value_name = "N", value_parser = speed)]
    pub(crate) speed: Option<f64>,

    /// Stream threads
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) threads: u8,

    /// What a crash may do to scores and alerts
    #[arg(long, value_enum, default_value_t = Guarantee::ExactlyOnce)]
    pub(crate) guarantee: Guarantee,

    /// Folder of topics and state; an interrupted run goes on there [default: fraud-detection in the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Forgets an interrupted run in the folder and starts over
    #[arg(long)]
    pub(crate) reset: bool,

    /// Writes transaction and score of every payment to this file, as comma-separated values
    #[arg(long, value_name = "FILE")]
    pub(crate) scores: Option<PathBuf>,

    /// Ends standard output with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A number with a unit; seconds without one.
fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || "a number with s, m, h or d, for instance 12h".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds: u64 = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(malformed()),
    };
    let number: u32 = number.parse().map_err(|_| malformed())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("a number greater than 0".to_owned()),
    }
}
