//! The faults of `silent_promotion` in the middle of a recovery: everything is sound when the server starts, and the
//! fault comes when a segment is asked for. No server opens short, each cause is told, and once the repository is healed
//! the same directory recovers everything.

use std::fs;

use crate::silent_promotion::{Bench, Fault, Mode, Place, Scene};
use crate::support::{PgVersion, TestCluster, program};

impl Bench<'_> {
    /// What does the damage, for a shell.
    fn damage(&self, fault: Fault, place: Place) -> String {
        let stored = self.stored(place);
        let name = stored.display();
        match fault {
            Fault::StoreGone => format!("mv {0} {0}.away", self.pgv.repository.display()),
            Fault::Missing => format!("rm {name}"),
            Fault::FlippedBit => {
                let byte = fs::read(&stored).unwrap()[1020] ^ 4;
                format!("printf '\\{byte:03o}' | dd of={name} bs=1 seek=1020 conv=notrunc 2>/dev/null")
            }
            Fault::WrongSize => format!("truncate -s -100 {name}"),
            Fault::Foreign => {
                let other = if place == Place::Middle { Place::Last } else { Place::Middle };
                format!("cp {} {name}", self.stored(other).display())
            }
            Fault::PermissionLost => format!("chmod 000 {name}"),
            Fault::FailingFetch => unreachable!("nothing is done to the repository"),
        }
    }

    /// One row: the fault comes when the segment is asked for.
    fn row_while_replaying(&self, number: usize, fault: Fault, place: Place) {
        let name = format!("{}/w{number}", self.name);
        let data = self.scene.folder.join(&name);
        self.scene.copy(&self.restored, &data);
        let mut copy =
            TestCluster::at(self.scene.version, &self.scene.folder, &format!("{:?}w{number}", self.mode), &data);
        let what = format!("{:?}, {fault:?} when the {place:?} is asked for", self.mode);
        let heal = self.healing(fault, place);
        let done = self.scene.folder.join(format!("{name}.done"));
        let fetch = format!("{} --config {} \"$1\" \"$2\"", program("pgv-fetch").display(), self.pgv.config.display());
        let text = format!(
            "[ \"$1\" != {} ] || ! mkdir {} 2>/dev/null || {{ {}; }}\nexec {fetch}\n",
            self.segment(place),
            done.display(),
            self.damage(fault, place)
        );
        let script = self.scene.folder.write(format!("{name}.sh"), text);
        let command = format!("restore_command=sh {} %f %p", script.display());
        let settings = [command.as_str(), "wal_retrieve_retry_interval=100ms"];
        if self.mode == Mode::Standby {
            self.standby_row(&mut copy, &settings, fault, place, heal);
        } else {
            self.ends_and_goes_on(&mut copy, &settings, (fault, place), &what, heal);
        }
        assert!(done.exists(), "{what}: the fault never came");
        self.finish(copy);
    }
}

fn rows_of(version: PgVersion, rows: &[(Mode, &[(Fault, Place)])]) {
    let scene = Scene::new(version);
    std::thread::scope(|threads| {
        for (mode, rows) in rows {
            let scene = &scene;
            threads.spawn(move || {
                let bench = scene.bench(*mode);
                for (number, (fault, place)) in rows.iter().enumerate() {
                    bench.row_while_replaying(number, *fault, *place);
                }
            });
        }
    });
}

#[test]
fn no_fault_in_the_middle_of_a_recovery_promotes_short() {
    let latest = [
        (Fault::StoreGone, Place::First),
        (Fault::FlippedBit, Place::Middle),
        (Fault::Missing, Place::Middle),
        (Fault::PermissionLost, Place::Last),
    ];
    let standby = [(Fault::StoreGone, Place::Middle), (Fault::Missing, Place::Middle)];
    rows_of(PgVersion::V15, &[(Mode::Latest, &latest), (Mode::Standby, &standby)]);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn no_fault_at_any_segment_promotes_short() {
    let faults =
        [Fault::StoreGone, Fault::Missing, Fault::FlippedBit, Fault::WrongSize, Fault::Foreign, Fault::PermissionLost];
    let places = [Place::First, Place::Middle, Place::Last];
    let all: Vec<(Fault, Place)> = faults.iter().flat_map(|fault| places.map(|place| (*fault, place))).collect();
    for version in [PgVersion::V15, PgVersion::V17] {
        rows_of(version, &[(Mode::Latest, &all), (Mode::Target, &all), (Mode::Standby, &all)]);
    }
}
