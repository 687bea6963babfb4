//! The applications that run in this process: whom a shutdown of the whole application reaches.

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

/// The instances of the same application: of one `application.id`, on one log client.
pub(crate) fn of(application: &Application) -> Vec<Arc<Application>> {
    let running = RUNNING.lock();
    let alive = running.iter().filter_map(Weak::upgrade);
    let is_same = |instance: &Arc<Application>| {
        instance.settings.application_id == application.settings.application_id
            && Arc::ptr_eq(&instance.client, &application.client)
    };
    alive.filter(is_same).collect()
}
