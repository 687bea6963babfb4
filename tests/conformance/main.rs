//! Conformance with the JVM: what Kafka Streams' own test driver did on a program and its input, ours must do too.
//!
//! Each case is a program as data, settings, an input, and everything that Kafka Streams 4.3.1 let us observe. The
//! program is built with the public DSL, the input goes through [`streams_core::testing`]'s driver, and all is compared:
//! outputs, `describe()`, stores, internal topics, repartition and changelog records byte for byte, dropped records,
//! and where a program is refused.
//!
//! `CONFORMANCE_CASES=DIR cargo test -p streams-tests --test conformance -- --nocapture` runs another folder of cases;
//! `CONFORMANCE_ONLY=TEXT` runs those whose id contains the text.

mod case;
mod compare;
mod functions;
mod on_log;
mod program;
mod run;
mod stores;

use std::{
    any::Any,
    collections::BTreeMap,
    env,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use case::Case;

/// The cases in `cases/`, so that none goes missing unnoticed: 1,247 from the JVM in 23 families of its operators, and
/// five of ours for what we have once done wrong.
const OWN_CASES: usize = 1_252;
const OWN_FAMILIES: usize = 24;

#[test]
fn every_case_equals_the_jvm() {
    // Cargo runs tests in the folder of their package; whoever gives a relative path means the one they stand in.
    let repository = streams_tests::repository();
    let given = env::var_os("CONFORMANCE_CASES").map(|folder| repository.join(folder));
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases");
    let mut cases = case::load(given.as_deref().unwrap_or(&own));
    assert!(!cases.is_empty(), "no cases found");
    if let Ok(only) = env::var("CONFORMANCE_ONLY") {
        cases.retain(|case| case.id.contains(&only));
        println!("only the {} cases whose id contains {only:?}", cases.len());
    }
    let reports = in_parallel(&cases, run_one);
    let mut families: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (case, report) in cases.iter().zip(&reports) {
        let (passed, failed) = families.entry(&case.family).or_default();
        *if report.is_some() { failed } else { passed } += 1;
    }
    for report in reports.iter().flatten() {
        println!("{report}");
    }
    println!("\n{:<24} {:>6} {:>6}", "family", "passed", "failed");
    for (family, (passed, failed)) in &families {
        println!("{family:<24} {passed:>6} {failed:>6}");
    }
    let failed: usize = families.values().map(|(_, failed)| failed).sum();
    println!("{:<24} {:>6} {:>6}", "all", cases.len() - failed, failed);
    assert_eq!(failed, 0, "{failed} cases differ from the JVM");
}

/// Name of the threads that run cases.
const CASES: &str = "cases";

/// User code panics in some cases; what it said is in the result.
fn keep_cases_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if thread::current().name() != Some(CASES) {
                hook(panic);
            }
        }));
    });
}

/// What `run` says of each item, in their order.
fn in_parallel<T: Sync>(items: &[T], run: impl Fn(&T) -> Option<String> + Sync) -> Vec<Option<String>> {
    keep_cases_quiet();
    let (next, reports) = (AtomicUsize::new(0), Mutex::new(vec![None; items.len()]));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let work = || {
                while let Some((number, item)) = items.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(item);
                    reports.lock().expect("no panic while it is held")[number] = report;
                }
            };
            thread::Builder::new().name(CASES.to_owned()).spawn_scoped(scope, work).expect("a thread");
        }
    });
    reports.into_inner().expect("no panic while it is held")
}

fn run_one(case: &Case) -> Option<String> {
    let run = panic::catch_unwind(AssertUnwindSafe(|| run::run(case)));
    let differences = match run {
        Ok(got) => compare::differences(&case.expect, &got),
        Err(panic) => vec![format!("the run panicked: {}", panic_text(&*panic))],
    };
    (!differences.is_empty()).then(|| compare::report(case, &differences))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

/// One case of so many runs on the log, unless `CONFORMANCE_ALL_ON_LOG` is set.
const ONE_IN: usize = 4;

#[test]
fn programs_give_the_same_on_a_log_with_partitions_and_restarts() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases");
    let mut cases = case::load(&own);
    if let Ok(only) = env::var("CONFORMANCE_ONLY") {
        cases.retain(|case| case.id.contains(&only));
    }
    let step = if env::var_os("CONFORMANCE_ALL_ON_LOG").is_some() { 1 } else { ONE_IN };
    let runs: Vec<(&Case, on_log::Way)> = cases
        .iter()
        .map(|case| (case, on_log::ways(case)))
        .filter(|(_, ways)| !ways.is_empty())
        .step_by(step)
        .flat_map(|(case, ways)| ways.into_iter().map(move |way| (case, way)))
        .collect();
    let reports = in_parallel(&runs, |(case, way)| {
        let run = panic::catch_unwind(AssertUnwindSafe(|| on_log::differences(case, *way)));
        let different = run.unwrap_or_else(|panic| Some(format!("the run panicked: {}", panic_text(&*panic))));
        different.map(|different| compare::report(case, &[format!("{way:?}"), different]))
    });
    for report in reports.iter().flatten() {
        println!("{report}");
    }
    let failed = reports.iter().flatten().count();
    println!("{} runs on a log, {failed} of them different", runs.len());
    assert_eq!(failed, 0, "{failed} runs on a log differ from the JVM");
}

#[test]
fn the_own_cases_are_all_there() {
    let cases = case::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases"));
    let families: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.family.as_str()).collect();
    assert_eq!((cases.len(), families.len()), (OWN_CASES, OWN_FAMILIES));
}
