//! Taking a mesh down: nobody who ever belonged to it may be left.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Mesh;
use crate::harness::processes::{self, Entry, Identity, Table};
use crate::harness::wait_until;

/// From the signal to the end of `up`: the longest stop of a stubborn service, and the order of stops.
const STOP: Duration = Duration::from_secs(40);
/// From the end of `up` to the last process gone.
const VANISH: Duration = Duration::from_secs(10);

impl Mesh {
    /// SIGTERM to `up`; waits for its end, and until nothing of the mesh is left.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.stop_with(Signal::SIGTERM)
    }

    /// The same with another signal.
    #[track_caller]
    pub fn stop_with(&mut self, signal: Signal) -> ExitStatus {
        match self.take_down(signal) {
            Ok(status) => status,
            Err(error) => panic!("after {signal}: {error}\n{}", self.logs()),
        }
    }

    /// Signals `up`, waits for its end, and asks for everyone who ever belonged to the mesh.
    fn take_down(&mut self, signal: Signal) -> Result<ExitStatus, String> {
        self.look();
        let mut up = self.up.take().ok_or("the mesh is not up")?;
        processes::send(up.id(), signal);
        let ended = wait_until("the end of `up`", STOP, || {
            let status = up.try_wait().map_err(|error| error.to_string())?;
            status.ok_or_else(|| "it runs".to_owned())
        });
        if ended.is_err() {
            // Each fails only if it has ended meanwhile.
            let _ = up.kill();
            let _ = up.wait();
        }
        let status = ended?;
        wait_until("the last process of the mesh to go", VANISH, || match self.left() {
            left if left.is_empty() => Ok(()),
            left => Err(processes::listing(&left)),
        })?;
        Ok(status)
    }

    /// Everyone who ever belonged to this mesh and still runs.
    fn left(&self) -> Vec<Entry> {
        let seen: Vec<Identity> = self.seen.borrow().iter().copied().collect();
        let mut left = processes::survivors(&seen);
        let table = Table::read();
        left.extend(table.touching(self.root()).into_iter().cloned());
        left
    }
}

impl Drop for Mesh {
    /// Stops everything, by force if it must, and fails the test if the product left a process or ended badly.
    fn drop(&mut self) {
        let complaint = if self.up.is_none() {
            None
        } else {
            match self.take_down(Signal::SIGTERM) {
                Ok(status) if status.success() => None,
                Ok(status) => Some(format!("`up` ended with {status}")),
                Err(error) => Some(error),
            }
        };
        let logs = self.logs();
        for entry in self.left() {
            processes::send(entry.id.pid, Signal::SIGKILL);
        }
        let Some(complaint) = complaint else { return };
        // A second panic would hide the first one's words.
        if std::thread::panicking() {
            eprintln!("while the mesh was taken down: {complaint}\n{logs}");
        } else {
            panic!("while the mesh was taken down: {complaint}\n{logs}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::harness::Options;

    /// The promise that nothing is left is only as good as what notices that something is.
    #[test]
    fn whoever_works_in_the_meshs_directory_or_was_once_seen_is_noticed() {
        let mesh = Mesh::unstarted(Options::default());
        assert!(mesh.left().is_empty());
        let mut stray = Command::new("sleep").arg("60").current_dir(mesh.root()).spawn().unwrap();
        let found = wait_until("the stray", Duration::from_secs(10), || match mesh.left().as_slice() {
            [entry] => Ok(entry.id),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(found.map(|id| id.pid), Ok(stray.id()));
        stray.kill().unwrap();
        stray.wait().unwrap();
        assert!(mesh.left().is_empty());

        // Elsewhere, and known only from before.
        let mut fled = Command::new("sleep").arg("60").current_dir("/").spawn().unwrap();
        mesh.seen.borrow_mut().insert(processes::entry(fled.id()).unwrap().id);
        assert_eq!(mesh.left().len(), 1);
        fled.kill().unwrap();
        fled.wait().unwrap();
        assert!(mesh.left().is_empty());
    }
}
