//! The unit tests of the example, as a target of their own.

#![allow(dead_code, reason = "the program that uses all of this is not here")]

mod activity;
mod args;
mod card;
mod evaluation;
mod features;
mod feed;
mod input;
mod learner;
mod model;
mod run_file;
mod scoring;
mod screen;
mod terminal;
mod threshold;
mod topology;
mod transaction;
mod waiting;
