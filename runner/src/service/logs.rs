//! The logs of all services: one for each that is here, and for a while those of services that are gone.
//!
//! Pure. A service that is exclusive is gone while its update comes up, and its log goes on then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::entry::{Key, SharedLog};

/// Logs that are kept of services of which nothing is here.
const LOGS_OF_GONE_MAX: usize = 32;

/// Mesh and service.
type Name = (String, String);

/// See the module.
#[derive(Default)]
pub(super) struct Logs {
    by_name: HashMap<Name, SharedLog>,
    /// Whose services are gone, the longest gone first.
    gone: VecDeque<Name>,
}

impl Logs {
    /// The log of a service that is here from now on.
    pub(super) fn come(&mut self, key: &Key) -> SharedLog {
        let name = name(key);
        self.gone.retain(|gone| *gone != name);
        Arc::clone(self.by_name.entry(name).or_default())
    }

    /// Nothing of a service is here any more.
    pub(super) fn gone(&mut self, key: &Key) {
        self.gone.push_back(name(key));
        if self.gone.len() > LOGS_OF_GONE_MAX
            && let Some(longest) = self.gone.pop_front()
        {
            self.by_name.remove(&longest);
        }
    }

    /// The log of a service, if it is kept.
    pub(super) fn get(&self, mesh: &str, service: &str) -> Option<SharedLog> {
        self.by_name.get(&(mesh.to_owned(), service.to_owned())).cloned()
    }
}

fn name(key: &Key) -> Name {
    (key.mesh.clone(), key.service.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn key(service: usize) -> Key {
        Key { mesh: "m".to_owned(), service: format!("s{service}"), deployment: "d".to_owned() }
    }

    #[test]
    fn h07_logs_of_services_that_are_gone_are_few_and_those_of_the_others_stay() {
        let mut logs = Logs::default();
        let stays = logs.come(&key(0));
        let returned = logs.come(&key(1));
        logs.gone(&key(1));
        for service in 2..1_000 {
            if service == LOGS_OF_GONE_MAX {
                // Before it is the one that is gone for the longest time.
                assert!(Arc::ptr_eq(&logs.come(&key(1)), &returned), "its log goes on");
            }
            logs.come(&key(service));
            logs.gone(&key(service));
        }
        assert_eq!(logs.by_name.len(), 2 + LOGS_OF_GONE_MAX);
        assert!(Arc::ptr_eq(&logs.get("m", "s0").unwrap(), &stays));
        assert!(Arc::ptr_eq(&logs.get("m", "s1").unwrap(), &returned));
        assert!(logs.get("m", "s999").is_some() && logs.get("m", "s2").is_none() && logs.get("n", "s0").is_none());
    }
}
