//! The applications that run in this process, by `application.id`: whom a shutdown of the whole application reaches.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::application::Application;

static RUNNING: Mutex<Vec<Weak<Application>>> = Mutex::new(Vec::new());

/// An instance has started.
pub(crate) fn register(application: &Arc<Application>) {
    let mut running = RUNNING.lock();
    running.retain(|instance| instance.strong_count() > 0);
    running.push(Arc::downgrade(application));
}

/// The instances of an application.
pub(crate) fn of(application_id: &str) -> Vec<Arc<Application>> {
    let running = RUNNING.lock();
    let alive = running.iter().filter_map(Weak::upgrade);
    alive.filter(|instance| instance.settings.application_id == application_id).collect()
}
